"""Pictures of what a network makes of a few images, beside the truth, as training goes on."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from project.ops.pictures import contact_sheet, to_image
from project.run.progress import say
from project.tasks import Task

MOST = 8  # images on a picture


class SamplePictures(Callback):
    """Writes samples/epoch-N.png from the first validation images, and samples/test.png from the first of the test.

    Of epochs 1 to 9 each, then every tenth, from 100 on every hundredth and so on, so that a long run does not fill the
    disk. What it does draws no random numbers.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "samples"
        self._failed = False

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int, *rest: Any
    ) -> None:
        epoch = trainer.current_epoch + 1
        if batch_idx == 0 and not trainer.sanity_checking and int(str(epoch)[1:] or 0) == 0:
            self._write(trainer, pl_module, batch, f"epoch-{epoch}")

    def on_test_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int, *rest: Any
    ) -> None:
        if batch_idx == 0:
            self._write(trainer, pl_module, batch, "test")

    def _write(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, name: str) -> None:
        if not trainer.is_global_zero or self._failed:
            return
        assert isinstance(pl_module, Task)
        images, targets = batch
        with torch.no_grad():
            rows = pl_module.side_by_side(images[:MOST], targets[:MOST])
        if not rows:
            return
        try:
            self.folder.mkdir(exist_ok=True)
            to_image(contact_sheet({title: row.cpu() for title, row in rows.items()})).save(self.folder / f"{name}.png")
        except OSError as error:  # no reason to end a run
            self._failed = True
            say(f"note: {self.folder} cannot be written ({error.strerror}): no pictures of samples")
