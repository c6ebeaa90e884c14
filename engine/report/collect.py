"""Collects what a report shows while validation and test run, so that no image is predicted twice."""

import contextlib
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from engine.contract.data import DataModule
from engine.contract.mistakes import Mistake
from engine.contract.task import Task
from engine.errors import one_line
from engine.inputs.drawing import contact_sheet, joined, to_image
from engine.record.writer import Writer
from engine.resume.checkpoints import RunCheckpoints
from engine.terminal import say

MAX_IMAGES = 8  # images whose answers are shown beside the truth


@dataclass
class Measurement:
    """What a report shows of one validation or test."""

    measured: str  # the images and weights, in words
    class_names: list[str]
    samples: dict[str, Tensor] = field(default_factory=dict)  # by title, uint8 (N, 3, h, w)
    legend: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    confusion: Tensor | None = None  # (K, K)
    mistakes: list[Mistake] = field(default_factory=list)


class Collect(Writer):
    """Keeps the test's measurement for the report, or that of the best validation until there is a test.

    It also writes samples/epoch-N.png, which shows answers beside the truth: after each of epochs 1 to 9, then every
    tenth, from 100 on every hundredth and so on, so that a long run does not fill the disk. It draws no random numbers,
    and prints a note instead of raising errors.

    Args:
        folder: the run's folder.
        checkpoints: calls `keep_validated` after each best validation.
    """

    name = "report"

    def __init__(self, folder: Path, checkpoints: RunCheckpoints) -> None:
        super().__init__(folder, checkpoints)
        checkpoints.when_best = self.keep_validated
        self.measurement: Measurement | None = None
        self._samples: dict[str, Tensor] = {}
        self._said = False

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int, *rest: Any
    ) -> None:
        if not trainer.sanity_checking:
            self._collect_samples(pl_module, batch, batch_idx, trainer.num_val_batches)

    def on_test_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int, *rest: Any
    ) -> None:
        self._collect_samples(pl_module, batch, batch_idx, trainer.num_test_batches)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        epoch = trainer.current_epoch + 1
        if self._samples and trainer.is_global_zero and int(str(epoch)[1:] or 0) == 0:
            try:
                samples = self.folder / "samples"
                samples.mkdir(exist_ok=True)
                sheet = contact_sheet(self._samples, pl_module.legend())  # type: ignore[operator]
                to_image(sheet).save(samples / f"epoch-{epoch}.png")
            except Exception as error:
                self._fail(error)

    def keep_validated(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the measurement of the validation that just ended."""
        self._keep(pl_module, f"validation images, weights after epoch {trainer.current_epoch + 1}")

    def on_test_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        best = self.checkpoints.best_epoch
        weights = "" if best is None else f", weights after epoch {best + 1}"
        self._keep(pl_module, f"test {pl_module.input.word}{weights}")

    def write(self, tracker: Any, data: DataModule, task: Task) -> Path:
        # Imported here because the drawing code takes half a second to import.
        from engine.report.write import write_report

        return write_report(self.folder, self.measurement, tracker, (data, task))

    def _collect_samples(
        self, pl_module: pl.LightningModule, batch: Any, number: int, batches: Sequence[float]
    ) -> None:
        """Keep answers for MAX_IMAGES images, spread evenly over all batches, because neighbours often share a class.

        Every process calls this equally often, because a sharded network needs all processes to predict.
        """
        assert isinstance(pl_module, Task)
        if number == 0:
            self._samples = {}
        images, targets = batch
        total = sum(batches)
        places = [(i + 0.5) / MAX_IMAGES * total - number for i in range(MAX_IMAGES)] if math.isfinite(total) else []
        chosen = [int(place * len(images)) for place in places if 0 <= place < 1]
        if number == 0 and not places:  # the number of batches is unknown
            chosen = list(range(min(MAX_IMAGES, len(images))))
        if not chosen:
            return
        # A compiled network would be recompiled for one image.
        compiled = "torch._dynamo" in sys.modules
        try:
            with torch.no_grad(), torch.compiler.set_stance("force_eager") if compiled else contextlib.nullcontext():
                for i, before in zip(chosen, [None, *chosen], strict=False):
                    rows = pl_module.pictures(images[i : i + 1], targets[i : i + 1])
                    for title, row in rows.items() if i != before else ():
                        self._samples[title] = joined(self._samples.get(title, row[:0].cpu()), row.cpu())
        except Exception as error:
            self._fail(error)

    def _keep(self, pl_module: pl.LightningModule, measured: str) -> None:
        """Keep the measurement that just ended. Every process calls this, because their counts are summed."""
        assert isinstance(pl_module, Task)
        names = [str(name) for name in pl_module.hparams["class_names"]]
        self.measurement = Measurement(measured, names, self._samples)
        try:
            confusion = pl_module.confusion()
            self.measurement.confusion = None if confusion is None else confusion.cpu()
            self.measurement.mistakes = pl_module.worst_mistakes()
            self.measurement.legend = pl_module.legend()
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if not self._said:
            say(f"note: some answers of the network are not shown ({one_line(error) or type(error).__name__})")
        self._said = True
