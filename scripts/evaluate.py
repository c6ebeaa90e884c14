"""Evaluate a checkpoint again, from the file alone.

python scripts/evaluate.py checkpoints/NAME/best.ckpt
"""

from engine.config.arguments import evaluate_arguments
from engine.config.early import tasks_of
from engine.start import run_command


def main(arguments: list[str]) -> None:
    evaluate_arguments(arguments, tasks_of("project"))  # --help and a wrong flag are answered before torch is imported
    import project  # noqa: F401, it hands its tasks, backbones, heads and data to the engine
    from engine.inference import evaluate

    evaluate.main(arguments)


if __name__ == "__main__":
    run_command(main, of_several=True)
