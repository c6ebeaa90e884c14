import subprocess
import sys

import pytest

from engine.config import arguments
from engine.config.arguments import EXPORT_FORMATS
from engine.errors import UsageError
from engine.export.formats import FORMATS
from project import LitClassifier
from project.tasks import TASKS
from tests.tiny import ROOT

SCRIPTS = ("check_data", "compare", "crossval", "demo", "evaluate", "export", "predict", "report")


def run(script, *arguments):
    """Run a script as a program, which says on standard error what it imports."""
    command = [sys.executable, "-X", "importtime", f"scripts/{script}.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time")}
    assert "engine.start" in imported
    return done, imported & {"torch", "lightning", "project"}


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_and_a_wrong_flag_do_without_torch(script):
    done, heavy = run(script, "--help")
    assert not heavy and done.returncode == 0 and done.stdout.startswith("usage: ") and f"{script}.py" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    done, heavy = run(script, "a", "b", "--formta", "onnx")
    assert not heavy and done.returncode == 2
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")]


def test_the_formats_are_those_that_there_are():
    assert tuple(FORMATS) == EXPORT_FORMATS


class LitWarm(LitClassifier):
    """A task of somebody's own.

    Args:
        warmth: how evenly probabilities are spread. It changes no class.
    """

    asked = {"warmth": (0.0, 10.0)}  # noqa: RUF012

    def __init__(self, warmth: float = 1.0, **options) -> None:
        super().__init__(**options)


def test_options_that_a_task_is_asked_with_are_flags(capsys):
    tasks = {"detect": TASKS["detect"], "warm": LitWarm}
    assert arguments.predict_arguments(["a", "b", "--warmth", "2"], tasks).asked == {"warmth": 2.0}
    assert arguments.predict_arguments(["a", "b", "--least_score=0.4"], tasks).asked == {"score_threshold": 0.4}
    assert arguments.demo_arguments(["a", "--warmth", "2"], tasks).asked == {"warmth": 2.0}
    line, asked = arguments.evaluate_arguments(["a", "--split", "val", "--warmth", "2"], tasks)
    assert (line.flags, asked) == ({"split": "val"}, {"warmth": 2.0})
    with pytest.raises(UsageError, match="--warmth is a number, got 'x'"):
        arguments.evaluate_arguments(["a", "--warmth", "x"], tasks)
    for read in (arguments.predict_arguments, arguments.demo_arguments, arguments.evaluate_arguments):
        with pytest.raises(SystemExit):
            read(["--help"], tasks)
        assert "how evenly probabilities are spread (warm)" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(UsageError, match="--warmth"):
        arguments.predict_arguments(["a", "b", "--warmth", "2"], TASKS)
