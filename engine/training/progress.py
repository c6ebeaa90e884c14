"""Progress of a training: a bar on a terminal, one line per epoch everywhere, numbers for the loggers."""

import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from engine.errors import Stopped
from engine.resume.lightning_internals import BarFromOne
from engine.terminal import say

# Metrics in 0..1, over all classes or for one.
SHARES = ("acc", "f1", "precision", "recall", "ece", "miou", "iou", "map", "map_50", "discriminator_acc")
REFRESH_STEPS = 20  # nobody sees the bar redrawn more often


def is_of_a_class(name: str) -> bool:
    """Whether a metric belongs to one class: test/iou/cat, but not test/miou."""
    return name.count("/") > 1


def is_share(name: str) -> bool:
    """Whether a metric is a share in 0..1, shown as a percentage."""
    return name.split("/")[1 if is_of_a_class(name) else -1] in SHARES


def percent_or_number(name: str, value: float) -> str:
    """Format a metric for display: shares as percentages, others with four significant digits."""
    if value != value:  # nan
        return "no value"
    if is_share(name):
        return f"{100 * value:.2f} %"
    return f"{value:.4g}"


def measured_rows(
    metrics: Mapping[str, float], intervals: Mapping[str, tuple[float, float]] | None = None
) -> list[tuple[str, str]]:
    """Return metrics with their values formatted for display; test/source_psnr is shown beside test/psnr."""
    texts = {name: percent_or_number(name, value) for name, value in metrics.items()}
    for name, ends in (intervals or {}).items():
        low, high = (percent_or_number(name, end).removesuffix(" %") for end in ends)
        texts[name] += f" ({low} to {high})"
    beside: dict[str, list[str]] = {name: [] for name in metrics}
    for name, value in metrics.items():
        split, _, measure = name.rpartition("/")
        prefix, _, measure = measure.rpartition("_")
        if prefix and f"{split}/{measure}" in beside and not is_of_a_class(name):
            beside[f"{split}/{measure}"].append(f"{prefix} {percent_or_number(f'{split}/{measure}', value)}")
            del beside[name]
    return [(name, texts[name] + (f"   ({', '.join(others)})" if others else "")) for name, others in beside.items()]


class Bar(BarFromOne):
    """Lightning's bar, followed by the step's loss and the newest value of the task's best metric."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=REFRESH_STEPS, leave=False)
        self._loss: float | None = None

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx % REFRESH_STEPS == 0 and isinstance(outputs, dict) and "loss" in outputs:
            self._loss = float(outputs["loss"])
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        shown = {} if self._loss is None else {"loss": f"{self._loss:.4f}"}
        best = str(pl_module.best_metric)
        if best in trainer.callback_metrics:  # more would not fit in 80 columns
            shown[best] = percent_or_number(best, float(trainer.callback_metrics[best]))
        return shown


class EpochLines(Callback):
    """Prints one line per epoch under a header: as many metrics as fit, the most important first.

    Other callbacks may still log metrics at an epoch's end, so its line is printed when the next epoch starts or the
    training ends.
    """

    def __init__(self) -> None:
        self._start = 0.0
        self._validated = False  # in this epoch
        self._ended: tuple[int, float] | None = None  # the epoch whose line is due, and the seconds it took
        self._columns: list[str] = []

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validated = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start = time.perf_counter()  # a run resumed within an epoch skips on_train_epoch_start

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._print(trainer, pl_module)
        self._start = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._ended = trainer.current_epoch + 1, time.perf_counter() - self._start

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._print(trainer, pl_module)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if isinstance(exception, Stopped):  # reaches all processes; after another error some could wait for ever
            self._print(trainer, pl_module)

    def _print(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the line that is due, if any."""
        if self._ended is None:
            return
        (number, seconds), self._ended = self._ended, None
        total = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else None
        count = f"epoch {number}" + (f"/{total}" if total else "")
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if not self._validated:
            values = {name: value for name, value in values.items() if not name.startswith("val/")}
        self._validated = False
        margin = len(f"epoch {total}/{total}" if total else "epoch 1,000")
        columns = fitting(by_importance(values, str(pl_module.best_metric)), margin)
        if not set(columns) <= set(self._columns):  # the first line, or the first with a validation
            self._columns = columns
            say("  ".join([" " * margin, *(f"{name:>{_width(name)}}" for name in columns), "seconds"]))
        shown = {name: percent_or_number(name, values[name]) if name in values else "" for name in self._columns}
        cells = [f"{text:>{_width(name)}}" for name, text in shown.items()]
        say("  ".join([f"{count:<{margin}}", *cells, f"{seconds:>7.1f}"]))


def by_importance(names: Iterable[str], best: str) -> list[str]:
    """Return metrics in order of importance: losses, the best metric, the rest."""
    first = ["train/loss", "val/loss", best]
    rest = sorted(
        names, key=lambda name: not name.startswith("val/")
    )  # the sort is stable: within each group, as logged
    return [name for name in [*first, *(name for name in rest if name not in first)] if name in names]


def fitting(names: Sequence[str], margin: int) -> list[str]:
    """Return as many of the first names as fit as columns on a terminal line, 80 wide without a terminal.

    `margin` is the width of the line's first column.
    """
    room = shutil.get_terminal_size((80, 24)).columns - margin - 9  # for the seconds
    kept: list[str] = []
    for name in names:
        room -= _width(name) + 2
        if room < 0 and kept:
            break
        kept.append(name)
    return kept


def _width(name: str) -> int:
    return max(len(name), 8)


class StepMetrics(Callback):
    """Logs the step's loss and learning rate every `every` steps, straight to the loggers."""

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
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()
