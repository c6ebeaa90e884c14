"""The scripts as a person runs them: programs of their own, their exit status and their lines."""

import json
import subprocess
import sys

import pytest

from tests.tiny import QUICK, ROOT, run_script, write_tiny


@pytest.fixture
def folder(tmp_path):
    write_tiny(tmp_path / "data")
    return tmp_path


@pytest.mark.task("classify")
def test_train_evaluate_predict(folder):
    done = run_script("train", *QUICK, "--name", "a", "--max-epochs", 2, cwd=folder, TINY_REPORT="1")
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("epoch ")][-1].startswith("epoch 2/2")
    assert done.stderr == ""
    assert (folder / "checkpoints" / "a" / "report.html").read_text().startswith("<!doctype html>")
    done = run_script("evaluate", "checkpoints/a/best.ckpt", cwd=folder)
    assert done.returncode == 0 and "test/acc" in done.stdout
    done = run_script("predict", "checkpoints/a/best.ckpt", "data", cwd=folder)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "holds no images" in done.stderr


def train_help(*arguments):
    """Ask for help as a person does; it needs no stand-in, and no torch."""
    command = [sys.executable, "scripts/train.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.task("classify")
def test_help_is_a_screen_and_says_the_rest_on_request():
    page = train_help("--help").stdout
    assert all(flag in page for flag in ("--task", "--data", "--backbone", "--max_epochs", "--name", "--ckpt_path"))
    assert len(page.splitlines()) <= 24 and max(map(len, page.splitlines())) <= 80
    everything = train_help("--help", "all").stdout
    assert all(flag in everything for flag in ("--detect_anomaly", "--save_every_steps", "--optim.ema", "--head.grid"))
    assert max(map(len, everything.splitlines())) <= 80
    page = train_help("--backbone", "inception", "--help", "backbone").stdout
    assert "--backbone.stem" in page and "--optim.lr" not in page
    done = train_help("--help", "backbon")
    assert done.returncode == 2 and "did you mean backbone?" in done.stderr and done.stderr.count("\n") == 1


TWO = ["--accelerator", "cpu", "--devices", 2, "--strategy", "ddp", "--data.batch_size", 15]


@pytest.mark.task("classify")
def test_two_processes_share_a_run_and_its_report_is_of_all_images(folder):
    run = [*QUICK, *TWO, "--name", "a", "--max_epochs", 3]
    done = run_script("train", *run, cwd=folder, TINY_REPORT="1")
    assert done.returncode == 0, done.stderr
    assert all(done.stdout.count(text) == 1 for text in ("epoch 1/3", "test/acc ", "report "))
    summary = json.loads((folder / "checkpoints" / "a" / "summary.json").read_text())
    assert summary["hardware"]["processes"] == 2 and summary["global_step"] == 30
    assert summary["metrics"]["test/acc"] > 0.9
    figures = json.loads((folder / "checkpoints" / "a" / "plots" / "figures.json").read_text())
    assert sum(row["count"] for row in figures["classes"]) == 90


@pytest.mark.slow
def test_two_processes_go_on_with_their_run(folder):
    for more in ([*QUICK, *TWO, "--name", "a", "--max_epochs", 1], ["--ckpt_path", "last", "--max_epochs", 2]):
        done = run_script("train", *more, cwd=folder)
        assert done.returncode == 0, done.stderr
    assert "epoch 2/2" in done.stdout
