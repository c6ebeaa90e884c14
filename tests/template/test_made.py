"""A project made from the template lives: its own tests pass, it trains, and it takes the template's checkpoints."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.template_branch import git
from template.answers import Answers
from template.checkout import start_history, write
from template.render import render
from tests.template.test_render import CATALOGUE_TASKS, template_tree
from tests.tiny import QUICK, run_script, write_tiny


def make(folder: Path, tasks: str) -> Path:
    write(render(template_tree(), Answers("cellcount", tasks=tasks)), folder)
    start_history(folder, "all")
    return folder


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return make(tmp_path / "cellcount", "classify")


def run(made: Path, *command: object, cwd: Path, **variables: str) -> str:
    """Run Python with the made project's modules, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::FutureWarning", *map(str, command)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(made), "OMP_NUM_THREADS": "1", **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return done.stdout


def test_it_trains_and_answers_and_takes_a_checkpoint_of_the_template(made, tmp_path):
    write_tiny(tmp_path / "data")
    trained = run_script("train", *QUICK, "--max_epochs", 1, "--name", "old", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    run(made, made / "tests/tiny.py", *QUICK, "--max_epochs", 1, "--name", "new", cwd=tmp_path, TINY_SCRIPT="train")
    load = "from cellcount import LitClassifier as L; print(*map(L.load_from_checkpoint, {}))"
    files = [f"checkpoints/{name}/best.ckpt" for name in ("old", "new")]
    assert run(made, "-c", load.format(files), cwd=tmp_path).count("LitClassifier(") == 2
    same = run(made, made / "scripts/compare.py", *(file.replace("best", "last") for file in files), cwd=tmp_path)
    assert "identical" in same  # the template's run and the project's


@pytest.mark.exercise
@pytest.mark.parametrize("tasks", [*CATALOGUE_TASKS, "classify,segment"])
def test_its_own_tests_pass(tmp_path, tasks):
    made = make(tmp_path / "cellcount", tasks)
    run(made, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2", "tests", cwd=made)
    assert git(made, "status", "--porcelain") == ""
