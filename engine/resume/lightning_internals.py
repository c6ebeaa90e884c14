"""The private parts of Lightning and torch that exact resuming and clean endings depend on.

Nothing else in the engine touches them. Each function says what it relies on and has its own test in
tests/engine/resume/test_lightning_internals.py: a release that changes such a part fails the test named for it.
Tested with lightning 2.6.
"""

import contextlib
import ctypes
import multiprocessing.queues
import os
import signal
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist
import torch.utils.data
from lightning.pytorch.callbacks import RichProgressBar, WeightAveraging
from torch._utils import ExceptionWrapper

LOADER_PATIENCE = float(torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL)  # seconds


# ---- a run's position ----


def batches_begun(trainer: pl.Trainer) -> int:
    """Return the number of training batches begun in this epoch.

    Relies on `epoch_loop.batch_progress.current.ready`, which rises before `on_train_batch_start`.
    """
    return trainer.fit_loop.epoch_loop.batch_progress.current.ready


def batches_begun_in_all(trainer: pl.Trainer) -> int:
    """Return the number of training batches begun in all epochs, including those before a resume.

    Relies on `epoch_loop.batch_progress.total.ready`, which rises between `on_after_batch_transfer` and
    `on_train_batch_start`: in the first hook the current batch does not count yet.
    """
    return trainer.fit_loop.epoch_loop.batch_progress.total.ready


def epochs_begun_and_ended(trainer: pl.Trainer) -> tuple[int, int]:
    """Return the number of epochs begun, and of those whose last batch is done.

    Relies on `fit_loop.epoch_progress.current`: `started` rises before `on_train_epoch_start`, `processed` before
    `on_train_epoch_end`.
    """
    epochs: Any = trainer.fit_loop.epoch_progress.current
    return epochs.started, epochs.processed


def validation_batches(trainer: pl.Trainer) -> tuple[int, int]:
    """Return the number of validation batches begun in all validations of this epoch, and in the newest one.

    Relies on `val_loop.batch_progress`: `total.ready` starts from 0 in each epoch, `current.ready` in each validation.
    """
    progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
    return progress.total.ready, progress.current.ready


def current_hook(module: pl.LightningModule) -> str | None:
    """Return the name of the module's method that Lightning is calling, such as `training_step`, or None.

    Relies on `_current_fx_name`, which Lightning's own `log` checks.
    """
    return module._current_fx_name


def is_validation_due(trainer: pl.Trainer) -> bool:
    """Return whether the run's schedule has a validation after the batch that just ended.

    Relies on `epoch_loop._should_check_val_fx(fit_loop._data_fetcher)`. It is also true when the run is about to stop;
    `trainer.should_stop` is cleared during the call, because that does not count here.
    """
    fetcher: Any = trainer.fit_loop._data_fetcher
    stopping, trainer.should_stop = trainer.should_stop, False
    try:
        return trainer.fit_loop.epoch_loop._should_check_val_fx(fetcher)
    finally:
        trainer.should_stop = stopping


def start_with_validation(loops: Mapping[str, Any], seen: int) -> None:
    """Change the saved counters of `fit_loop`, so that a run resumed from them starts with a whole validation.

    Lightning alone would skip a validation that was due, and continue a partial one without its first batches. It
    validates first if a validation batch was begun and not completed:

        batch_progress            completed = processed: the training batch before the validation is over
        val_loop.batch_progress   total: begun seen + 1, completed seen; current: 0, so that the validation is whole

    Relies on the names of these counters in a checkpoint, and on the caller of `_should_check_val_fx` reading them so.

    Args:
        loops: `checkpoint["loops"]["fit_loop"]`, changed in place.
        seen: the number of validation batches in the epoch before that validation.
    """
    for counts in (loops["epoch_loop.batch_progress"][span] for span in ("current", "total")):
        counts["completed"] = counts["processed"]
    validation = loops["epoch_loop.val_loop.batch_progress"]
    validation["total"] = {"ready": seen + 1, "started": seen + 1, "processed": seen, "completed": seen}
    validation["current"] = {"ready": 0, "started": 0, "processed": 0, "completed": 0}


def set_validation_batches(trainer: pl.Trainer, seen: int) -> None:
    """Set this epoch's count of validation batches to `seen`, which undoes the +1 of `start_with_validation`.

    Relies on `val_loop.batch_progress.total`, with `reset` and `increment_by`.
    """
    total = trainer.fit_loop.epoch_loop.val_loop.batch_progress.total
    total.reset()
    total.increment_by(seen)


