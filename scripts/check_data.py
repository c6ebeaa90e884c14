"""Check a folder of images before training on it: list its contents and its errors.

python scripts/check_data.py PATH
"""

from engine.config.arguments import check_data_arguments
from engine.start import run_command


def main(arguments: list[str]) -> None:
    check_data_arguments(arguments)  # --help and a wrong flag are answered before torch is imported
    import project  # noqa: F401, it hands its tasks, backbones, heads and data to the engine
    from engine.files import check_data

    check_data.main(arguments)


if __name__ == "__main__":
    run_command(main)
