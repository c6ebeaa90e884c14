"""The parts of the benchmark: one or more rows each, both sides in turn, each number in a process of its own."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.table import Row
from engine.errors import RunError
from engine.machine import available_cores
from engine.shortcuts import spins

ROOT = Path(__file__).resolve().parent.parent
TARGET = 0.9833  # the lecture's test accuracy after ten epochs
QUICK_BATCHES = 60


class Bench:
    """Takes measurements, each in a process of its own.

    Args:
        data_root: folder that holds MNIST/raw/.
        repeats: measurements per row.
        quick: measure a few batches only.
        folder: the working directory, for checkpoints and other files.
    """

    def __init__(self, data_root: Path, repeats: int, quick: bool, folder: Path) -> None:
        self.root = str(data_root.absolute())
        self.repeats = repeats
        self.quick = quick
        self.folder = folder
        self.batches = QUICK_BATCHES if quick else None
        self.limit = ["--limit_train_batches", str(QUICK_BATCHES)] if quick else []
        self.count = 0
        # Each program settles its own threads, or not: this process's setting must not be inherited.
        ours = {"GOMP_SPINCOUNT": str(spins())}
        self.environment = {k: v for k, v in os.environ.items() if ours.get(k) != v} | {"PYTHONPATH": str(ROOT)}

    def execute(self, command: list[str]) -> tuple[str, float]:
        """Run a program in `folder`; return its output and its seconds from start to end."""
        start = time.perf_counter()
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RunError(f"{' '.join(command)} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
        return done.stdout, time.perf_counter() - start

    def measure(self, name: str, **options: Any) -> dict[str, Any]:
        """Take a measurement of `benchmarks.measure`, by name."""
        command = [sys.executable, "-m", "benchmarks.measure", name, json.dumps(options)]
        return dict(json.loads(self.execute(command)[0].splitlines()[-1]))

    def arguments(self, *arguments: object) -> list[str]:
        """Return the arguments of a run with logging and reports on, under a new name."""
        self.count += 1
        own = ["--data.root", self.root, "--name", f"r{self.count}", "--wandb", "offline"]
        return [*own, *map(str, arguments)]

    def train(self, *arguments: object) -> dict[str, Any]:
        """Run scripts/train.py; return its summary, with the whole process's seconds as ["seconds"]["process"]."""
        script = [sys.executable, str(ROOT / "scripts" / "train.py")]
        _, seconds = self.execute([*script, *self.arguments(*arguments)])
        summary = self._summary()
        summary["seconds"]["process"] = seconds
        return summary

    def train_repeated(self, images: int, *arguments: object) -> dict[str, Any]:
        """Train as scripts/train.py does, on MNIST truncated or repeated to `images` images; return the summary."""
        given = self.arguments(*arguments, "--data", "repeated")
        self.measure("train_repeated", arguments=given, images=images)
        return self._summary()

    def _summary(self) -> dict[str, Any]:
        path = self.folder / "checkpoints" / f"r{self.count}" / "summary.json"
        return dict(json.loads(path.read_text(encoding="utf-8")))

    def bare(self, *arguments: object, images: int | None = None) -> dict[str, Any]:
        """Train in a bare loop, with the arguments of `train`."""
        more = ["--data", "repeated"] if images is not None else []
        return self.measure("bare", arguments=[*self.arguments(*arguments), *more], images=images)

    def in_turn(self, *sides: Callable[[int], None]) -> None:
        """Call each side once per repeat, with the repeat's number; the order alternates."""
        for i in range(self.repeats):
            for side in sides if i % 2 == 0 else sides[::-1]:
                side(i)


def data_path(bench: Bench) -> list[Row]:
    """Loading batches of 100, from stored images to normalised floats."""
    row = Row("data path alone, batches of 100", "images/s", faster=True, goal=50)
    bench.in_turn(
        lambda i: row.ours.append(bench.measure("our_data", root=bench.root)["images_per_second"]),
        lambda i: row.theirs.append(
            bench.measure("lecture_data", root=bench.root, batches=bench.batches)["images_per_second"]
        ),
    )
    return [row]


def lecture_epoch(bench: Bench) -> list[Row]:
    """Our fit of the lecture's recipe, with logging and checkpoints, against the lecture's loop without its tests."""
    what = f"the lecture's recipe, {QUICK_BATCHES} batches" if bench.quick else "the lecture's recipe, one epoch"
    row = Row(what, "s", faster=True, goal=None if bench.quick else 2)  # a few batches are mostly the fit's start
    config = ["--config", ROOT / "configs" / "lecture.yaml", "--max_epochs", 1, *bench.limit]
    bench.in_turn(
        lambda i: row.ours.append(bench.train(*config, "--seed", i)["seconds"]["fit"]),
        lambda i: row.theirs.append(
            bench.measure("lecture", root=bench.root, seed=i, batches=bench.batches)["seconds"]
        ),
    )
    return [row]


