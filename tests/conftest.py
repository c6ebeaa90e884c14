"""What many tests need: a folder of their own with the stand-in for MNIST in it, and one thread."""

from pathlib import Path

import pytest
import torch

from project.data.mnist import MNISTDataModule
from tests.tiny import TINY_SUMS, write_tiny

torch.set_num_threads(1)  # tiny networks: more threads only wait for each other


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder with data/MNIST/raw, whose sums MNISTDataModule accepts."""
    write_tiny(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(MNISTDataModule, "sums", TINY_SUMS)
    return tmp_path
