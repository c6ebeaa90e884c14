"""Single measurements, each in a process of its own, so that none affects the caches or memory of another.

    python -m benchmarks.measure NAME '{"option": value}'

prints one line of JSON. scripts/train.py itself measures our runs.
"""

import json
import os
import statistics
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

from engine.shortcuts import settle, settle_threads

MATRIX = 2048  # rows of the square matrices to multiply
MATRIX_SECONDS = 2.0
PREDICT_SECONDS = 0.7
WARM_UP = 20  # images
COUNTED = 10  # images for counting operations


def lecture_data(root: str, batches: int | None) -> dict[str, float]:
    """Return images per second from the lecture's training loader."""
    from benchmarks.loops import lecture_loader

    loader = lecture_loader(root, train=True)
    return {"images_per_second": _rate(iter(loader), batches)}


def our_data(root: str) -> dict[str, float]:
    """Return normalised images per second from our training loader, in batches as large as the lecture's."""
    from project.data import MNISTDataModule

    data = MNISTDataModule(root, download=False, batch_size=100, val_size=0)
    data.setup("fit")
    # Three epochs, because a single one is too short to time reliably.
    rates = [_rate((data.on_after_batch_transfer(b, 0) for b in data.train_dataloader()), None) for _ in range(3)]
    return {"images_per_second": statistics.median(rates)}


def _rate(loaded: Any, batches: int | None) -> float:
    start = time.perf_counter()
    images = sum(len(x) for x, _ in islice(loaded, batches))
    return images / (time.perf_counter() - start)


def lecture(root: str, seed: int, batches: int | None = None, target: float | None = None) -> dict[str, Any]:
    """Run the lecture's loop for one epoch, or until its test accuracy reaches the target, for at most 30 epochs.

    The seconds are those of training only, without the tests after each epoch.
    """
    from benchmarks.loops import LectureLoop

    loop = LectureLoop(root, seed)
    seconds, accuracy = [loop.epoch(batches)], []
    if target is not None:
        accuracy.append(loop.accuracy())
        while accuracy[-1] < target and len(seconds) < 30:
            seconds.append(loop.epoch())
            accuracy.append(loop.accuracy())
    return {"seconds": sum(seconds), "epochs": len(seconds), "accuracy": accuracy}


def bare(arguments: list[str], images: int | None = None) -> dict[str, float]:
    """Train as scripts/train.py would with these arguments, but in a bare loop; `images` as in `train_repeated`."""
    from benchmarks.loops import bare_fit
    from engine.training.summary import peak_memory_mb

    if images is not None:
        _register_repeated(images)
    config, data, task = _built(arguments)
    data.setup("fit")
    # With the thread settings of a run, so that the ratio shows only the overhead of the Trainer and the engine.
    settle_threads(1)
    seconds = bare_fit(data, task, config)
    return {"seconds": seconds, "peak_memory_mb": peak_memory_mb(task.device)}


def _built(arguments: list[str]) -> tuple[dict[str, Any], Any, Any]:
    """Return the configuration, data module and task that scripts/train.py would build with these arguments."""
    import torch

    import project  # noqa: F401, it hands its tasks, backbones, heads and data to the engine
    from engine.config.config import read_command_line, resolve
    from engine.config.yaml_files import Source
    from engine.training.assemble import build, trainer_arguments

    config, _ = resolve([Source("command line", read_command_line(arguments).flags)])
    trainer_arguments(config)
    torch.manual_seed(config["seed"])
    return config, *build(config)


def train_repeated(arguments: list[str], images: int) -> dict[str, Any]:
    """Train on MNIST truncated or repeated to `images` images; the summary is in the run's folder."""
    from scripts import train

    _register_repeated(images)
    train.main(arguments)
    return {}


def _register_repeated(images: int) -> None:
    """Make `--data repeated` stand for MNIST with `images` training images."""
    import torch

    from project.data import DATA, MNISTDataModule

    class Repeated(MNISTDataModule):
        def setup(self, stage: str) -> None:
            super().setup(stage)
            have = len(self.stores["train"])
            if have != images:
                self.stores["train"] = self.stores["train"].subset(torch.arange(images) % have)

    DATA["repeated"] = Repeated


