"""Write a checkpoint as a file that other programs can run, and compare the two.

python scripts/export.py checkpoints/NAME/best.ckpt --format onnx
"""

from engine.config.arguments import export_arguments
from engine.start import run_command


def main(arguments: list[str]) -> None:
    export_arguments(arguments)  # --help and a wrong flag are answered before torch is imported
    import project  # noqa: F401, it hands its tasks, backbones, heads and data to the engine
    from engine.export import command as export

    export.main(arguments)


if __name__ == "__main__":
    run_command(main)