def time_to_accuracy(bench: Bench) -> list[Row]:
    """The fast recipe's fit and whole process, and the lecture's loop up to its recorded accuracy."""
    fit = Row("time to 98.33 % test accuracy", "s", faster=True, goal=40)
    process = Row("fast recipe, whole process", "s", goal=10)
    accuracy: list[float] = []

    def ours(i: int) -> None:
        summary = bench.train("--config", ROOT / "configs" / "fast.yaml", "--seed", i)
        accuracy.append(100 * summary["metrics"]["test/acc"])
        process.ours.append(summary["seconds"]["process"])
        if summary["metrics"]["test/acc"] >= TARGET:
            fit.ours.append(summary["seconds"]["fit"])

    def theirs(i: int) -> None:
        done = bench.measure("lecture", root=bench.root, seed=i, target=TARGET)
        if done["accuracy"][-1] >= TARGET:
            fit.theirs.append(done["seconds"])

    bench.in_turn(ours, *([] if bench.quick else [theirs]))
    process.remark = f"test accuracy {statistics.mean(accuracy):.2f} % ({min(accuracy):.2f} to {max(accuracy):.2f})"
    fit.remark = (
        f"{len(fit.ours)} of {len(accuracy)} of ours, {len(fit.theirs)} of {bench.repeats} of theirs reached it"
    )
    return [process] if bench.quick else [fit, process]


def trainer_overhead(bench: Bench) -> list[Row]:
    """The default recipe through the Trainer, everything on, against the bare loop; and the machine's own rate."""
    epochs = 1 if bench.quick else 5
    what = f"the default recipe, {QUICK_BATCHES} batches" if bench.quick else f"the default recipe, {epochs} epochs"
    fit = Row(what, "s", goal=None if bench.quick else 1.10)
    memory = Row("its peak memory", "MiB", goal=1.2)
    rate = Row("its rate, against a matrix product", "GFLOP/s")
    counted = bench.measure("arithmetic", arguments=bench.arguments())

    def ours(i: int) -> None:
        summary = bench.train("--max_epochs", epochs, *bench.limit, "--seed", i)
        fit.ours.append(summary["seconds"]["fit"])
        memory.ours.append(summary["peak_memory_mb"])
        rate.ours.append(summary["images_per_second"] * counted["mflop"] / 1e3)
        rate.theirs.append(bench.measure("matrix_product", precision=counted["precision"])["gflops"])
        fit.remark = f"precision {counted['precision']}"

    def theirs(i: int) -> None:
        done = bench.bare("--max_epochs", epochs, *bench.limit, "--seed", i)
        fit.theirs.append(done["seconds"])
        memory.theirs.append(done["peak_memory_mb"])

    bench.in_turn(ours, theirs)
    return [fit, memory, rate]


def start_up(bench: Bench) -> list[Row]:
    """The help page, against only importing Lightning; both skip Python's teardown."""
    row = Row("--help, against importing lightning", "s", goal=1.3)
    bench.in_turn(
        lambda i: row.ours.append(bench.execute([sys.executable, str(ROOT / "scripts" / "train.py"), "--help"])[1]),
        lambda i: row.theirs.append(bench.execute([sys.executable, "-c", "import lightning, os; os._exit(0)"])[1]),
    )
    return [row]


def prediction(bench: Bench) -> list[Row]:
    """Classifying images in memory, against calling the network."""
    bench.train("--max_epochs", 1, "--limit_train_batches", 2)
    checkpoint = str(bench.folder / "checkpoints" / f"r{bench.count}" / "best.ckpt")
    return [_predicting(bench, checkpoint, batch_size) for batch_size in (1, 256)]


def _predicting(bench: Bench, checkpoint: str, batch_size: int) -> Row:
    row = Row(f"predicting, batches of {batch_size}", "images/s", faster=True)

    def once(plain: bool) -> float:
        done = bench.measure("predict", checkpoint=checkpoint, root=bench.root, batch_size=batch_size, plain=plain)
        return float(done["images_per_second"])

    bench.in_turn(lambda i: row.ours.append(once(False)), lambda i: row.theirs.append(once(True)))
    return row


