"""Print predictions for images, from a checkpoint alone.

python scripts/predict.py checkpoints/NAME/best.ckpt IMAGE_OR_FOLDER ... --output out.csv
"""

from engine.config.arguments import predict_arguments
from engine.config.early import tasks_of
from engine.start import run_command


def main(arguments: list[str]) -> None:
    predict_arguments(arguments, tasks_of("project"))  # --help and a wrong flag are answered before torch is imported
    import project  # noqa: F401, it hands its tasks, backbones, heads and data to the engine
    from engine.inference import predict

    predict.main(arguments)


if __name__ == "__main__":
    run_command(main)
