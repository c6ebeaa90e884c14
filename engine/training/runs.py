"""A training run: builds its data and task, opens its folder, and writes its results when it ends."""

import contextlib
import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from engine.config.command_line import Asked
from engine.config.config import NOT_SAVED
from engine.config.loggers import NONE
from engine.config.yaml_files import SECTIONS, dump, flatten, plain
from engine.contract.data import DataModule
from engine.contract.errors import UserError
from engine.contract.parts import weights_not_fetched
from engine.contract.renamed import present_names
from engine.contract.task import Task
from engine.errors import RunError, Stopped, UsageError, cause_in_machine, one_line, raised_by
from engine.files.layouts import ForOtherTask
from engine.record.logger import GuardedLogger, open_logger
from engine.record.metrics_csv import MetricsCsv
from engine.record.redact import redact, redacted_command
from engine.record.tracking import Tracker, open_tracker
from engine.record.writer import Writer
from engine.report.collect import Collect
from engine.resume.checkpoint_file import sweep, write_text
from engine.resume.checkpoints import AveragedWeights, DurableCheckpointIO, RunCheckpoints, SeedEveryStep
from engine.resume.guard import FiniteGuard, MetricGuard
from engine.resume.initial_weights import initialise
from engine.resume.lightning_internals import (
    die_with_parent,
    end_processes,
    join_again,
    leave_signals_to_us,
    limit_waiting,
)
from engine.resume.processes import check_rank, is_started_by_another
from engine.resume.stops import REQUEUE, StopSignals, requeue
from engine.shortcuts import settle_threads
from engine.terminal import is_main_process, say, script_command
from engine.training import assemble
from engine.training.assemble import (
    check_same_files,
    check_same_network,
    check_values,
    trainer_arguments,
)
from engine.training.profiler import profiler
from engine.training.progress import Bar, EpochLines, StepMetrics, on_terminal
from engine.training.run_folder import Resumed, RunFolder, claim_folder, name_shared, new_run_id
from engine.training.summary import closing_lines, git_state, hardware, peak_memory_mb, versions, write_summary

# Options that decide a training's numbers, besides the options of the parts ...
DECISIVE = (
    *("seed", "max_epochs", "max_steps", "accumulate_grad_batches", "precision", "limit_train_batches"),
    *("overfit_batches", "gradient_clip_val", "gradient_clip_algorithm", "deterministic", "compile"),
    *("monitor", "early_stop"),
)
# ... except these: where the images and their labels are, and how they are read.
INDIFFERENT = ("data.name", "data.root", "data.labels", "data.download", "data.num_workers", "data.cache")

WRITERS: tuple[type[Writer], ...] = (Collect,)


def build(asked: Asked) -> tuple[DataModule, Task]:
    """Build the data module and the task for a command line; if no task is named, the data folder may choose it.

    Raises:
        UsageError: the configuration cannot be run; nothing was written.
        RunError: the data or the weights cannot be read.
    """
    if is_started_by_another():
        die_with_parent()
    try:
        data, task = _built(asked)
    except UsageError as error:
        other = error.__cause__
        if not isinstance(other, ForOtherTask) or not asked.change_task(other.task):
            raise
        say(f"note: {other}; so the task is {other.task}")
        data, task = _built(asked)
    config, resumed = asked.config, asked.resumed
    if resumed is not None:
        check_same_network(task, resumed)
        remark = check_same_files(data, config, resumed)
        if remark is not None:
            data.notes.append(remark)
    elif config["init_from"] is not None:
        for text in initialise(task, config["init_from"]):
            say(f"init      {text}")
    data.timeout_seconds = 60 * config["timeout_minutes"]
    return data, task


def _built(asked: Asked) -> tuple[DataModule, Task]:
    check_values(asked.config)
    pl.seed_everything(asked.config["seed"], verbose=False)
    # A resumed run loads its own weights: download no others.
    with weights_not_fetched() if asked.resumed is not None else contextlib.nullcontext():
        return assemble.build(asked.config, asked.resumed)


