"""Make a project of your own from this template: its name, its tasks, and nothing else.

python scripts/new_project.py ../cellcount --tasks classify
python scripts/new_project.py ../cellcount --tasks classify,segment --without demo,benchmark --dry_run
python scripts/new_project.py
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this template's, whatever is installed: an update runs a newer template's

from engine.start import run_command  # noqa: E402


def main(arguments: list[str]) -> None:
    from template.command import new_project

    new_project(arguments, ROOT)


if __name__ == "__main__":
    run_command(main)
