"""One training run, from a resolved configuration to its summary."""

import contextlib
import os
import shlex
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from engine.config.config import NOT_SAVED, dump, flatten, plain
from engine.contract.errors import UserError
from engine.contract.parts import weights_not_fetched
from engine.errors import RunError, Stopped, UsageError, cause_in_machine, one_line
from engine.record.summary_file import read_summary
from engine.record.tracking import MetricsCsv, new_run_id, open_tracker, redact, redacted_command
from engine.report.collect import Collect
from engine.resume.checkpoint_file import read_checkpoint, sweep, write_text
from engine.resume.checkpoints import AveragedWeights, DurableCheckpointIO, RunCheckpoints, SeedEveryStep
from engine.resume.guard import FiniteGuard
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
from engine.terminal import is_main_process, say
from engine.training import run_folder as folders
from engine.training.assemble import (
    build,
    check_same_files,
    check_same_network,
    check_same_parts,
    check_values,
    trainer_arguments,
)
from engine.training.profiler import profiler
from engine.training.progress import Bar, EpochLines, StepMetrics, on_terminal
from engine.training.run_folder import Resumed
from engine.training.summary import closing_lines, git_state, hardware, peak_memory_mb, versions, write_summary

# Options that decide the numbers of a training, besides those of the parts ...
DECISIVE = (
    *("seed", "max_epochs", "max_steps", "accumulate_grad_batches", "precision", "limit_train_batches"),
    *("overfit_batches", "gradient_clip_val", "gradient_clip_algorithm", "deterministic", "compile"),
)
# ... of which these do not: where the images are, and how they are read.
INDIFFERENT = ("data.name", "data.root", "data.download", "data.num_workers", "data.cache")


