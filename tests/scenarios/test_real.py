"""The main job on the real MNIST: from data/, else from the network; skipped where neither has it."""

import json
import os
import subprocess
import sys

import pytest

from project.data.mnist_files import load_files
from tests.tiny import ROOT


@pytest.fixture
def data():
    try:
        load_files(ROOT / "data", download=bool(os.environ.get("CI")))
    except FileNotFoundError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no MNIST here, and only CI downloads it: {str(error).splitlines()[0]}")
    return ROOT / "data"


@pytest.mark.real
def test_one_epoch_on_the_real_mnist(tmp_path, data):
    command = [sys.executable, ROOT / "scripts" / "train.py", "--data.root", data, "--name", "a"]
    done = subprocess.run([*map(str, command), "--max_epochs", "1"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "checkpoints" / "a" / "summary.json").read_text())
    assert summary["metrics"]["test/acc"] > 0.98


@pytest.mark.real
@pytest.mark.slow
def test_the_quick_benchmark_measures_every_row(tmp_path, data):
    command = [sys.executable, ROOT / "scripts" / "benchmark.py", "--quick", "--data.root", data, "--output", "b.json"]
    done = subprocess.run(list(map(str, command)), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    rows = json.loads((tmp_path / "b.json").read_text())["rows"]
    assert len(rows) == 13 and all(row["what"] in done.stdout for row in rows)
    for row in rows:
        alone = row["what"] == "fast recipe, whole process"
        assert all(value > 0 for value in [*row["ours"], *row["theirs"]])
        assert len(row["ours"]) == 1 and len(row["theirs"]) == (0 if alone else 1)
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["--task.adversary", "least_squares", "--optim.beta1", 0.5]])
def test_real_digits_are_restored(tmp_path, data, more):
    """A fifth of what a run does by default, in half a minute."""
    command = [sys.executable, ROOT / "scripts" / "train.py", "--task", "translate", "--data.root", data, "--name", "a"]
    command += ["--limit_train_batches", 300, "--max_epochs", 1, *more]
    done = subprocess.run(list(map(str, command)), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "checkpoints" / "a" / "summary.json").read_text())["metrics"]
    assert metrics["test/psnr"] > metrics["test/bicubic_psnr"] + 3 and metrics["test/ssim"] > 0.85
    assert metrics["test/bicubic_psnr"] > metrics["test/source_psnr"]


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize(("task", "measure", "least"), [("segment", "test/miou", 0.4), ("detect", "test/map_50", 0.5)])
def test_scenes_of_real_digits_are_learned(tmp_path, data, task, measure, least):
    """A fraction of what a run does by default, in a minute each."""
    command = [sys.executable, ROOT / "scripts" / "train.py", "--task", task, "--data.root", data, "--name", "a"]
    command += ["--data.num_train", 3000, "--data.num_val", 100, "--data.num_test", 200, "--max_epochs", 2]
    done = subprocess.run(list(map(str, command)), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "checkpoints" / "a" / "summary.json").read_text())["metrics"][measure] > least
