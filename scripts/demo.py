"""Try a checkpoint in the browser: draw a digit, or drop in an image.

python scripts/demo.py checkpoints/NAME/best.ckpt
"""

from engine.config.arguments import demo_arguments
from engine.config.early import tasks_of
from engine.start import run_command


def main(arguments: list[str]) -> None:
    demo_arguments(arguments, tasks_of("project"))  # --help and a wrong flag are answered before torch is imported
    import project  # noqa: F401, it hands its tasks, backbones, heads and data to the engine
    from engine.demo import demo

    demo.main(arguments)


if __name__ == "__main__":
    run_command(main)