class Run:
    """One run: a task, a data module and Lightning's Trainer, and the folder where everything is left.

    Args:
        config: a resolved configuration; see `engine.config.config`.
        resumed: the checkpoint that the run continues, if any.
    """

    def __init__(self, config: dict[str, Any], resumed: Resumed | None = None) -> None:
        self.config = config
        self.resumed = resumed
        self.rehearsal = bool(config["fast_dev_run"])  # leaves no files
        self.signals = StopSignals()
        self.seconds = dict.fromkeys(("setup", "fit", "test", "total"), 0.0)
        self.metrics: dict[str, float] = {}
        self.measured: dict[str, int] = {}  # images in the last validation, and in the test

    def execute(self) -> dict[str, Any]:
        """Fit, test and record; return the summary.

        Raises:
            UsageError: the configuration cannot be run; nothing was written.
            RunError: the run failed; its folder says how far it came.
            Stopped: a signal asked for an end; the run's state is saved.
        """
        with self.signals.caught():
            return self._execute()

    def _execute(self) -> dict[str, Any]:
        started = time.perf_counter()
        if is_started_by_another():
            die_with_parent()
        check_values(self.config)
        pl.seed_everything(self.config["seed"], verbose=False)
        if self.resumed is not None:
            check_same_parts(self.config, self.resumed)
        # A run that goes on loads its own weights: no others are fetched for it.
        with weights_not_fetched() if self.resumed is not None else contextlib.nullcontext():
            self.data, self.task = build(self.config, self.resumed)
        if self.resumed is not None:
            check_same_network(self.task, self.resumed)
            remark = check_same_files(self.data, self.config, self.resumed)
            if remark is not None:
                self.data.notes.append(remark)
        if self.config["init_from"] is not None and self.resumed is None:
            for text in initialise(self.task, self.config["init_from"]):
                say(f"init      {text}")
        self.data.timeout_seconds = 60 * self.config["timeout_minutes"]
        arguments = trainer_arguments(self.config)
        own = folders.folder_that_goes_on(self.config, self.resumed)
        if own is not None and self._finished_before(own):
            say(f"run {own.name} is finished after {self.config['max_epochs']} epochs: see {own}/summary.json")
            say("give --max_epochs N, with a larger N, to train on")
            return read_summary(own)
        claimed = folders.claim_folder(self.config, self.resumed)
        self.folder, self.name, self.goes_on = claimed.path, claimed.name, claimed.goes_on
        is_bug = False
        try:
            return self._train_and_test(arguments, started)
        except Exception as error:
            is_bug = not isinstance(error, RunError) and (self.folder / "summary.json").exists()
            raise
        finally:
            claimed.leave(keep=self.goes_on or self._has_trained() or is_bug)

    def _has_trained(self) -> bool:
        """Whether there is anything of this run to keep."""
        trainer = getattr(self, "trainer", None)
        return any(self.folder.glob("*.ckpt")) or (trainer is not None and trainer.global_step > 0)

    def _train_and_test(self, arguments: dict[str, Any], started: float) -> dict[str, Any]:
        self._prepare_data()
        self._choose_recording()
        self.trainer = self._build_trainer(arguments)
        if is_main_process():
            self._check_smallest_batch()
        if self.config["compile"]:
            # Each where it is: a compiled copy would have weights of other names, in checkpoints too.
            for part in (self.task.backbone, self.task.head):
                part.compile()
        if is_main_process() and not self.rehearsal:
            self._check_position()
            self._open_folder()
        self._announce()
        self.seconds["setup"] = time.perf_counter() - started
        status = "failed"
        try:
            with folders.name_shared(self.name):
                join_again(self.trainer, timedelta(minutes=self.config["timeout_minutes"]))
                self._fit()
                self._test()
            status = "finished"
        except Stopped as stop:
            status = "stopped"
            self._say_how_to_go_on(stop)
            if is_started_by_another():  # the process that started this one reports for both
                sys.exit(0)
            raise
        except torch.OutOfMemoryError as error:
            raise RunError("out of memory: try a smaller --data.batch_size, or --precision bf16-mixed") from error
        except (OSError, EOFError, UserError, MisconfigurationException) as error:
            if isinstance(error, OSError) and error.errno is None:  # raised in somebody's code, not by the system
                raise
            message, where = cause_in_machine(error) or one_line(error), getattr(self.data, "path", None)
            if isinstance(where, str) and message.startswith(f"{Path(where).expanduser()}{os.sep}"):
                message += f"; python scripts/check_data.py {shlex.quote(where)} names every file that is wrong"
            raise RunError(message) from error
        except RuntimeError as error:
            if self.config["compile"] and type(error).__module__.startswith(("torch._inductor", "torch._dynamo")):
                reason = str(error).strip().splitlines()[0]
                raise RunError(f"--compile failed ({reason}): it needs a C++ compiler; or leave it out") from error
            if self.trainer.world_size > 1 and _is_about_processes(error):
                raise RunError(f"another process of this run failed or hangs ({str(error).split('. ')[0]})") from error
            raise
        finally:
            self.seconds["total"] = time.perf_counter() - started
            if status != "finished":
                end_processes(self.trainer)
            summary = self._summarise(status)
            try:
                report = self._report()
                if status != "finished" and report is not None and (self.goes_on or self._has_trained()):
                    say(f"report    {report}")
            finally:
                if self.tracker is not None:
                    self.tracker.finish(exit_code=0 if status == "finished" else 1)
        for text in closing_lines(summary, None if self.rehearsal else self.folder, report):
            say(text)
        self._say_where_tracked()
        return summary

    def _say_how_to_go_on(self, stop: Stopped) -> None:
        last = self.checkpoints.last_path
        if last.exists():
            say(f"stopped   after {self.trainer.global_step:,} steps; go on with --ckpt_path {last}")
        if stop.number in REQUEUE and "SLURM_JOB_ID" in os.environ and is_main_process():
            say(f"requeue   {requeue()}")

    def _finished_before(self, folder: Path) -> bool:
        """Whether there is nothing left of the run that is to be continued, its test included."""
        assert self.resumed is not None
        try:
            finished = read_summary(folder).get("status") == "finished"
        except RunError:  # a damaged one, which is written anew
            finished = False
        if not finished:
            return False
        epochs, steps = self.config["max_epochs"], self.config["max_steps"]
        return self.resumed.epochs_done >= (epochs or 0) > 0 or self.resumed.steps_done >= steps > 0

    def _prepare_data(self) -> None:
        """Fetch and read the data before anything is written, so that a run without data leaves no folder."""
        try:
            if is_main_process():
                self.data.prepare_data()
                self.data.setup("fit")
        except OSError as error:
            raise RunError(*str(error).split("\n")) from error
        except UserError as error:
            raise UsageError(str(error)) from error

    def _check_smallest_batch(self) -> None:
        try:
            # Two images stand for all larger batches.
            self.task.check_runs_on(min(2, self.data.smallest_batch(self.trainer.world_size)), training=True)
        except UserError as error:
            raise UsageError(str(error)) from error

    def _check_position(self) -> None:
        if self.resumed is not None:
            saved = self.resumed.checkpoint.get(type(self.data).__qualname__)
            try:
                if not isinstance(saved, dict):
                    raise UserError("it has no position in the data")
                self.data.check_position(saved, self.trainer.world_size, self.config["limit_train_batches"])
            except UserError as error:
                raise UsageError(f"--ckpt_path {self.resumed.path}: {error}") from error

    def _changes(self, resumed: Resumed) -> str:
        """Return what decides the numbers of a training and is not as it was when the resumed run was saved."""
        before, now = flatten(resumed.record["config"]), flatten(self.config)
        decisive = [key for key in before if (key in DECISIVE or "." in key) and key not in INDIFFERENT]
        changes = {key: (before[key], now.get(key, before[key])) for key in decisive}
        position = resumed.checkpoint.get(type(self.data).__qualname__, {})
        processes = self.trainer.world_size
        changes["the number of processes"] = (position.get("processes", processes), processes)
        return ", ".join(
            f"{key} is {new} and was {old}" for key, (old, new) in changes.items() if plain(old) != plain(new)
        )

    def _choose_recording(self) -> None:
        """Decide what will be recorded where; nothing is written yet."""
        goes_on = self.resumed is not None and self.goes_on
        tracker_id = str(self.resumed.record["tracker_id"]) if self.resumed is not None and goes_on else new_run_id()
        record = {
            "name": self.name,
            "config": {key: value for key, value in self.config.items() if key not in NOT_SAVED},
            "tracker_id": tracker_id,
        }
        self.checkpoints = RunCheckpoints(
            self.folder,
            self.task.best_metric,
            self.task.best_is_highest,
            self.task.newest_is_best,
            record,
            self.signals,
            self.config["save_every_steps"],
            self.config["save_every_minutes"],
        )
        self.csv = MetricsCsv(self.folder / "metrics.csv")
        self.tracker, self.tracking = None, "disabled"
        if is_main_process() and not self.rehearsal:
            options = {key: self.config[f"wandb_{key}"] for key in ("project", "entity", "group", "tags")}
            self.tracker, self.tracking = open_tracker(
                self.config["wandb"], self.folder, tracker_id, self.name, options
            )

    def _open_folder(self) -> None:
        sweep(self.folder)
        try:
            write_text(dump(self.checkpoints.record["config"]), self.folder / "config.yaml")
            self.csv.rewind(self.resumed.steps_done if self.resumed is not None else 0)
        except OSError as error:
            raise RunError(f"{error.filename2 or error.filename} cannot be written ({error.strerror})") from error
        if self.tracker is not None:
            self.tracker.log_configuration({"name": self.name, **self.config})

    def _build_trainer(self, arguments: dict[str, Any]) -> pl.Trainer:
        callbacks: list[Callback] = [
            SeedEveryStep(self.config["seed"]),
            FiniteGuard(),
            StepMetrics(self.config["log_every_n_steps"]),
        ]
        decay = self.config["optim"]["ema"]
        if decay:
            callbacks.append(AveragedWeights(decay))
        callbacks.append(EpochLines())
        loggers: list[Logger] = []
        if not self.rehearsal:
            self.collected = Collect(self.folder, self.checkpoints)
            callbacks += [self.checkpoints, self.collected]
            loggers = [self.csv, *([self.tracker] if self.tracker is not None else [])]
        if not self.data.has_validation:
            arguments["limit_val_batches"] = 0
        arguments["profiler"] = profiler(arguments["profiler"], None if self.rehearsal else self.folder)
        bar = arguments.pop("enable_progress_bar")
        if on_terminal() if bar is None else bar:
            callbacks.append(Bar())
        try:
            trainer = pl.Trainer(
                **arguments,
                callbacks=callbacks,
                logger=loggers or False,
                plugins=[DurableCheckpointIO()],
                enable_checkpointing=True,
                enable_progress_bar=any(isinstance(c, Bar) for c in callbacks),
                use_distributed_sampler=False,  # our samplers share the images out themselves
                default_root_dir=str(self.folder),
            )
        except (MisconfigurationException, ValueError, TypeError, ImportError) as error:
            raise UsageError(one_line(error)) from error
        started = int(os.environ.get("WORLD_SIZE", "1"))
        if "TORCHELASTIC_RUN_ID" in os.environ and started != trainer.world_size:
            asked = f"--devices {os.environ['LOCAL_WORLD_SIZE']} --num_nodes {os.environ['GROUP_WORLD_SIZE']}"
            raise UsageError(f"torchrun started {started} processes: give {asked} --strategy ddp as well")
        check_rank(trainer.global_rank)
        settle_threads(trainer.num_devices)
        leave_signals_to_us(trainer)
        limit_waiting(trainer, timedelta(minutes=self.config["timeout_minutes"]))
        return trainer

    def _announce(self) -> None:
        weights = sum(p.numel() for p in self.task.parameters())
        names = {section: self.config[section]["name"] for section in ("task", "data", "backbone", "head")}
        say(f"task      {names['task']}: {names['backbone']} + {names['head']}, {weights:,} parameters")
        say(f"data      {self.data.describe()}")
        for note in self.data.notes:
            say(f"note: {note}")
        device = self.trainer.strategy.root_device
        many = f", {self.trainer.world_size} processes" if self.trainer.world_size > 1 else ""
        say(f"machine   {device.type}{many}, precision {self.config['precision']}, seed {self.config['seed']}")
        if self.rehearsal:
            say("folder    none: --fast_dev_run keeps nothing")
            return
        say(f"folder    {self.folder}/")
        say(f"wandb     {self._how_tracked()}")
        if self.config["profiler"] is not None:
            say(f"profile   {self.folder}/fit-profile.txt, when training has ended")
        if self.resumed is not None:
            done = f"{self.resumed.epochs_done} epochs, {self.resumed.steps_done:,} steps done"
            say(f"resume    {self.resumed.path}: {done}")
            if changes := self._changes(self.resumed):
                say(f"note: from here on the run is no longer, bit for bit, the uninterrupted one: {changes}")

    def _how_tracked(self) -> str:
        """Return a few words on the tracker, which has started and may have failed to."""
        if self.tracker is not None and self.tracker.failure is not None:
            return "disabled (it failed)"
        fell_back = self.tracker is not None and self.tracking == "online" and not self.tracker.online
        return "offline (starting online failed)" if fell_back else self.tracking

    def _fit(self) -> None:
        start = time.perf_counter()
        try:
            path = str(self.resumed.path) if self.resumed is not None else None
            with self.signals.noted_only():
                self.trainer.fit(self.task, datamodule=self.data, ckpt_path=path, weights_only=True)
        finally:
            self.seconds["fit"] = time.perf_counter() - start

    def _test(self) -> None:
        self.metrics = _numbers(self.trainer.callback_metrics)
        self.measured["val"] = self.task.images_measured
        start = time.perf_counter()
        if not self.rehearsal and not self.checkpoints.best_path.exists():
            raise RunError("the run ended before its first epoch did, so there is nothing to test")
        if not self.rehearsal:
            # Not through the Trainer: it would restore the callbacks' state as well, and warn.
            best = read_checkpoint(self.checkpoints.best_path)
            self.task.load_state_dict(best["state_dict"])
            self.task.take_choices(best)
        if not self.data.has_test:
            say("test      none: the data has no test images; what was validated is in summary.json")
            return
        self.trainer.test(self.task, datamodule=self.data, verbose=False)
        self.metrics |= _numbers(self.trainer.callback_metrics)
        self.measured["test"] = self.task.images_measured
        self.seconds["test"] = time.perf_counter() - start

    def _summarise(self, status: str) -> dict[str, Any]:
        best = self.checkpoints
        device = self.trainer.strategy.root_device
        fit = self.seconds["fit"]
        error = sys.exc_info()[1]  # what is ending the run, if anything is
        summary = {
            "name": self.name,
            **{section: self.config[section]["name"] for section in ("task", "data", "backbone")},
            "images": {split: len(store) for split, store in self.data.stores.items()},
            "measured": self.measured,
            "parameters": sum(p.numel() for p in self.task.parameters()),
            "status": status,
            "error": None if error is None else one_line(error) or type(error).__name__,
            "epochs": self.trainer.current_epoch,
            "global_step": self.trainer.global_step,
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
            "images_per_second": round(self.task.images_seen * self.trainer.world_size / fit, 1) if fit else 0.0,
            "peak_memory_mb": round(peak_memory_mb(device), 1),
            "metrics": self.metrics,
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
            "hardware": hardware(device, self.trainer.world_size),
        }
        if is_main_process() and not self.rehearsal:
            write_summary(redact(summary), self.folder)
        return summary

    def _report(self) -> Path | None:
        """Write the report and return its path; what goes wrong with it is said, and the run is none the worse."""
        if self.rehearsal or not is_main_process():
            return None
        try:
            # Only now: what draws takes half a second to import.
            from engine.report.write import write_report

            self.csv.save()
            return write_report(self.folder, self.collected.findings, self.tracker)
        except Exception as error:
            say(f"note: no report ({one_line(error) or type(error).__name__})")
            return None

    def _say_where_tracked(self) -> None:
        if self.tracker is None or self.tracker.online or self.tracker.files is None:
            return
        files = os.path.relpath(self.tracker.files)
        say(f"{'look at it':<12}wandb leet {files}")
        say(f"{'upload it':<12}wandb sync {self.folder}/wandb/offline-run-*")


def _numbers(metrics: Any) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items() if not name.endswith("_step")}


def _is_about_processes(error: RuntimeError) -> bool:
    text = str(error).lower()
    return isinstance(error, torch.distributed.DistError) or any(word in text for word in ("gloo", "nccl", "timed out"))
