"""Another input than images, in this file alone: signals of 16 bits in text files, seen by an image backbone."""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from engine.contract.data import DataModule
from engine.contract.errors import UserError
from engine.contract.input import Graph, Input, Item
from engine.contract.mistakes import Mistakes
from engine.contract.task import Task
from engine.errors import UsageError
from engine.export import command as export
from engine.inference import evaluate, predict
from engine.inputs.folder import Findings
from project.data import DATA
from project.tasks import TASKS
from project.tasks.classifier import LitClassifier
from scripts import train
from tests.runs import read_summary

WIDTH = 8


@dataclass(frozen=True)
class SignalInput(Input):
    """Signals (N, length) of int16, prepared as images of 8 columns."""

    length: int
    scale: float

    word: ClassVar[str] = "signals"
    larger: ClassVar[str] = "a larger --data.length"

    def __str__(self) -> str:
        return f"{self.length} values"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.length,)

    def for_backbone(self) -> dict[str, Any]:
        return {"in_channels": 1, "image_size": (self.length // WIDTH, WIDTH)}

    def for_own_data(self) -> dict[str, Any]:
        return {"length": self.length}

    def find(self, paths: Iterable[str], findings: Findings | None = None) -> list[Path]:
        return [path for name in paths for path in sorted(Path(name).glob("*.txt"))]

    def read(self, path: Path, whole: bool = False, invert: bool = False) -> Item:
        try:
            values = torch.tensor([int(word) for word in path.read_text().split()], dtype=torch.int16)
        except ValueError as error:
            raise UserError(f"{path} cannot be read as a signal ({error})") from error
        return Item(values[: self.length], len(values))

    def may_join(self, batch: Sequence[Item], item: Item, batch_size: int) -> bool:
        return len(batch) < batch_size

    def prepare(self, raw: Tensor) -> Tensor:
        return (raw / self.scale).view(-1, 1, self.length // WIDTH, WIDTH)

    def seen(self, prepared: Tensor) -> Tensor:
        return (255 * prepared).clamp(0, 255).to(torch.uint8).expand(-1, 3, -1, -1).cpu()

    def example(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.randint(0, 1000, (num, self.length), dtype=torch.int16, generator=generator)

    def graph(self, multiple: int | None) -> Graph:
        return Graph("signals", ("batch", "time"), {"values": "int16 (N, T)", "length": self.length})


def signal(index: int, length: int) -> Tensor:
    """Return a signal of class index % 2: loud at its beginning or at its end, and not the same as any other."""
    loud = torch.zeros(length)
    loud[: length // 2] = 800
    noise = torch.rand(length, generator=torch.Generator().manual_seed(index)) * 200
    return ((loud.flip(0) if index % 2 else loud) + noise).to(torch.int16)


class Signals(torch.utils.data.Dataset):
    def __init__(self, start: int, num: int, length: int) -> None:
        self.raw = torch.stack([signal(start + index, length) for index in range(num)])
        self.labels = (start + torch.arange(num)) % 2

    def __len__(self) -> int:
        return len(self.raw)

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        return self.raw[list(indices)], self.labels[list(indices)]


class SignalDataModule(DataModule):
    """Signals that are loud at one end.

    Args:
        length: values of a signal.
        batch_size: signals a batch.
        seed: of the order.
    """

    tasks = ("signals",)
    class_names = ("early", "late")

    def __init__(self, length: int = 64, batch_size: int = 8, seed: int = 0) -> None:
        super().__init__(batch_size, 0, seed)
        self.length = length

    @property
    def input(self) -> SignalInput:
        return SignalInput(self.length, scale=1000.0)

    def setup(self, stage: str) -> None:
        for start, split, num in ((0, "train", 64), (64, "val", 16), (80, "test", 16)):
            self.stores[split] = Signals(start, num, self.length)


class LitSignals(LitClassifier):
    """Signals told apart.

    Args:
        class_names: the classes.
        length: values of a signal.
        scale: what they are divided by.
        backbone: as for images.
        head: as for images.
        optim: as for images.
        label_smoothing: as for images.
    """

    task_name = "signals"
    takes = "signals"
    input_type = SignalInput

    def __init__(
        self,
        class_names: Sequence[str] = ("early", "late"),
        length: int = 64,
        scale: float = 1000.0,
        backbone: Mapping[str, Any] | None = None,
        head: Mapping[str, Any] | None = None,
        optim: Mapping[str, Any] | None = None,
        label_smoothing: float = 0.1,
    ) -> None:
        Task.__init__(self)
        self.set_up(
            class_names=class_names, length=length, scale=scale, backbone=backbone, head=head, optim=optim,
            label_smoothing=label_smoothing,
        )  # fmt: skip
        self.label_smoothing, self.focal = label_smoothing, 0.0
        self.accuracy = MulticlassAccuracy(len(class_names), average="micro")
        self.loss = MeanMetric()
        self.mistakes = Mistakes(len(class_names), (1, *self.input.for_backbone()["image_size"]))


def run(*flags: object) -> None:
    train.main(["--task", "signals", "--data", "signals", "--wandb", "disabled", *map(str, flags)])


@pytest.fixture(autouse=True)
def registered(workplace, monkeypatch):
    monkeypatch.setitem(TASKS, "signals", LitSignals)
    monkeypatch.setitem(DATA, "signals", SignalDataModule)


def test_it_is_trained_resumed_measured_asked_and_exported_without_a_line_elsewhere(workplace, capsys):
    network = ("--backbone.widths", "4,8", "--backbone.padding", "same", "--backbone.kernel_size", 3, "--head.grid", 1)
    run("--name", "a", "--max_epochs", 4, "--optim.lr", 0.02, *network)
    assert read_summary("a")["metrics"]["test/acc"] == 1
    train.main(["--ckpt_path", "checkpoints/a/last.ckpt", "--max_epochs", "5"])
    assert read_summary("a")["epochs"] == 5
    capsys.readouterr()
    evaluate.main(["checkpoints/a/best.ckpt"])
    out = capsys.readouterr().out
    assert "16 test signals" in out and re.search(r"test/acc +100", out)

    own = workplace / "own"
    own.mkdir()
    for index in range(4):
        (own / f"{index}.txt").write_text(" ".join(map(str, signal(200 + index, 64).tolist())))
    (own / "9.txt").write_text("1 2 x")
    export.main(["checkpoints/a/best.ckpt", "--format", "onnx"])
    for file in ("checkpoints/a/best.ckpt", "checkpoints/a/best.onnx"):
        with pytest.raises(Exception, match="1 files left out"):
            predict.main([file, str(own), "--output", "out.csv"])
        with open("out.csv", newline="") as table:
            assert [row["class"] for row in csv.DictReader(table)] == ["early", "late"] * 2


def test_what_follows_from_the_data_is_no_option(workplace):
    with pytest.raises(UsageError, match="task.length 32: it is 64, which follows from the data; leave it out"):
        run("--task.length", 32)


def test_a_backbone_that_takes_something_else_is_refused(workplace, monkeypatch):
    monkeypatch.setattr(SignalInput, "form", "symbols")
    with pytest.raises(UsageError, match="backbone cnn takes images, but signals come as symbols: choose another"):
        run()