def exported(bench: Bench) -> list[Row]:
    """The latency of one image with onnxruntime, against the checkpoint that was exported."""
    bench.train("--max_epochs", 1, "--limit_train_batches", 2)
    checkpoint = str(bench.folder / "checkpoints" / f"r{bench.count}" / "best.ckpt")
    file = str(bench.measure("write_onnx", checkpoint=checkpoint, root=bench.root)["file"])
    row = Row("one image, exported as ONNX", "ms")

    def once(path: str) -> float:
        return float(bench.measure("latency", file=path, root=bench.root)["ms"])

    bench.in_turn(lambda i: row.ours.append(once(file)), lambda i: row.theirs.append(once(checkpoint)))
    return [row]


def own_files(bench: Bench) -> list[Row]:
    """Streaming folders of JPEG files with one worker per core, and memory by number of files."""
    workers, batches = available_cores(), 10 if bench.quick else 60
    few, many = (1_000, 2_000) if bench.quick else (10_000, 100_000)
    read = Row("own JPEG files, streamed", "images/s", faster=True, goal=0.9)
    read.remark = f"theirs: decoding only; {workers} workers each"
    memory = Row(f"memory, {many:,} files against {few:,}", "MiB", goal=1.1)
    for num in (few, many):
        bench.measure("write_photographs", folder=str(bench.folder / f"{num} files"), num=num)

    def ours(i: int) -> None:
        done = bench.measure("our_files", folder=str(bench.folder / f"{many} files"), workers=workers, batches=batches)
        read.ours.append(done["images_per_second"])
        memory.ours.append(done["peak_memory_mb"])

    def theirs(i: int) -> None:
        arguments = {"workers": workers, "batches": batches}
        done = bench.measure("bare_files", folder=str(bench.folder / f"{many} files"), **arguments)
        read.theirs.append(done["images_per_second"])
        done = bench.measure("our_files", folder=str(bench.folder / f"{few} files"), **arguments)
        memory.theirs.append(done["peak_memory_mb"])

    bench.in_turn(ours, theirs)
    return [read, memory]


def adversary(bench: Bench) -> list[Row]:
    """Training a translator with a discriminator, against the same translator alone."""
    batches = QUICK_BATCHES if bench.quick else 300
    row = Row(f"an adversary, {batches} batches, against none", "s", goal=2.5)
    config = ["--config", ROOT / "configs" / "pix2pix.yaml", "--max_epochs", 1, "--limit_train_batches", batches]
    config += ["--limit_val_batches", 1, "--limit_test_batches", 1]  # so that training dominates
    bench.in_turn(
        lambda i: row.ours.append(bench.train(*config, "--seed", i)["seconds"]["fit"]),
        lambda i: row.theirs.append(bench.train(*config, "--seed", i, "--task.adversary", "none")["seconds"]["fit"]),
    )
    return [row]


def growth(bench: Bench) -> list[Row]:
    """Time and memory of an epoch with growing data, and with a second process."""
    rows = [row for images in (10_000, 60_000, 240_000) for row in _with_images(bench, images)]
    two = Row("3 epochs, 2 processes against 1", "s", remark="the start of the second process included")
    cpu = ["--max_epochs", 3, "--accelerator", "cpu"]
    ddp = ["--devices", 2, "--strategy", "ddp", "--data.batch_size", 125]
    bench.in_turn(
        lambda i: two.ours.append(bench.train(*cpu, *ddp)["seconds"]["fit"]),
        lambda i: two.theirs.append(bench.train(*cpu)["seconds"]["fit"]),
    )
    return [*rows, two]


def _with_images(bench: Bench, images: int) -> list[Row]:
    # The default settings of MNIST, which do not apply to data of another name.
    recipe = ["--max_epochs", 1, "--data.batch_size", 500, "--data.shift", 1.0]
    fit = Row(f"{images:,} images, one epoch", "s")
    memory = Row(f"{images:,} images, peak memory", "MiB")

    def ours(i: int) -> None:
        summary = bench.train_repeated(images, *recipe)
        fit.ours.append(summary["seconds"]["fit"])
        memory.ours.append(summary["peak_memory_mb"])

    def theirs(i: int) -> None:
        done = bench.bare(*recipe, images=images)
        fit.theirs.append(done["seconds"])
        memory.theirs.append(done["peak_memory_mb"])

    bench.in_turn(ours, theirs)
    return [fit, memory]


PARTS: dict[str, Callable[[Bench], list[Row]]] = {
    "data": data_path,
    "lecture": lecture_epoch,
    "accuracy": time_to_accuracy,
    "trainer": trainer_overhead,
    "start": start_up,
    "predict": prediction,
    "export": exported,
    "files": own_files,
    "adversary": adversary,
    "growth": growth,
}
LONG = ("growth",)  # left out by --quick
