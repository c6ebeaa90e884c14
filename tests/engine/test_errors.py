"""How a script ends: its status, its last words, and what was to be done at its end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import COUNTS, UsageError, check_environment
from tests.tiny import ROOT

SCRIPT = """
import atexit, sys, threading, time
from engine.errors import RunError, UsageError

def main(arguments):
    atexit.register(open, "at_exit", "w")
    print("said", end="")
    if arguments == ["thread"]:
        threading.Thread(target=lambda: (time.sleep(0.3), open("thread", "w"))).start()
    if arguments == ["wrong"]:
        raise UsageError("this makes no sense")
    if arguments == ["fault"]:
        raise ZeroDivisionError
    if arguments == ["folder"]:
        open(".")
    if arguments == ["memory"]:
        import torch
        torch.empty(2**60)
    if arguments == ["own"]:
        raise OSError("of an owner's code")
    if arguments == ["exit"]:
        sys.exit(7)
"""


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        *((name, "abc", f"the environment variable {name} is a whole number, got 'abc'") for name in COUNTS),
        ("WORLD_SIZE", "-1", "WORLD_SIZE is a whole number, got '-1'"),
        ("SLURM_NTASKS", "2", "SLURM_NTASKS is 2: ask SLURM for --ntasks-per-node"),
    ],
)
def test_variables_about_processes_that_make_no_sense_are_named(monkeypatch, name, value, message):
    for other in (*COUNTS, "SLURM_NTASKS_PER_NODE", "SLURM_JOB_NAME", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(other, raising=False)
    check_environment()
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=message):
        check_environment()


def test_within_an_interactive_allocation_of_several_tasks_a_run_of_one_process_starts(monkeypatch):
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE", raising=False)
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    check_environment()


@pytest.mark.parametrize("left", ["RANK=1", "LOCAL_RANK=1", "NODE_RANK=1", "SLURM_PROCID=1", "WORLD_SIZE=abc"])
def test_a_program_of_one_process_speaks_whatever_a_launcher_left_in_the_environment(tmp_path, left):
    (tmp_path / "script.py").write_text("from engine.terminal import say\n\ndef main(_):\n    say('said')\n")
    command = [sys.executable, "-c", "from engine.start import run_command; import script; run_command(script.main)"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}", **dict([left.split("=")])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "said\n", "")


@pytest.mark.parametrize(
    ("argument", "status", "message"),
    [
        ("", 0, ""),
        ("thread", 0, ""),
        ("wrong", 2, "error: this makes no sense\n"),
        ("exit", 7, ""),
        ("fault", 1, "ZeroDivisionError\n"),
        ("folder", 1, "error: .: Is a directory\n"),
        ("memory", 1, "use smaller images, batches or networks\n"),
        ("own", 1, "OSError: of an owner's code\n"),
    ],
)
def test_what_is_left_to_do_is_done_however_a_script_ends(tmp_path: Path, argument, status, message):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [
        sys.executable,
        "-c",
        "from engine.start import run_command; import script; run_command(script.main)",
        *argument.split(),
    ]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (status, "said")
    assert done.stderr.endswith(message) and ("Traceback" in done.stderr) == (argument in ("fault", "own"))
    assert (tmp_path / "at_exit").exists() and (tmp_path / "thread").exists() == (argument == "thread")
