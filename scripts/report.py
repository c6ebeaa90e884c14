"""Write a run's report again from its folder, or compare several runs on one page, in a second or two.

python scripts/report.py checkpoints/quick
python scripts/report.py checkpoints/quick checkpoints/full --output comparison.html
"""

from engine.config.arguments import report_arguments
from engine.start import run_command


def main(arguments: list[str]) -> None:
    report_arguments(arguments)  # --help and a wrong flag are answered before torch is imported
    import project  # noqa: F401, it hands its tasks, backbones, heads and data to the engine
    from engine.report import main as report

    report.main(arguments)


if __name__ == "__main__":
    run_command(main)
