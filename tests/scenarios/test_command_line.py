"""The scripts as a person runs them: programs of their own, their exit status and their lines."""

import json

import pytest

from tests.tiny import QUICK, run_script, write_tiny


@pytest.fixture(autouse=True)
def folder(tmp_path):
    write_tiny(tmp_path / "data")
    return tmp_path


def test_train_resume_evaluate_predict(folder):
    done = run_script("train", *QUICK, "--name", "a", "--max-epochs", 2, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("epoch ")][-1].startswith("epoch 2/2")
    assert done.stderr == ""
    done = run_script("train", "--ckpt_path", "last", "--max_epochs", 3, cwd=folder)
    assert done.returncode == 0 and "epoch 3/3" in done.stdout and "epoch 2/3" not in done.stdout
    done = run_script("evaluate", "checkpoints/a/best.ckpt", cwd=folder)
    assert done.returncode == 0 and "test/acc" in done.stdout
    done = run_script("predict", "checkpoints/a/best.ckpt", "data", cwd=folder)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "holds no images" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--acelerator", "gpu"], 2, "did you mean --accelerator?"),
        (["--data.download", "false", "--data.root", "nowhere"], 1, "MNIST is not complete in nowhere/MNIST/raw"),
        (["--ckpt_path", "last"], 2, "there is no last.ckpt"),
    ],
)
def test_errors_are_lines_not_tracebacks(folder, arguments, status, message):
    done = run_script("train", *arguments, cwd=folder)
    assert done.returncode == status
    assert done.stderr.startswith("error: ") and message in done.stderr and "Traceback" not in done.stderr


def test_help_is_a_screen_and_says_the_rest_on_request(folder):
    page = run_script("train", "--help", cwd=folder).stdout
    assert all(flag in page for flag in ("--task", "--data", "--backbone", "--max_epochs", "--name", "--ckpt_path"))
    assert len(page.splitlines()) <= 24 and max(map(len, page.splitlines())) <= 80
    everything = run_script("train", "--help", "all", cwd=folder).stdout
    assert all(flag in everything for flag in ("--detect_anomaly", "--save_every_steps", "--optim.ema", "--head.grid"))
    assert max(map(len, everything.splitlines())) <= 80
    page = run_script("train", "--backbone", "inception", "--help", "backbone", cwd=folder).stdout
    assert "--backbone.stem" in page and "--optim.lr" not in page
    done = run_script("train", "--help", "backbon", cwd=folder)
    assert done.returncode == 2 and "did you mean backbone?" in done.stderr and done.stderr.count("\n") == 1


def test_two_processes_share_a_run(folder):
    two = ["--accelerator", "cpu", "--devices", 2, "--strategy", "ddp"]
    done = run_script("train", *QUICK, *two, "--name", "a", "--max_epochs", 3, "--data.batch_size", 15, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch 1/3") == 1 and done.stdout.count("test/acc ") == 1
    summary = json.loads((folder / "checkpoints" / "a" / "summary.json").read_text())
    assert summary["hardware"]["processes"] == 2 and summary["global_step"] == 30
    assert summary["metrics"]["test/acc"] > 0.9
    done = run_script("train", "--ckpt_path", "last", "--max_epochs", 4, cwd=folder)
    assert done.returncode == 0 and "epoch 4/4" in done.stdout
