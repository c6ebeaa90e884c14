"""Measure speed, side by side with the lecture's loop.

python scripts/benchmark.py --quick
python scripts/benchmark.py --output benchmark.json
"""

from engine.start import run_command


def main(arguments: list[str]) -> None:
    import project  # noqa: F401, it hands its tasks, backbones, heads and data to the engine
    from benchmarks import main as benchmark

    benchmark.main(arguments)


if __name__ == "__main__":
    run_command(main)
