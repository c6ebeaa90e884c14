"""Saving a run: the best weights, the last state, durably; and seeding each step so that a resume is exact."""

import math
import random
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.callbacks import Callback, Checkpoint

from project.checkpoint_file import read_checkpoint, sweep, write_checkpoint
from project.data.sampler import mix
from project.run.tracking import MetricsCsv

PREVIOUS = {"last.ckpt": "previous.ckpt"}  # what a file that is replaced is kept as


class DurableCheckpointIO(CheckpointIO):
    """Lightning reads and writes checkpoints through this; see `project.checkpoint_file` for what it promises."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        write_checkpoint(checkpoint, path, path.with_name(PREVIOUS[path.name]) if path.name in PREVIOUS else None)

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True) -> dict[str, Any]:
        return read_checkpoint(path, map_location)

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


class RunCheckpoints(Checkpoint):
    """Keeps best.ckpt, by the task's metric, and last.ckpt, the state at the end of the newest epoch.

    Without validation data the newest weights count as the best.

    Args:
        folder: the run's folder.
        metric: the logged metric that decides, such as val/acc.
        highest: whether a higher value is better.
        record: what is written into every checkpoint about the run: plain values only.
    """

    def __init__(self, folder: Path, metric: str, highest: bool, record: dict[str, Any]) -> None:
        self.folder = folder
        self.metric = metric
        self.highest = highest
        self.record = record
        self.best_value: float | None = None
        self.best_epoch: int | None = None

    @property
    def best_path(self) -> Path:
        return self.folder / "best.ckpt"

    @property
    def last_path(self) -> Path:
        return self.folder / "last.ckpt"

    def state_dict(self) -> dict[str, Any]:
        return {"metric": self.metric, "best_value": self.best_value, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict["metric"] == self.metric:
            self.best_value = state_dict["best_value"]
            self.best_epoch = state_dict["best_epoch"]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            sweep(self.folder)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["run"] = self.record

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or not trainer.fit_loop.epoch_loop.batch_progress.total.ready:
            return
        if self.metric not in trainer.callback_metrics:
            return
        value = float(trainer.callback_metrics[self.metric])
        if not math.isfinite(value):
            return
        if self.best_value is None or (value > self.best_value if self.highest else value < self.best_value):
            self.best_value = value
            self.best_epoch = trainer.current_epoch
            trainer.save_checkpoint(self.best_path)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.best_value is None and not trainer.num_val_batches:
            self.best_epoch = trainer.current_epoch
            trainer.save_checkpoint(self.best_path)
        self._record_epoch(trainer)
        trainer.save_checkpoint(self.last_path)

    def _record_epoch(self, trainer: pl.Trainer) -> None:
        """Write the epoch's line of metrics.csv before the checkpoint: a kill between them must not lose the line."""
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCsv):
                values = {name: float(value) for name, value in trainer.callback_metrics.items()}
                logger.log_metrics({"epoch": trainer.current_epoch, **values}, step=trainer.global_step - 1)
                logger.save()


class SeedEveryStep(Callback):
    """Seeds each training step by (seed, step, process), so that dropout draws the same numbers after a resume."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.fit_loop.epoch_loop.batch_progress.total.ready - 1
        seed = mix(self.seed, step, trainer.global_rank)
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002, the generator that a user's code may draw from