@contextlib.contextmanager
def opened(asked: Asked, data: DataModule, task: Task) -> Iterator["Run"]:
    """Claim a run's folder and yield the run; when the block ends, however it ends, write summary and report.

    Raises:
        UsageError: the configuration cannot be run; nothing was written.
        RunError: the run failed in a way the user can fix; its folder says how far it got.
        Stopped: a signal stopped the run; its state is saved.
    """
    signals = StopSignals()
    with signals.caught():
        arguments = trainer_arguments(asked.config)
        claimed = claim_folder(asked.config, asked.resumed)
        run, is_bug = None, False
        try:
            _prepare(data)
            run = Run(asked, data, task, claimed, signals, arguments)
            with name_shared(claimed.name), run.recorded():
                yield run
        except Exception as error:
            is_bug = not isinstance(error, RunError) and (claimed.path / "summary.json").exists()
            raise
        finally:
            claimed.leave(keep=claimed.goes_on or is_bug or (run is not None and run.has_trained()))


def _prepare(data: DataModule) -> None:
    """Fetch and read the data before anything is written, so that a run without data leaves no folder."""
    try:
        if is_main_process():
            data.prepare_data()
            data.setup("fit")
    except OSError as error:
        raise RunError(*str(error).split("\n")) from error
    except UserError as error:
        raise UsageError(str(error)) from error


class Measured(Callback):
    """Records the duration of a run's parts and its metrics; while fitting, has signals noted instead of raised.

    Args:
        signals: the signals that stop the run.
        began: start of the run, in seconds of time.perf_counter.
    """

    def __init__(self, signals: StopSignals, began: float) -> None:
        self.signals = signals
        self.seconds = dict.fromkeys(("setup", "fit", "test", "total"), 0.0)
        self.metrics: dict[str, float] = {}
        self.images: dict[str, int] = {}  # in the last validation, and in the test
        self._began = self._since = began
        self._part: str | None = "setup"

    def _change(self, part: str | None) -> None:
        now = time.perf_counter()
        if self._part is not None:
            self.seconds[self._part] += now - self._since
        self._part, self._since = part, now

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.signals.training = stage == "fit"

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._note(trainer, "val")

    def _note(self, trainer: pl.Trainer, split: str) -> None:
        assert isinstance(trainer.lightning_module, Task)
        self.metrics |= {k: float(v) for k, v in trainer.callback_metrics.items() if not k.endswith("_step")}
        self.images[split] = trainer.lightning_module.images_measured

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "test":  # earlier the task has not summed the images of all processes
            self._note(trainer, "test")
        self.signals.training = False
        self._change("test" if stage == "fit" else None)

    def begin(self) -> None:
        """Record that training begins now."""
        self._change("fit")

    def end(self) -> None:
        """Record that the run is over."""
        self.signals.training = False
        self._change(None)
        self.seconds["total"] = time.perf_counter() - self._began


