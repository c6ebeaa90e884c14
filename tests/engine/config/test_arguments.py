import subprocess
import sys

import pytest

from engine.config.arguments import EXPORT_FORMATS
from engine.export import FORMATS
from tests.tiny import ROOT

SCRIPTS = ("check_data", "compare", "demo", "evaluate", "export", "predict", "report")


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
    done, heavy = run(script, "a", "b", "--formta", "onnx")
    assert not heavy and done.returncode == 2
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")]


def test_the_formats_are_those_that_there_are():
    assert tuple(FORMATS) == EXPORT_FORMATS
