"""Write a picture of augmented training samples, as a network sees them, with their targets.

python scripts/show_data.py --data PATH --data.augment trivial --output samples.png
"""

from engine.config.arguments import show_data_arguments
from engine.start import run_command


def main(arguments: list[str]) -> None:
    show_data_arguments(arguments)  # --help is answered before torch is imported
    import project  # noqa: F401, it hands its tasks, backbones, heads and data to the engine
    from engine.report import show_data

    show_data.main(arguments)


if __name__ == "__main__":
    run_command(main)
