"""Add a part of your own from its guide in docs/: its file, its test and its registry entry, for you to change.

python scripts/new_part.py head spotlight
python scripts/new_part.py head spotlight --task detect
python scripts/new_part.py backbone strided
"""

from pathlib import Path

from engine.config.arguments import Parser
from engine.config.early import tasks_of
from engine.guides import GUIDES, add_part
from engine.start import run_command

ROOT = Path(__file__).resolve().parents[1]


def main(arguments: list[str]) -> None:
    parser = Parser(prog="new_part.py", description="Add a part of your own from its guide in docs/.")
    parser.add_argument("kind", help=f"one of {', '.join(GUIDES)}")
    parser.add_argument("name", help="its name in flags and files, such as spotlight")
    parser.add_argument("--task", default="", help="task that takes it, where a guide has an example for each [first]")
    add_part(parser.parse_args(arguments), ROOT, list(tasks_of("project")))


if __name__ == "__main__":
    run_command(main)
