"""Runs train, resume and answer on each system; on Linux, Python is without what Windows lacks, to the same weights."""

import os
import signal
import sys
import time

import pytest

from engine.resume.checkpoint_file import read_checkpoint
from tests.own_data import write_class_folders
from tests.runs import same
from tests.tiny import PATIENCE, QUICK, ROOT, run_script, start_script, write_tiny

LIKE_WINDOWS = {
    **({"PYTHONPATH": f"{ROOT / 'tests' / 'like_windows'}{os.pathsep}{ROOT}"} if sys.platform == "linux" else {}),
    "TINY_REPORT": "1",
    "PYTHONWARNDEFAULTENCODING": "1",  # that of Windows is not UTF-8
}


def script(name, *arguments, cwd, status=0):
    """Run a script as on Windows; return what it printed."""
    done = run_script(name, *arguments, cwd=cwd, **LIKE_WINDOWS)
    assert done.returncode == status, done.stderr
    assert (cwd / "like_windows").exists() == (sys.platform == "linux")
    ours = [line for line in done.stderr.splitlines() if line.startswith(str(ROOT)) and "site-packages" not in line]
    assert not [line for line in ours if "EncodingWarning" in line]
    return done.stdout


def test_a_run_that_is_ended_goes_on_as_if_it_had_not(tmp_path):
    write_tiny(tmp_path / "data")
    options = [*QUICK, "--max_epochs", 12, "--name"]
    run_script("train", *options, "whole", cwd=tmp_path)
    whole, cut = (tmp_path / "checkpoints" / name / "last.ckpt" for name in ("whole", "cut"))
    with start_script("train", *options, "cut", cwd=tmp_path, **LIKE_WINDOWS) as process:
        while not cut.exists() and process.poll() is None:
            time.sleep(0.01)
        if sys.platform == "win32":  # where nothing can press Ctrl-C for one process alone
            process.kill()
        else:
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 130, process.stdout.read()
    assert read_checkpoint(cut)["epoch"] < 11
    script("train", "--ckpt_path", "last", cwd=tmp_path)
    assert same(read_checkpoint(whole), read_checkpoint(cut))


@pytest.mark.slow
def test_processes_that_are_spawned_load_own_images_and_the_checkpoint_answers(tmp_path):
    options = ["--data", str(write_class_folders(tmp_path / "images")), "--data.image_size", 32, "--max_epochs", 1]
    options += ["--data.batch_size", 4, "--wandb", "disabled", "--precision", "32-true", "--data.num_workers"]
    run_script("train", *options, 0, "--name", "alone", cwd=tmp_path)
    script("train", *options, 1, "--name", "spawned", cwd=tmp_path)
    alone, spawned = (read_checkpoint(tmp_path / "checkpoints" / name / "last.ckpt") for name in ("alone", "spawned"))
    assert same(alone, spawned)
    page = (tmp_path / "checkpoints" / "spawned" / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page or "<img" in page
    said = script("predict", "checkpoints/spawned/best.ckpt", "images", "--output", "out.csv", cwd=tmp_path)
    assert "red" in said and len((tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()) == 25
    assert "acc" in script("evaluate", "checkpoints/spawned/best.ckpt", cwd=tmp_path)


def test_a_run_that_fails_leaves_no_folder(tmp_path):
    write_tiny(tmp_path / "data")
    (tmp_path / "data" / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").unlink()
    script("train", *QUICK, "--data.download", "false", cwd=tmp_path, status=1)
    assert not (tmp_path / "checkpoints").exists()