def set_rates(scheduler: Any, rates: Sequence[float]) -> None:
    """Give a `Scheduled` other base learning rates than it was saved with, at its current step.

    Relies on `base_lrs` and `_last_lr`, which torch's schedulers save and report.
    """
    scheduler.base_lrs = list(rates)
    for group, rate in zip(scheduler.optimizer.param_groups, rates, strict=True):
        group["initial_lr"] = rate
        group["lr"] = rate * scheduler.factor(scheduler.last_epoch)
    scheduler._last_lr = [group["lr"] for group in scheduler.optimizer.param_groups]


def average_of(callback: WeightAveraging) -> Any:
    """Return the model with the averaged weights (torch's AveragedModel), or None before the fit is set up.

    Relies on `_average_model`, which `setup` creates.
    """
    return callback._average_model


class BarFromOne(RichProgressBar):
    """Lightning's bar, with epochs counted from 1 as on every other screen.

    Relies on `_get_train_description`, which makes the bar's label.
    """

    def _get_train_description(self, current_epoch: int) -> str:
        total = self.trainer.max_epochs
        return f"Epoch {current_epoch + 1}" + (f"/{total}" if total is not None and total > 0 else "")


# ---- signals and processes ----


def share_images_ourselves(trainer: pl.Trainer) -> None:
    """Keep Lightning from adding its samplers to loaders whose samplers already split the images among processes.

    Relies on `trainer._accelerator_connector.use_distributed_sampler`, which `Trainer(use_distributed_sampler=...)`
    sets and Lightning reads when it requests a loader.
    """
    trainer._accelerator_connector.use_distributed_sampler = False


def leave_signals_to_us(trainer: pl.Trainer) -> None:
    """Keep Lightning from installing its own handlers, which save in the middle of a step and exit with status 0.

    Relies on `trainer._signal_connector.register_signal_handlers`, called at the start of fit and test.
    """
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]


def limit_waiting(trainer: pl.Trainer, timeout: timedelta) -> None:
    """Set how long processes wait for each other before one counts as dead; does nothing with one process.

    Relies on `strategy._timeout` of DDPStrategy and its relatives, passed to `init_process_group`. The constructor
    takes it too, but the strategy is chosen by name.
    """
    if hasattr(trainer.strategy, "_timeout"):
        trainer.strategy._timeout = timeout


def end_processes(trainer: pl.Trainer) -> None:
    """Kill the processes that Lightning started for this run's other devices, whatever their state.

    Relies on `strategy.launcher.procs`, a list of `subprocess.Popen`. It is emptied first, because Lightning watches
    it and would kill this process, too, while it writes its report.
    """
    processes = getattr(trainer.strategy.launcher, "procs", [])
    ours = list(processes)
    processes.clear()
    for process in ours:
        if process.poll() is None:
            process.kill()


def torchrun_store() -> Any:
    """Return torchrun's key-value store, which outlives the processes, or None without torchrun.

    Relies on TORCHELASTIC_USE_AGENT_STORE, which torchrun sets if its agent serves the store.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    return dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)


def join_again(trainer: pl.Trainer, timeout: timedelta) -> None:
    """After a restart by torchrun, form the process group under new keys.

    Torch alone would reuse the keys from before the restart and find the addresses of dead processes there (seen with
    torch 2.15). Relies on Lightning using a process group that already exists.
    """
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = torchrun_store()
    if attempt == "0" or store is None or trainer.world_size == 1:
        return
    device = trainer.strategy.root_device
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=dist.PrefixStore(f"attempt{attempt}", store),
        rank=int(os.environ["RANK"]),
        world_size=int(os.environ["WORLD_SIZE"]),
        timeout=timeout,
    )


def die_with_parent() -> None:
    """Have the system kill this process when its parent ends, however that happens (Linux only).

    Relies on the C library's `prctl`, called through ctypes; does nothing without it.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1 is PR_SET_PDEATHSIG


def set_loader_patience(seconds: float = LOADER_PATIENCE) -> None:
    """Set how long a DataLoader waits for each worker at the end before it kills the worker.

    Relies on `torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL`, which DataLoader reads whenever it waits.
    """
    torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL = seconds


def report_lost_batches() -> None:
    """In a DataLoader worker: have a batch that cannot be sent raise an error in the process that waits for it.

    Otherwise full shared memory would drop the batch, with a traceback on the screen, and the wait would be endless.
    Relies on `multiprocessing.queues.Queue._on_queue_feeder_error`, the hook that Python's own process pools use, and
    on DataLoader raising an item (index, `torch._utils.ExceptionWrapper`) that it receives.
    """
    multiprocessing.queues.Queue._on_queue_feeder_error = _hand_over  # type: ignore[attr-defined]


def _hand_over(queue: Any, error: Exception, batch: Any) -> None:
    try:
        raise RuntimeError(f"DataLoader worker cannot hand over a batch ({error})") from error
    except RuntimeError:
        queue.put((batch[0], ExceptionWrapper(where="in a loading process")))
