"""Measure speed, side by side with the lecture's loop.

python scripts/benchmark.py --quick
python scripts/benchmark.py --output benchmark.json
"""

from project.run.errors import main

if __name__ == "__main__":
    main("project.benchmark.main")
