"""Tell whether two checkpoints are equal bit for bit.

python scripts/compare.py checkpoints/full/last.ckpt checkpoints/cut/last.ckpt
"""

from engine.config.arguments import compare_arguments
from engine.start import run_command


def main(arguments: list[str]) -> None:
    compare_arguments(arguments)  # --help and a wrong flag are answered before torch is imported
    from engine.resume import compare

    compare.main(arguments)


if __name__ == "__main__":
    run_command(main)
