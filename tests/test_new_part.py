"""scripts/new_part.py: what it writes is what the guides say, and trains at once."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import UsageError
from scripts import new_part
from tests.tiny import QUICK, ROOT


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


@pytest.mark.parametrize(("kind", "name"), [("head", "spotlight"), ("backbone", "strided"), ("data", "stripes")])
def test_under_the_guides_own_name_a_part_is_the_guides_to_the_letter(kind, name):
    assert new_part.named_blocks(kind, name) == new_part.read_guide(kind) and len(new_part.read_guide(kind)) == 4


def test_a_task_has_its_defaults_as_well():
    assert (ROOT / "docs/add-a-task.md").exists()
    paths = [path for path, _ in new_part.named_blocks("task", "tally")]
    assert "configs/defaults/tally.yaml" in paths and "project/tasks/tally.py" in paths


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
        (["hat", "a"], "there is no kind of part 'hat': choose one of head, backbone, data, task"),
        (["head", "Dense"], "'Dense' is not a module's name"),
        (["head", "class"], "'class' is not a module's name"),
        (["head", "dense"], "there is a head dense already"),
        (["head"], "the following arguments are required: name"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(place, arguments, message):
    before = sorted(place.rglob("*.py"))
    with pytest.raises(UsageError, match=message):
        new_part.main(arguments)
    assert sorted(place.rglob("*.py")) == before


def test_a_file_that_is_there_is_not_replaced(place):
    path = place / "project" / "heads" / "beam.py"
    path.write_text("mine")
    with pytest.raises(UsageError, match="project/heads/beam.py exists already"):
        new_part.main(["head", "beam"])
    assert path.read_text() == "mine" and "beam" not in (path.parent / "__init__.py").read_text()
