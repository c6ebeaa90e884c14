"""A small stand-in for MNIST, made here, and the scripts run on it as real programs.

Digit k is a bright bar at a place of its own, with noise: easy to learn, and quick.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from project.data.mnist import MNISTDataModule
from project.data.mnist_files import idx_bytes

ROOT = Path(__file__).parent.parent
SIZES = {"train": 360, "t10k": 90}
# Settings under which a run on the stand-in takes a second or two.
QUICK = ["--data.val_size", "60", "--data.batch_size", "30", "--wandb", "disabled", "--precision", "32-true"]


def tiny_files() -> dict[str, bytes]:
    """Return the four files of the stand-in, by name."""
    generator = np.random.default_rng(0)
    files = {}
    for prefix, size in SIZES.items():
        labels = np.arange(size, dtype=np.uint8) % 10
        images = generator.integers(0, 60, (size, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[4:24, 4 + 2 * label : 6 + 2 * label] = 250
        files[f"{prefix}-images-idx3-ubyte"] = idx_bytes(images)
        files[f"{prefix}-labels-idx1-ubyte"] = idx_bytes(labels)
    return files


TINY_FILES = tiny_files()
TINY_SUMS = {name: hashlib.sha256(content).hexdigest() for name, content in TINY_FILES.items()}


def write_tiny(root: Path) -> Path:
    """Write the stand-in below `root` as MNIST is laid out; return the folder of the four files."""
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in TINY_FILES.items():
        (folder / name).write_bytes(content)
    return folder


def run_script(name: str, *arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run scripts/NAME.py as a program of its own, on the stand-in, with one thread."""
    command = [sys.executable, "-W", "ignore::FutureWarning", __file__, *map(str, arguments)]
    variables = {**os.environ, "TINY_SCRIPT": name, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, timeout=120, check=False)


if __name__ == "__main__":  # also in the processes that Lightning starts for a run's other devices
    MNISTDataModule.sums = TINY_SUMS
    script = ROOT / "scripts" / f"{os.environ['TINY_SCRIPT']}.py"
    exec(compile(script.read_text(), script, "exec"))  # not by runpy, which would hide this file from Lightning
