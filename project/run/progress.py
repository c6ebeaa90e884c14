"""What a run says while it trains: a bar on a terminal, a line an epoch everywhere, numbers for the loggers."""

import os
import sys
import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, Checkpoint, RichProgressBar

from project.run.processes import is_main_process

REFRESH_STEPS = 20  # redrawing more often is work that nobody sees


def is_of_a_class(name: str) -> bool:
    """Whether a metric is that of one class: test/iou/cat, but not test/miou."""
    return name.count("/") > 1


def is_share(name: str) -> bool:
    """Whether a metric is a share in 0..1, which a person reads as a percentage."""
    return name.rpartition("/")[2] in ("acc", "miou", "map", "map_50") or is_of_a_class(name)


def percent_or_number(name: str, value: float) -> str:
    """Write a metric as a person reads it: shares as percentages, others with four significant digits."""
    if is_share(name):
        return f"{100 * value:.2f} %"
    return f"{value:.4g}"


def say(text: str) -> None:
    """Print a line, in one process only. That nobody reads it any more does not matter: training goes on."""
    if is_main_process():
        try:
            print(text, flush=True)
        except BrokenPipeError:
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115, it stays open to the end


class Bar(RichProgressBar):
    """Lightning's bar, with the loss of the step and the newest validation metric beside it."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=REFRESH_STEPS, leave=False)
        self._loss: float | None = None

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx % REFRESH_STEPS == 0 and isinstance(outputs, dict) and "loss" in outputs:
            self._loss = float(outputs["loss"])
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        shown = {} if self._loss is None else {"loss": f"{self._loss:.4f}"}
        for name, value in trainer.callback_metrics.items():
            if name.startswith("val/") and not name.endswith("loss"):  # more would not fit in 80 columns
                shown[name] = percent_or_number(name, float(value))
        return shown

    def _get_train_description(self, current_epoch: int) -> str:
        total = self.trainer.max_epochs
        return f"Epoch {current_epoch + 1}" + (f"/{total}" if total is not None and total > 0 else "")


class EpochLines(Checkpoint):
    """Prints one line for each epoch.

    A `Checkpoint` only because Lightning calls those last, when all of the epoch's metrics are there.
    """

    def __init__(self) -> None:
        self._start = 0.0
        self._validated = False  # in this epoch

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validated = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start = time.perf_counter()  # a run resumed within an epoch does not start that again

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        total = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else None
        words = [f"epoch {trainer.current_epoch + 1}" + (f"/{total}" if total else "")]
        # Read in every process: the metrics are joined over all of them at this moment.
        for name, value in sorted(trainer.callback_metrics.items()):
            if self._validated or not name.startswith("val/"):
                words.append(f"{name} {percent_or_number(name, float(value))}")
        self._validated = False
        words.append(f"{time.perf_counter() - self._start:.1f} s")
        say("  ".join(words))


class StepMetrics(Callback):
    """Logs the loss of a step and the learning rate every so many steps, straight to the loggers."""

    def __init__(self, every: int) -> None:
        self.every = every

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step % self.every or not isinstance(outputs, dict):
            return
        values = {"train/loss_step": float(outputs["loss"]), "lr": trainer.optimizers[0].param_groups[0]["lr"]}
        values["epoch"] = trainer.current_epoch
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step - 1)


def on_terminal() -> bool:
    """Whether standard output is a terminal that a person looks at."""
    return sys.stdout.isatty()
