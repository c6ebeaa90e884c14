"""Saving a run durably: its best weights, and its newest state, from which a resumed run continues exactly."""

import math
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
import torch.distributed as dist
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.callbacks import Callback, Checkpoint, WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from engine.contract.errors import UserError
from engine.data.sampler import mix
from engine.errors import Stopped
from engine.record.metrics_csv import MetricsCsv
from engine.resume.checkpoint_file import read_checkpoint, sweep, write_checkpoint
from engine.resume.lightning_internals import (
    average_of,
    batches_begun,
    batches_begun_in_all,
    is_validation_due,
    set_validation_batches,
    start_with_validation,
    validation_batches,
)
from engine.resume.saved_state import check_fits
from engine.resume.stops import StopSignals

PREVIOUS = {"last.ckpt": "previous.ckpt"}  # backup name of an overwritten file
AGREE_EVERY = 8  # steps after which several processes agree again whether to save or stop


class DurableCheckpointIO(CheckpointIO):
    """Lightning's reader and writer of checkpoints; its guarantees are those of `engine.resume.checkpoint_file`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        write_checkpoint(checkpoint, path, path.with_name(PREVIOUS[path.name]) if path.name in PREVIOUS else None)

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True) -> dict[str, Any]:
        return read_checkpoint(path, map_location)

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


class RunCheckpoints(Checkpoint):
    """Keeps best.ckpt, by the task's metric, and last.ckpt, the newest state; obeys signals that stop the run.

    last.ckpt is written at the end of each epoch, every so many steps or minutes if asked, and after a signal, always
    between two optimiser steps. Without validation data the newest weights are the best.

    Args:
        folder: the run's folder.
        metric: the logged metric that selects the best weights, such as val/acc.
        highest: whether a higher value is better.
        newest: keep the newest validated weights as the best, whatever the metric says.
        record: the run's own record, written into every checkpoint: plain values only.
        signals: the signals received.
        every_steps: optimiser steps between two saves within an epoch; None for no such saves.
        every_minutes: minutes between two saves within an epoch; None for no such saves.
        keep_every: keep an epoch-N.ckpt every so many epochs; None for never.
        early_stop: end the run after the epoch with so many validations in a row without improvement; None for never.
    """

    def __init__(
        self,
        folder: Path,
        metric: str,
        highest: bool,
        newest: bool,
        record: dict[str, Any],
        signals: StopSignals,
        every_steps: int | None = None,
        every_minutes: float | None = None,
        keep_every: int | None = None,
        early_stop: int | None = None,
    ) -> None:
        self.folder = folder
        self.metric = metric
        self.highest = highest
        self.newest = newest
        self.record = record
        self.signals = signals
        self.every_steps = every_steps
        self.every_minutes = every_minutes
        self.keep_every = keep_every
        self.early_stop = early_stop
        self.not_better = 0  # validations since the best one
        self.best_value: float | None = None
        self.best_epoch: int | None = None
        # Called after a validation that found new best weights, or measured no finite value to choose by.
        self.when_best: Callable[[pl.Trainer, pl.LightningModule], None] = lambda trainer, pl_module: None
        self._step = 0  # optimiser steps at the end of the last batch
        self._saved_at = 0.0  # of time.monotonic
        # If a validation is due or under way: the validation batches of this epoch before it ...
        self._pending: int | None = None  # ... in the state being saved
        self._resumed: int | None = None  # ... in the loaded state
        self._resumable = False  # whether a run can resume from the state being saved
        self._validated_at = -1  # the step of the newest validation
        self._resumes_at_epoch_end = False
        self._best_is_later = False  # whether best.ckpt is newer than the epoch-N.ckpt being resumed
        self._loaded: dict[str, Any] | None = None  # the loaded state, until the run has its optimisers

    @property
    def best_path(self) -> Path:
        return self.folder / "best.ckpt"

    @property
    def last_path(self) -> Path:
        return self.folder / "last.ckpt"

    @property
    def best_model_path(self) -> str:
        """The best checkpoint, under Lightning's name: `trainer.test(ckpt_path="best")` finds it."""
        return str(self.best_path) if self.best_path.exists() else ""

    # ---- saving and restoring ----

    def state_dict(self) -> dict[str, Any]:
        best = {"best_value": self.best_value, "best_epoch": self.best_epoch}
        return {"metric": self.metric, **best, "not_better": self.not_better}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # Otherwise the search for the best starts over, also if best.ckpt is newer than the epoch resumed from.
        if state_dict["metric"] == self.metric and self.best_path.exists() and not self._best_is_later:
            self.best_value = state_dict["best_value"]
            self.best_epoch = state_dict["best_epoch"]
            self.not_better = state_dict.get("not_better", 0)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["run"] = self.record
        checkpoint["validation_pending"] = self._pending
        checkpoint["resumable"] = self._resumable

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """If a validation was due or under way when the state was saved, start with all of it."""
        if trainer.state.fn != TrainerFn.FITTING:
            return
        self._loaded = checkpoint
        if Path(trainer.ckpt_path or "").name.startswith("epoch-") and self.best_path.exists():
            best, own = (c["callbacks"]["RunCheckpoints"] for c in (read_checkpoint(self.best_path), checkpoint))
            self._best_is_later = best["best_epoch"] != own["best_epoch"]
        self._resumed = checkpoint["validation_pending"]
        is_whole = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"]
        self._resumes_at_epoch_end = bool(is_whole) and self._resumed is None
        if self._resumed is not None:
            start_with_validation(checkpoint["loops"]["fit_loop"], self._resumed)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._resumed is not None and not trainer.sanity_checking:
            set_validation_batches(trainer, self._resumed)
            self._resumed = None

    # ---- when to save ----

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse a loaded state that does not fit this run, before Lightning gives it to the optimisers and loops.

        Raises:
            UserError: names the entry that does not fit.
        """
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            try:
                check_fits(loaded, trainer)
            except ValueError as error:
                raise UserError(f"{trainer.ckpt_path} cannot be resumed from: {error}") from error
        self._saved_at = time.monotonic()
        if trainer.is_global_zero:
            sweep(self.folder)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._step = trainer.global_step
        if self._resumes_at_epoch_end:  # its test may be all that is left to do
            self._stop_early(trainer)

    def _stop_early(self, trainer: pl.Trainer) -> None:
        if self.early_stop is not None and self.not_better >= self.early_stop:
            trainer.should_stop = True

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step == self._step:
            return  # accumulated gradients would not be in the checkpoint
        self._step = step
        minutes = (time.monotonic() - self._saved_at) / 60
        signal_number, save = self._agree(
            trainer, step, self.every_minutes is not None and minutes >= self.every_minutes
        )
        # A run that reaches its limit within an epoch can later be resumed here with a higher one.
        ends = trainer.should_stop or step == trainer.max_steps
        if ends or (self.every_steps is not None and step % self.every_steps == 0):
            save = True
        if signal_number or save:
            self._save_last(trainer, validation_batches(trainer)[0] if is_validation_due(trainer) else None)
        if signal_number:
            raise Stopped(signal_number)

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int, *rest: Any
    ) -> None:
        signal_number, _ = self._agree(trainer, batch_idx, False)
        if signal_number:
            if not trainer.sanity_checking:
                seen, of_this = validation_batches(trainer)
                self._save_last(trainer, seen - of_this)
            raise Stopped(signal_number)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        self._validated_at = trainer.global_step
        value, best = float(trainer.callback_metrics.get(self.metric, math.nan)), self.best_value
        if math.isfinite(value):
            if best is not None and not self.newest and not (value > best if self.highest else value < best):
                self.not_better += 1
                return
            self.best_value = value
            self.best_epoch = trainer.current_epoch
            self.not_better = 0
            trainer.save_checkpoint(self.best_path)
        elif best is not None:
            return
        self.when_best(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.best_value is None:  # nothing was validated so far
            self.best_epoch = trainer.current_epoch
            trainer.save_checkpoint(self.best_path)
        self._stop_early(trainer)
        if batches_begun(trainer) >= trainer.num_training_batches:
            self._record_epoch(trainer)
            self._save_last(trainer, None)
            epoch = trainer.current_epoch + 1
            if self.keep_every is not None and epoch % self.keep_every == 0:
                self._save(trainer, self.folder / f"epoch-{epoch:03}.ckpt", None)
        signal_number, _ = self._agree(trainer, 0, False)
        if signal_number:
            raise Stopped(signal_number)

    def _record_epoch(self, trainer: pl.Trainer) -> None:
        """Write the epoch's line before the checkpoint, so that a kill between the two cannot lose it."""
        validated = self._validated_at == trainer.global_step
        metrics = {k: float(v) for k, v in trainer.callback_metrics.items() if validated or not k.startswith("val/")}
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCsv):
                logger.log_metrics({"epoch": trainer.current_epoch, **metrics}, step=trainer.global_step - 1)

    def _save_last(self, trainer: pl.Trainer, pending: int | None) -> None:
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCsv):
                logger.save()
        self._save(trainer, self.last_path, pending)
        self._saved_at = time.monotonic()

    def _save(self, trainer: pl.Trainer, path: Path, pending: int | None) -> None:
        """Save a state to resume from; `pending` as in `_pending`."""
        self._pending, self._resumable = pending, True
        trainer.save_checkpoint(path)
        self._pending, self._resumable = None, False

    def _agree(self, trainer: pl.Trainer, count: int, save: bool) -> tuple[int, bool]:
        """Return the signal to obey (0 for none) and whether to save, the same in every process."""
        signal_number = self.signals.received
        if trainer.world_size == 1:
            return signal_number, save
        if count % AGREE_EVERY:
            return 0, False
        wanted = torch.tensor([signal_number, int(save)], device=trainer.strategy.root_device)
        dist.all_reduce(wanted, op=dist.ReduceOp.MAX)
        return int(wanted[0]), bool(wanted[1])


