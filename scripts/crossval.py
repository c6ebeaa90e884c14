"""Train and test on each of several parts of a folder's images in turn, and print the mean of the measures.

python scripts/crossval.py FOLDER --folds 5
python scripts/crossval.py FOLDER --folds 5 --name pets --backbone resnet18 --max_epochs 20
"""

from engine.config.arguments import crossval_arguments
from engine.start import run_command


def main(arguments: list[str]) -> None:
    crossval_arguments(arguments)  # --help and a wrong flag are answered before torch is imported
    import project  # noqa: F401, it hands its tasks, backbones, heads and data to the engine
    from engine.training import crossval

    crossval.main(arguments)


if __name__ == "__main__":
    run_command(main)