def predict(checkpoint: str, root: str, batch_size: int, plain: bool) -> dict[str, float]:
    """Return images per second, from bytes to classes: as scripts/predict.py does, or by calling the network."""
    import torch

    from benchmarks.loops import synchronize
    from engine.contract.parts import load_task
    from engine.inference.predict import best_device
    from project.data import MNISTDataModule

    data = MNISTDataModule(root, download=False)
    data.setup("test")
    images = data.stores["test"].images
    device = torch.device(best_device())
    task: Any = load_task(checkpoint, device)
    mean, std = task.hparams["mean"][0], task.hparams["std"][0]

    def classify(batch: torch.Tensor) -> None:
        batch = batch.to(device)
        if plain:
            task((batch.float() / 255 - mean) / std).softmax(dim=1).max(dim=1)
        else:
            task.predict(task.input.prepare(batch))

    rates = []
    with torch.inference_mode():
        classify(images[:batch_size])
        for _ in range(3):
            done, start = 0, time.perf_counter()
            while time.perf_counter() - start < PREDICT_SECONDS:
                first = done % (len(images) - batch_size)
                classify(images[first : first + batch_size])
                synchronize(device)
                done += batch_size
            rates.append(done / (time.perf_counter() - start))
    return {"images_per_second": statistics.median(rates)}


def write_onnx(checkpoint: str, root: str) -> dict[str, str]:
    """Export a checkpoint of MNIST as ONNX; return the file's path."""
    import project  # noqa: F401, it hands its tasks, backbones, heads and data to the engine
    from engine.export import command as export

    export.main([checkpoint, "--format", "onnx", "--data.root", root])
    return {"file": str(Path(checkpoint).with_suffix(".onnx"))}


def latency(file: str, root: str) -> dict[str, float]:
    """Return the median latency of one MNIST image on the CPU in ms, from bytes to probabilities.

    `file` is a checkpoint or an exported file.
    """
    import torch

    from engine.inference.load import load_model
    from project.data import MNISTDataModule

    data = MNISTDataModule(root, download=False)
    data.setup("test")
    images, model = data.stores["test"].images, load_model(file)
    seconds: list[float] = []
    with torch.inference_mode():
        for i in range(WARM_UP):
            model.outputs(images[i : i + 1])
        while sum(seconds) < 3 * PREDICT_SECONDS:
            first = len(seconds) % len(images)
            start = time.perf_counter()
            model.outputs(images[first : first + 1])
            seconds.append(time.perf_counter() - start)
    return {"ms": 1000 * statistics.median(seconds)}


def matrix_product(precision: str) -> dict[str, float]:
    """Return the speed, in GFLOP/s, of multiplying two square matrices in the data type of a precision."""
    import torch

    from benchmarks.loops import synchronize
    from engine.inference.predict import best_device

    device = torch.device(best_device())
    dtype = torch.bfloat16 if precision == "bf16-mixed" else torch.float32
    a, b = (torch.randn(MATRIX, MATRIX).to(device, dtype) for _ in range(2))
    torch.mm(a, b)
    synchronize(device)
    seconds: list[float] = []
    while sum(seconds) < MATRIX_SECONDS:
        start = time.perf_counter()
        torch.mm(a, b)
        synchronize(device)
        seconds.append(time.perf_counter() - start)
    return {"gflops": 2 * MATRIX**3 / statistics.median(seconds) / 1e9}


def arithmetic(arguments: list[str]) -> dict[str, Any]:
    """Return the MFLOP of training on one image with these arguments, and their precision."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    config, data, task = _built(arguments)
    with FlopCounterMode(display=False) as counter:
        task(torch.zeros(COUNTED, data.in_channels, *data.image_size)).sum().backward()
    return {"mflop": counter.get_total_flops() / COUNTED / 1e6, "precision": config["precision"]}


def write_photographs(folder: str, num: int) -> dict[str, float]:
    """Write `num` JPEG files into class folders."""
    from benchmarks import files

    files.write_photographs(Path(folder), num)
    return {}


def our_files(**options: Any) -> dict[str, float]:
    """Return images per second from our loader of user files, and its peak memory."""
    from benchmarks import files

    return files.our_files(**options)


def bare_files(**options: Any) -> dict[str, float]:
    """Return images per second from a loop that decodes the same files."""
    from benchmarks import files

    return files.bare_files(**options)


MEASUREMENTS = {
    f.__name__: f
    for f in (
        lecture_data,
        our_data,
        lecture,
        bare,
        train_repeated,
        predict,
        write_onnx,
        latency,
        matrix_product,
        arithmetic,
        write_photographs,
        our_files,
        bare_files,
    )
}

# These run as plain Python programs, without the settings of our scripts.
PLAIN = ("lecture_data", "lecture", "matrix_product", "bare_files")

if __name__ == "__main__":
    if sys.argv[1] not in PLAIN:
        settle()
    # Only the answer may go to stdout, not the output of runs.
    answer, sys.stdout = sys.stdout, open(os.devnull, "w")  # noqa: SIM115, it stays open to the end
    result = MEASUREMENTS[sys.argv[1]](**json.loads(sys.argv[2]))
    print(json.dumps(result), file=answer)