class AveragedWeights(WeightAveraging):
    """An exponential moving average of the weights by Lightning's callback; it can also be saved while validating.

    Args:
        decay: share of the average kept at each step, in [0, 1).
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=get_ema_multi_avg_fn(decay))
        self._swapped = False  # while validating, module and average model have swapped weights

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Lightning copies the module before converting it to another dtype, in --precision bf16-true and the like.
        average = average_of(self)
        if average is not None:
            average.to(next(pl_module.parameters()).dtype)
        super().on_train_start(trainer, pl_module)

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_validation_epoch_start(trainer, pl_module)
        self._swapped = average_of(self) is not None

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_validation_epoch_end(trainer, pl_module)
        self._swapped = False

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.state.fn == TrainerFn.FITTING:  # otherwise the loaded weights are the averaged ones
            super().on_load_checkpoint(trainer, pl_module, checkpoint)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if not self._swapped:
            super().on_save_checkpoint(trainer, pl_module, checkpoint)
            return
        prefix = "module."
        for name, value in average_of(self).state_dict().items():
            key = "current_model_state" if name.startswith(prefix) else "averaging_state"
            checkpoint.setdefault(key, {})[name.removeprefix(prefix)] = value


class SeedEveryStep(Callback):
    """Seeds each training step by (seed, step, process), so that dropout draws the same numbers after a resume."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        step = batches_begun_in_all(trainer) - 1
        seed = mix(self.seed, step, trainer.global_rank)
        # Not torch.manual_seed: without CUDA in use it records every call, with a whole stack trace, for later.
        torch.default_generator.manual_seed(seed)
        device = trainer.strategy.root_device.type
        if device == "cuda":
            torch.cuda.manual_seed(seed)
        elif device == "mps":
            torch.mps.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002, the generator that a user's code may draw from