class Run:
    """One run: the arguments for its Trainer, and its folder.

    `trainer_options`, `loggers`, `plugins` and `callbacks` are for the Trainer, `resume_from` for `fit` and `best` for
    `test`. The owner's callbacks follow the run's.
    """

    def __init__(
        self,
        asked: Asked,
        data: DataModule,
        task: Task,
        claimed: RunFolder,
        signals: StopSignals,
        arguments: dict[str, Any],
    ) -> None:
        self.config, self.resumed, self.data, self.task, self.signals = asked.config, asked.resumed, data, task, signals
        self.folder, self.name, self.goes_on = claimed.path, claimed.name, claimed.goes_on
        self.rehearsal = bool(self.config["fast_dev_run"])  # leaves no files
        self.trainer: pl.Trainer | None = None  # once it has started
        self.measured = Measured(signals, asked.began)
        self.resume_from = str(self.resumed.path) if self.resumed is not None else None
        self.checkpoints = self._checkpoints()
        self.csv = MetricsCsv(self.folder / "metrics.csv")
        self.tracker, self.tracking = None, "disabled"
        if is_main_process() and not self.rehearsal:
            options = {key: self.config[f"wandb_{key}"] for key in ("project", "entity", "group", "tags")}
            self.tracker, self.tracking = open_tracker(
                self.config["wandb"], self.folder, self.checkpoints.record["tracker_id"], self.name, options
            )
        self.logger, self.logged = self._open_logger()
        self.writers = [writer(self.folder, self.checkpoints) for writer in WRITERS]
        bar = arguments.pop("enable_progress_bar")
        self.callbacks = self._callbacks(on_terminal() if bar is None else bar)
        self.loggers: list[Logger] = []
        if not self.rehearsal:
            self.loggers = [self.csv, *self._trackers()]
        self.plugins: list[Any] = [DurableCheckpointIO()]
        if not data.has_validation:
            arguments["limit_val_batches"] = 0
        arguments["profiler"] = profiler(arguments["profiler"], None if self.rehearsal else self.folder)
        self.trainer_options = {
            **arguments,
            "enable_checkpointing": True,
            "enable_progress_bar": any(isinstance(callback, Bar) for callback in self.callbacks),
            "use_distributed_sampler": False,  # the data module's samplers split the images
            "default_root_dir": str(self.folder),
        }

    def _open_logger(self) -> tuple[GuardedLogger | None, str]:
        if not is_main_process() or self.rehearsal:
            return None, NONE
        options, step, run_id = self.config["logger"], 0, None
        if self.resumed is not None and self.goes_on:
            step = self.resumed.steps_done
            before = self.resumed.record
            if flatten(before["config"]).get("logger.name") == options["name"]:
                run_id = before.get("logger_id")
        try:
            return open_logger(options, self.folder, run_id if isinstance(run_id, str) else None, step)
        except UserError as error:
            raise UsageError(str(error)) from error

    def _trackers(self) -> list[Tracker | GuardedLogger]:
        return [tracker for tracker in (self.tracker, self.logger) if tracker is not None]

    @property
    def best(self) -> str | None:
        """The best epoch's checkpoint, to be tested; None in a rehearsal, which writes none.

        Raises:
            RunError: the run ended before its first epoch did.
        """
        if self.rehearsal:
            return None
        if not self.checkpoints.best_path.exists():
            raise RunError("the run ended before its first epoch did, so there is nothing to test")
        return str(self.checkpoints.best_path)

    def has_trained(self) -> bool:
        """Whether the run has checkpoints or steps worth keeping."""
        return any(self.folder.glob("*.ckpt")) or (self.trainer is not None and self.trainer.global_step > 0)

    def start(self, trainer: pl.Trainer) -> None:
        """Check that `trainer` can train this run, open its folder and print its settings.

        Raises:
            UsageError: `trainer` cannot train it, or not from the resumed checkpoint.
            RunError: the folder cannot be written.
        """
        started = int(os.environ.get("WORLD_SIZE", "1"))
        if "TORCHELASTIC_RUN_ID" in os.environ and started != trainer.world_size:
            asked = f"--devices {os.environ['LOCAL_WORLD_SIZE']} --num_nodes {os.environ['GROUP_WORLD_SIZE']}"
            raise UsageError(f"torchrun started {started} processes: give {asked} --strategy ddp as well")
        check_rank(trainer.global_rank)
        settle_threads(trainer.num_devices)
        timeout = timedelta(minutes=self.config["timeout_minutes"])
        leave_signals_to_us(trainer)
        limit_waiting(trainer, timeout)
        if is_main_process():
            self._check_smallest_batch(trainer)
        if self.config["compile"]:
            # In place: torch.compile(module) returns a wrapper that renames the weights, also in checkpoints.
            for part in (self.task.backbone, self.task.head):
                part.compile()
        if is_main_process() and not self.rehearsal:
            self._check_position(trainer)
            self._open_folder()
        self._announce(trainer)
        join_again(trainer, timeout)
        self.trainer = trainer
        self.measured.begin()

    @contextlib.contextmanager
    def recorded(self) -> Iterator[None]:
        """Run the block; then write its outcome to the folder, and turn errors the user can fix into one line.

        Raises:
            UsageError: the run could not start.
            RunError: the run failed, for example because memory is full or another process died.
        """
        status = "failed"
        try:
            yield
            status = "finished"
        except Stopped as stop:
            status = "stopped"
            if self.trainer is not None:
                self._say_how_to_go_on(stop, self.trainer)
            if is_started_by_another():  # the process that started this one reports for both
                sys.exit(0)
            raise
        except torch.OutOfMemoryError as error:
            raise RunError("out of memory: try a smaller --data.batch_size, or --precision bf16-mixed") from error
        except (OSError, EOFError, UserError, MisconfigurationException) as error:
            if isinstance(error, OSError) and error.errno is None:  # raised by code, not by the system
                raise
            raise (RunError if self.trainer is not None else UsageError)(self._in_one_line(error)) from error
        except (ValueError, TypeError, ImportError) as error:
            if self.trainer is None and raised_by("lightning", error):  # a value that the Trainer refuses
                raise UsageError(one_line(error)) from error
            raise
        except RuntimeError as error:
            if self.config["compile"] and type(error).__module__.startswith(("torch._inductor", "torch._dynamo")):
                cause = getattr(error, "inner_exception", error)
                reason = f"{type(cause).__name__}: {(str(cause).strip() or 'no reason given').splitlines()[0]}"
                raise RunError(f"--compile failed ({reason}): it needs a C++ compiler; or leave it out") from error
            if self.trainer is not None and self.trainer.world_size > 1 and _is_about_processes(error):
                raise RunError(f"another process of this run failed or hangs ({str(error).split('. ')[0]})") from error
            raise
        finally:
            if self.trainer is not None:
                self._close(self.trainer, status)

    def _in_one_line(self, error: Exception) -> str:
        message, where = cause_in_machine(error) or one_line(error), getattr(self.data, "path", None)
        if isinstance(where, str) and message.startswith(f"{Path(where).expanduser()}{os.sep}"):
            message += f"; {script_command('check_data')} {shlex.quote(where)} names every file that is wrong"
        return message

    def _close(self, trainer: pl.Trainer, status: str) -> None:
        self.measured.end()
        if status != "finished":
            end_processes(trainer)
        summary, written = self._summarise(trainer, status), {}
        try:
            written = self._write()
            if status != "finished" and (self.goes_on or self.has_trained()):
                for name, path in written.items():
                    say(f"{name:<9} {path}")
        finally:
            if status == "finished":
                self._log_results()
            if self.tracker is not None:
                self.tracker.finish(exit_code=0 if status == "finished" else 1)
        if status != "finished":
            return
        if not self.data.has_test:
            say("test      none: the data has no test images; validation metrics are in summary.json")
        for text in closing_lines(summary, None if self.rehearsal else self.folder, written, self._where_tracked()):
            say(text)

    def _checkpoints(self) -> RunCheckpoints:
        tracker_id = (
            str(self.resumed.record["tracker_id"]) if self.resumed is not None and self.goes_on else new_run_id()
        )
        record = {
            "name": self.name,
            "config": {key: value for key, value in self.config.items() if key not in NOT_SAVED},
            "tracker_id": tracker_id,
        }
        return RunCheckpoints(
            self.folder,
            self.task.best_metric,
            self.task.best_is_highest,
            self.task.newest_is_best,
            record,
            self.signals,
            self.config["save_every_steps"],
            self.config["save_every_minutes"],
            self.config["keep_every"],
            self.config["early_stop"],
        )

    def _callbacks(self, has_bar: bool) -> list[Callback]:
        decay = self.config["optim"]["ema"]
        return [
            self.measured,
            SeedEveryStep(self.config["seed"]),
            FiniteGuard(),
            MetricGuard(),
            StepMetrics(self.config["log_every_n_steps"]),
            *([AveragedWeights(decay)] if decay else []),
            EpochLines(),
            *([] if self.rehearsal else [self.checkpoints, *self.writers]),
            *([Bar()] if has_bar else []),
        ]

    def _say_how_to_go_on(self, stop: Stopped, trainer: pl.Trainer) -> None:
        last = self.checkpoints.last_path
        if last.exists():
            say(f"stopped   after {trainer.global_step:,} steps; resume with --ckpt_path {last}")
        if stop.number in REQUEUE and "SLURM_JOB_ID" in os.environ and is_main_process():
            say(f"requeue   {requeue()}")

    def _check_smallest_batch(self, trainer: pl.Trainer) -> None:
        try:
            # Two images stand for all larger batches.
            self.task.check_runs_on(min(2, self.data.smallest_batch(trainer.world_size)), training=True)
        except UserError as error:
            raise UsageError(str(error)) from error

    def _check_position(self, trainer: pl.Trainer) -> None:
        if self.resumed is not None:
            saved = self.resumed.checkpoint.get(type(self.data).__qualname__)
            try:
                if not isinstance(saved, dict):
                    raise UserError("it has no position in the data")
                self.data.check_position(saved, trainer.world_size, self.config["limit_train_batches"])
            except UserError as error:
                raise UsageError(f"--ckpt_path {self.resumed.path}: {error}") from error

    def _changes(self, resumed: Resumed, trainer: pl.Trainer) -> str:
        """Return a text on every change, since the resumed run was saved, that affects the training's numbers."""
        changes = decisive_changes(flatten(resumed.record["config"]), flatten(self.config))
        position = resumed.checkpoint.get(type(self.data).__qualname__, {})
        processes = trainer.world_size
        if position.get("processes", processes) != processes:
            changes["the number of processes"] = (position["processes"], processes)
        return ", ".join(f"{key} is {new} and was {old}" for key, (old, new) in changes.items())

    def _open_folder(self) -> None:
        sweep(self.folder)
        try:
            write_text(dump(self.checkpoints.record["config"]), self.folder / "config.yaml")
            self.csv.rewind(self.resumed.steps_done if self.resumed is not None else 0)
        except OSError as error:
            raise RunError(f"{error.filename2 or error.filename} cannot be written ({error.strerror})") from error
        for tracker in self._trackers():
            tracker.log_configuration({"name": self.name, **self.config})
        if self.logger is not None:
            self.checkpoints.record["logger_id"] = self.logger.run_id

    def _announce(self, trainer: pl.Trainer) -> None:
        weights = sum(p.numel() for p in self.task.parameters())
        names = {section: self.config[section]["name"] for section in ("task", "data", "backbone", "head")}
        say(f"task      {names['task']}: {names['backbone']} + {names['head']}, {weights:,} parameters")
        say(f"data      {self.data.describe()}")
        for note in self.data.notes:
            say(f"note: {note}")
        device = trainer.strategy.root_device
        many = f", {trainer.world_size} processes" if trainer.world_size > 1 else ""
        say(f"machine   {device.type}{many}, precision {self.config['precision']}, seed {self.config['seed']}")
        if self.rehearsal:
            say("folder    none: --fast_dev_run keeps nothing")
            return
        say(f"folder    {self.folder}/")
        say(f"wandb     {self._how_tracked()}")
        if self.logger is not None:
            say(f"logger    {self.logged if self.logger.failure is None else 'none (it failed)'}")
        if self.config["profiler"] is not None:
            say(f"profile   {self.folder}/fit-profile.txt, when training has ended")
        if self.resumed is not None:
            done = f"{self.resumed.epochs_done} epochs, {self.resumed.steps_done:,} steps done"
            say(f"resume    {self.resumed.path}: {done}")
            if changes := self._changes(self.resumed, trainer):
                say(f"note: from here on the run differs from an uninterrupted one: {changes}")

    def _how_tracked(self) -> str:
        """Return the tracker's mode, or the reason why it is not the one asked for."""
        if self.tracker is not None and self.tracker.failure is not None:
            return "disabled (it failed)"
        fell_back = self.tracker is not None and self.tracking == "online" and not self.tracker.online
        return "offline (starting online failed)" if fell_back else self.tracking

    def _summarise(self, trainer: pl.Trainer, status: str) -> dict[str, Any]:
        best = self.checkpoints
        device = trainer.strategy.root_device
        fit = self.measured.seconds["fit"]
        error = sys.exc_info()[1]  # the error that ends the run, if any
        summary = {
            "name": self.name,
            **{section: self.config[section]["name"] for section in ("task", "data", "backbone")},
            "images": {split: len(store) for split, store in self.data.stores.items()},
            "measured": self.measured.images,
            "parameters": sum(p.numel() for p in self.task.parameters()),
            "status": status,
            "error": None if error is None else one_line(error) or type(error).__name__,
            "epochs": trainer.current_epoch,
            "global_step": trainer.global_step,
            "seconds": {name: round(value, 3) for name, value in self.measured.seconds.items()},
            "images_per_second": round(self.task.images_seen * trainer.world_size / fit, 1) if fit else 0.0,
            "peak_memory_mb": round(peak_memory_mb(device), 1),
            "metrics": self.measured.metrics,
            "best": {
                "path": str(best.best_path) if best.best_path.exists() else None,
                "metric": best.metric,
                "value": best.best_value,
                "epoch": None if best.best_epoch is None else best.best_epoch + 1,
            },
            "seed": self.config["seed"],
            "command": redacted_command(sys.argv),
            "git": git_state(),
            "versions": versions(),
            "hardware": hardware(device, trainer.world_size),
        }
        if is_main_process() and not self.rehearsal:
            write_summary(redact(summary), self.folder)
        return summary

    def _write(self) -> dict[str, Path]:
        """Let the writers write, and return the paths by their names; a failure is a note."""
        written = {}
        if not self.rehearsal and is_main_process():
            for writer in self.writers:
                try:
                    self.csv.save()
                    written[writer.name] = writer.write(self.tracker, self.data, self.task)
                except Exception as error:
                    say(f"note: no {writer.name} ({one_line(error) or type(error).__name__})")
        return written

    def _log_results(self) -> None:
        if self.logger is not None:
            measured = {k: v for k, v in self.measured.metrics.items() if k.startswith("test/")}
            self.logger.log_results(measured, self.trainer.global_step if self.trainer is not None else 0)
        if self.config["upload_best"] and self.checkpoints.best_path.exists():
            for tracker in self._trackers():
                tracker.upload(self.checkpoints.best_path)

    def _where_tracked(self) -> dict[str, str]:
        """Return the commands for an offline run's record."""
        if self.tracker is None or self.tracker.online or self.tracker.files is None:
            return {}
        return {
            "look at it": f"wandb leet {os.path.relpath(self.tracker.files)}",
            "upload it": f"wandb sync {self.folder}/wandb/offline-run-*",
        }


def decisive_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the options that affect a training's numbers and differ between two configurations: (before, now)."""
    before = present_names(before, now)
    decisive = [
        key for key in before if (key in DECISIVE or key.partition(".")[0] in SECTIONS) and key not in INDIFFERENT
    ]
    pairs = {key: (before[key], now.get(key, before[key])) for key in decisive}
    return {key: (old, new) for key, (old, new) in pairs.items() if plain(old) != plain(new)}


def _is_about_processes(error: RuntimeError) -> bool:
    text = str(error).lower()
    return isinstance(error, torch.distributed.DistError) or any(word in text for word in ("gloo", "nccl", "timed out"))
