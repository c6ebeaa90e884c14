"""scripts/new_part.py: what it writes is what the guides say, and trains at once."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.contract.errors import UserError
from engine.errors import UsageError
from engine.guides import GUIDES, choose_example, examples
from project.heads import HEADS
from project.tasks import TASKS
from scripts import new_part
from tests.tiny import QUICK, ROOT

WRONG = (UsageError, UserError)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of this project, into which parts are written."""
    for name in ("project", "engine", "scripts", "configs", "docs", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    monkeypatch.setattr(new_part, "ROOT", tmp_path)
    return tmp_path


def run(place: Path, *command: object, **variables: str) -> None:
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(place), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def guide(kind):
    return (ROOT / "docs" / GUIDES[kind]).read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["head", "backbone", "data"])
def test_under_the_guides_own_name_a_part_is_the_guides_to_the_letter(kind):
    found = examples(guide(kind))
    assert found == [example.renamed(kind, example.blocks[0].path.split("/")[2][:-3]) for example in found]
    assert found and all(len(example.blocks) == 4 and len(example.commands) > 1 for example in found)


def test_a_task_has_its_defaults_as_well():
    assert (ROOT / "docs/add-a-task.md").exists()
    (example,) = examples(guide("task"))
    paths = [block.path for block in example.renamed("task", "tally").blocks]
    assert "configs/defaults/tally.yaml" in paths and "project/tasks/tally.py" in paths


@pytest.mark.parametrize("kind", ["head", "data"])
@pytest.mark.parametrize("task", TASKS)
def test_there_is_an_example_for_each_task(kind, task):
    assert task in choose_example(ROOT, kind, list(TASKS), task).tasks
    with pytest.raises(WRONG, match=r"has no head for task count: copy an existing one instead"):
        choose_example(ROOT, "head", ["count"])


@pytest.mark.parametrize(("kind", "name"), [("head", "two_beams"), ("backbone", "chain"), ("data", "bars")])
def test_a_new_part_is_known_and_passes_its_own_tests(place, kind, name, capsys):
    new_part.main([kind, name])
    folder = {"data": "data"}.get(kind, f"{kind}s")
    assert f"written   project/{folder}/{name}.py" in capsys.readouterr().out
    run(place, "-m", "ruff", "check", "project", "tests/project")
    run(place, "-m", "ruff", "format", "--check", "project", "tests/project")
    run(place, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/project/{folder}/test_{name}.py")


def test_a_new_head_trains_at_once(place):
    new_part.main(["head", "two_beams"])
    write = "from tests.tiny import write_tiny; import pathlib; write_tiny(pathlib.Path('data'))"
    run(place, "-c", write)
    flags = [*QUICK, "--head", "two_beams", "--max_epochs", 1, "--name", "a"]
    run(place, "-W", "ignore::FutureWarning", "tests/tiny.py", *flags, TINY_SCRIPT="train")
    assert (place / "checkpoints" / "a" / "best.ckpt").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hat", "a"], "unknown kind of part 'hat'; choose from: head, backbone, data, task"),
        (["head", "a", "--task", "counting"], "unknown task 'counting'; choose from: "),
        (["head", "Dense"], "'Dense' is not a module's name"),
        (["head", "class"], "'class' is not a module's name"),
        (["head", next(iter(HEADS))], f"there is a head {next(iter(HEADS))} already"),
        (["head"], "the following arguments are required: name"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(place, arguments, message):
    before = sorted(place.rglob("*.py"))
    with pytest.raises(WRONG, match=message):
        new_part.main(arguments)
    assert sorted(place.rglob("*.py")) == before


def test_a_file_that_is_there_is_not_replaced(place):
    path = place / "project" / "heads" / "beam.py"
    path.write_text("mine")
    with pytest.raises(WRONG, match="project/heads/beam.py exists already"):
        new_part.main(["head", "beam"])
    assert path.read_text() == "mine" and "beam" not in (path.parent / "__init__.py").read_text()
