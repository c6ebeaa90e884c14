"""The main job on the real MNIST: from data/, else from the network; skipped where neither has it."""

import json
import os
import subprocess
import sys

import pytest

from project.data.mnist_files import load_files
from tests.tiny import ROOT


@pytest.mark.real
def test_one_epoch_on_the_real_mnist(tmp_path):
    try:
        load_files(ROOT / "data", download=bool(os.environ.get("CI")))
    except FileNotFoundError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no MNIST here, and only CI downloads it: {str(error).splitlines()[0]}")
    command = [sys.executable, ROOT / "scripts" / "train.py", "--data.root", ROOT / "data", "--name", "a"]
    done = subprocess.run([*map(str, command), "--max_epochs", "1"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "checkpoints" / "a" / "summary.json").read_text())
    assert summary["metrics"]["test/acc"] > 0.98
