"""A small stand-in for MNIST, made here, and the scripts run on it as real programs.

Digit k is a bright bar at a place of its own, with noise: easy to learn, and quick.
"""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

if sys.path[0] == os.path.dirname(os.path.abspath(__file__)):  # run as a program: not to import tests/project
    sys.path[0] = os.path.dirname(sys.path[0])

from engine.report import write
from project.data.mnist import MNISTDataModule
from project.data.mnist_files import idx_bytes

ROOT = Path(__file__).parent.parent
PATIENCE = 900  # seconds after which a program is taken to hang, however slow and busy the machine
SIZES = {"train": 360, "t10k": 90}
SCENES = ["--data.num_train", "300", "--data.num_val", "60", "--data.num_test", "90", "--data.val_digits", "60"]
SCENES += ["--data.image_size", "32", "--data.min_size", "10", "--data.max_size", "20"]
# Of each task's own data 300 images for training, 60 for validation and 90 for the test.
SIZES_OF = {
    "classify": ["--data.val_size", "60"],
    "segment": SCENES,
    "detect": SCENES,
    "regress": SCENES,
    "multilabel": SCENES,
    "translate": ["--data.val_size", "60"],
}
TASK = next(iter(SIZES_OF))  # the one that runs without --task
# Settings under which a run of it on the stand-in takes a second or two.
QUICK = [*SIZES_OF[TASK], "--data.batch_size", "30", "--wandb", "disabled", "--precision", "32-true"]


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


def at_tiny(patch: Any, folder: Path) -> Path:
    """Make `folder` the current one, with the stand-in in data/, which MNISTDataModule takes for MNIST; return it.

    `patch` is pytest's MonkeyPatch, which undoes it.
    """
    write_tiny(folder / "data")
    patch.chdir(folder)
    patch.setattr(MNISTDataModule, "sums", TINY_SUMS)
    return folder


def no_report(folder: Path, *rest: object) -> Path:
    """Take the place of the function that draws a run's report."""
    return folder / "report.html"


def draw_no_report() -> None:
    """Have this process draw no report, which takes longer than all else in a run, unless the environment asks."""
    if not os.environ.get("TINY_REPORT"):
        write.write_report = no_report


def start_script(name: str, *arguments: object, cwd: Path, **environment: str) -> subprocess.Popen[str]:
    """Start scripts/NAME.py as a program of its own, on the stand-in, with one thread; its output is one stream."""
    python = [sys.executable, "-u", "-W", "ignore::FutureWarning"]
    if processes := environment.pop("TINY_TORCHRUN", ""):
        launcher = ["torch.distributed.run", "--standalone", "--nproc_per_node", processes, "--max_restarts", "2"]
        python = [sys.executable, "-u", "-m", *launcher]
    command = [*python, __file__, *map(str, arguments)]
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=_variables(name, environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _variables(name: str, more: dict[str, str]) -> dict[str, str]:
    return {**os.environ, "TINY_SCRIPT": name, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}


def run_script(name: str, *arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run scripts/NAME.py as a program of its own, on the stand-in, with one thread."""
    command = [sys.executable, "-W", "ignore::FutureWarning", __file__, *map(str, arguments)]
    variables = _variables(name, environment)
    return subprocess.run(
        command, cwd=cwd, env=variables, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def accept_the_stand_in() -> None:
    """Have this process take the stand-in for MNIST."""
    MNISTDataModule.sums = TINY_SUMS


PREPARATIONS = [accept_the_stand_in, draw_no_report]


def slow_saves() -> None:
    """Make each save take a while and say so in a file, `saving`, so that it can be hit by a kill."""
    fsync, replace = os.fsync, os.replace

    def slow_fsync(handle: int) -> None:
        Path("saving").touch()
        time.sleep(0.03)
        fsync(handle)

    def slow_replace(source: str, target: str) -> None:
        time.sleep(0.03)
        replace(source, target)
        if Path(target).name == "previous.ckpt":  # the last thing a save does
            Path("saving").unlink(missing_ok=True)

    os.fsync, os.replace = slow_fsync, slow_replace  # type: ignore[assignment]


if __name__ == "__main__":  # also in the processes that Lightning starts for a run's other devices
    for prepare in PREPARATIONS:
        prepare()
    if os.environ.get("TINY_SLOW_SAVES"):
        slow_saves()
    script = ROOT / "scripts" / f"{os.environ['TINY_SCRIPT']}.py"
    code = compile(script.read_text(encoding="utf-8"), script, "exec")
    exec(code)  # not by runpy, which would hide this file from Lightning
