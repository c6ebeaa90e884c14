"""Update a project made from the template to a newer template: its changes are merged, yours stay.

python scripts/update_project.py --template ../template
python scripts/update_project.py --template ../template --tasks classify,segment

The newer template renders your answers (.template.yaml) to the branch `template`, which is merged into yours.
"""

from pathlib import Path

from engine.config.arguments import Parser
from engine.start import run_command
from engine.updates import Project

ROOT = Path(__file__).resolve().parents[1]


def main(arguments: list[str]) -> None:
    parser = Parser(prog="update_project.py", description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--template", required=True, help="folder of the newer template, or its git URL")
    asked, changed_answers = parser.parse_known_args(arguments)
    Project(ROOT).update(asked.template, changed_answers)


if __name__ == "__main__":
    run_command(main)
