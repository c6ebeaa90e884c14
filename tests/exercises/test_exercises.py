"""What a stranger does with the template: a project of one task, a head and data by the guides, and an update.

pytest -m exercise -s tests/exercises: two minutes each, and what each step took
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.template_branch import git
from template.checkout import write
from tests.template.test_new_project import AUTHOR, commit
from tests.template.test_render import template_tree
from tests.tiny import ROOT, SIZES_OF, write_tiny

pytestmark = pytest.mark.exercise
QUIET = ["--wandb", "disabled", "--precision", "32-true", "--max_epochs", 1]


class Person:
    """Works in a project, and keeps the time."""

    def __init__(self, project: Path) -> None:
        self.project = project

    def does(self, step: str, *command: object, cwd: Path | None = None, **variables: str) -> str:
        """Run Python, print what the step took since the last commit, and return its output."""
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-W", "ignore::FutureWarning", *map(str, command)],
            cwd=cwd or self.project,
            env={**os.environ, **AUTHOR, "PYTHONPATH": str(cwd or self.project), **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        print(f"{step:<12}{self.written()}, {time.perf_counter() - start:.0f} s")
        return done.stdout

    def written(self) -> str:
        """Return how many files and lines are not committed yet."""
        git(self.project, "add", "--all")
        rows = [line.split("\t") for line in git(self.project, "diff", "--cached", "--numstat").splitlines()]
        return f"{len(rows)} files, {sum(int(row[0]) for row in rows)} lines"

    def trains(self, step: str, *flags: object) -> None:
        self.does(step, "tests/tiny.py", *QUIET, *flags, TINY_SCRIPT="train")

    def tests(self, step: str, *files: str) -> None:
        self.does(step, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files)


@pytest.fixture
def templates(tmp_path: Path) -> tuple[Path, Path]:
    """The template's last commit, and a newer one: this checkout as it is, with a line more in a file of each house."""
    before = tmp_path / "before"
    git(tmp_path, "clone", "-q", "--no-local", str(ROOT), str(before))
    after = tmp_path / "after"
    git(tmp_path, "clone", "-q", str(before), str(after))
    write(template_tree(), after)
    for name in ("project/layers.py", "engine/terminal.py", "README.md"):
        (after / name).write_text((after / name).read_text(encoding="utf-8") + "\n\n# Newer.\n", encoding="utf-8")
    commit(after, "newer")
    return before, after


@pytest.mark.parametrize(
    ("task", "package", "head", "data"),
    [("classify", "cellcount", "beams", "bars"), ("detect", "finder", "beams", "blocks")]
    + [("translate", "clean_up", "beams", "blocks")],
)
def test_a_project_of_one_task_gets_a_head_data_and_an_update(templates, tmp_path, task, package, head, data):
    before, after = templates
    person = Person(tmp_path / "mine")
    program = [before / "scripts/new_project.py", person.project, "--package", package, "--tasks", task]
    print()
    subprocess.run([sys.executable, *program], check=True, env={**os.environ, **AUTHOR}, capture_output=True)
    write_tiny(person.project / "data")
    person.trains("train", "--name", "first", *SIZES_OF[task])
    for kind, name in (("head", head), ("data", data)):
        person.does(kind, "scripts/new_part.py", kind, name)
    own = [f"tests/{package}/heads/test_{head}.py", f"tests/{package}/data/test_{data}.py"]
    person.tests("tests", *own)
    flags = ["--head", head, "--data", data, "--data.num_train", 40, "--data.batch_size", 10]
    person.trains("train", "--name", "own", *flags)

    readme, defaults = (person.project / name for name in ("README.md", f"configs/defaults/{task}.yaml"))
    readme.write_text(readme.read_text().replace(f"# {package}\n", "# Ours\n\nWhat we do with it.\n", 1))
    defaults.write_text(defaults.read_text().replace("lr: 0.01", "lr: 0.02", 1).replace("lr: 0.003", "lr: 0.02", 1))
    print(f"edits       {person.written()}")
    commit(person.project, "ours")
    assert "merged" in person.does("update", "scripts/update_project.py", "--template", after)
    assert git(person.project, "status", "--porcelain") == ""
    assert readme.read_text().startswith("# Ours\n") and readme.read_text().endswith("# Newer.\n")
    layers, heads = ((person.project / package / name).read_text() for name in ("layers.py", "heads/__init__.py"))
    assert "lr: 0.02" in defaults.read_text() and f'"{head}": ' in heads and layers.endswith("# Newer.\n")
    person.tests("tests", *own)
    person.trains("train", "--name", "again", *flags)
    person.tests("contracts", f"tests/{package}", "-n", "2", "-k", f"{head} or {data}")
