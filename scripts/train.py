"""Train, test and record a model; with no flag, a small CNN on MNIST.

python scripts/train.py
python scripts/train.py --help
"""

from engine.config.early import answered
from engine.start import run_command


def main(arguments: list[str]) -> None:
    if answered(arguments, "project"):
        return
    import project  # noqa: F401, it hands its tasks, backbones, heads and data to the engine
    from engine.training import train

    train.main(arguments)


if __name__ == "__main__":
    run_command(main, of_several=True)
