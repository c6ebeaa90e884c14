"""Make the report of a run again from its folder, or compare several runs on one page; a second or two.

python scripts/report.py checkpoints/quick
python scripts/report.py checkpoints/quick checkpoints/full --output comparison.html
"""

from project.run.errors import main

if __name__ == "__main__":
    main("project.run.report.main")
