"""What many tests need: a folder of their own with the stand-in for MNIST in it, and one thread."""

from pathlib import Path

import pytest
import torch

from tests.tiny import at_tiny

torch.set_num_threads(1)  # tiny networks: more threads only wait for each other


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder with data/MNIST/raw, whose sums MNISTDataModule accepts."""
    return at_tiny(monkeypatch, tmp_path)
