"""What a report shows of a measurement, kept while it is made: no image is looked at a second time for it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from project.ops.pictures import contact_sheet, to_image
from project.run.checkpoints import RunCheckpoints
from project.run.errors import one_line
from project.run.progress import say
from project.tasks import Task
from project.tasks.mistakes import Mistake

MOST = 8  # images whose answers are shown beside the truth


@dataclass
class Findings:
    """What one measurement showed."""

    measured: str  # on what, in words
    class_names: list[str]
    samples: dict[str, Tensor] = field(default_factory=dict)  # by title, uint8 (N, 3, h, w)
    legend: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    confusion: Tensor | None = None  # (K, K)
    mistakes: list[Mistake] = field(default_factory=list)


class Collect(Checkpoint):
    """Keeps what the report shows: of the test, or before there is one of the best validation so far.

    Besides writes samples/epoch-N.png, answers beside the truth as training goes on: of epochs 1 to 9 each, then every
    tenth, from 100 on every hundredth and so on, so that a long run does not fill the disk. It draws no random numbers,
    and an error in it is said and nothing more.

    A `Checkpoint` only because Lightning calls those last, in their order: after the best weights were chosen.

    Args:
        folder: the run's folder.
        checkpoints: knows whether a validation was the best.
    """

    def __init__(self, folder: Path, checkpoints: RunCheckpoints) -> None:
        self.folder = folder / "samples"
        self.checkpoints = checkpoints
        self.findings: Findings | None = None
        self._samples: dict[str, Tensor] = {}
        self._best: float | None = None
        self._failed = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._best = self.checkpoints.best_value  # of a resumed run

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int, *rest: Any
    ) -> None:
        if batch_idx == 0 and not trainer.sanity_checking:
            self._look(trainer, pl_module, batch)

    def on_test_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int, *rest: Any
    ) -> None:
        if batch_idx == 0:
            self._look(trainer, pl_module, batch)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        epoch = trainer.current_epoch + 1
        if self._samples and int(str(epoch)[1:] or 0) == 0:
            try:
                self.folder.mkdir(exist_ok=True)
                sheet = contact_sheet(self._samples, pl_module.legend())  # type: ignore[operator]
                to_image(sheet).save(self.folder / f"epoch-{epoch}.png")
            except Exception as error:
                self._fail(error)
        if self.checkpoints.best_value != self._best:
            self._best = self.checkpoints.best_value
            self._keep(pl_module, f"validation images, weights after epoch {epoch}")

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        best = self.checkpoints.best_epoch
        self._keep(pl_module, "test images" if best is None else f"test images, weights after epoch {best + 1}")

    def _look(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any) -> None:
        assert isinstance(pl_module, Task)
        self._samples = {}
        if not trainer.is_global_zero or self._failed:
            return
        images, targets = batch
        try:
            with torch.no_grad():
                rows = pl_module.side_by_side(images[:MOST], targets[:MOST])
            self._samples = {title: row.cpu() for title, row in rows.items()}
        except Exception as error:
            self._fail(error)

    def _keep(self, pl_module: pl.LightningModule, measured: str) -> None:
        """Keep what was just measured. All processes come here: what they counted is joined."""
        assert isinstance(pl_module, Task)
        if self._failed:
            return
        try:
            confusion, mistakes = pl_module.confusion(), pl_module.worst_mistakes()
            names = [str(name) for name in pl_module.hparams["class_names"]]
            self.findings = Findings(measured, names, self._samples, pl_module.legend(), confusion, mistakes)
            if confusion is not None:
                self.findings.confusion = confusion.cpu()
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._failed = True
        say(f"note: no pictures of what the network answers ({one_line(error) or type(error).__name__})")
