"""A run's folder, checkpoints/NAME: choosing, claiming and finding it again."""

import contextlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from filelock import FileLock, Timeout

from engine.contract.place import home
from engine.errors import RunError, UsageError
from engine.record.summary_file import read_summary
from engine.resume.checkpoint_file import TEMPORARY, read_checkpoint
from engine.resume.lightning_internals import torchrun_store
from engine.resume.processes import NAME_VARIABLE, is_restart
from engine.resume.saved_state import check_kinds
from engine.terminal import complain, is_main_process

ROOT = home() / "checkpoints"
LOCK = ".lock"  # in a run's folder, locked by the process that trains the run
STORE_KEY = "project/name"  # key of the run's name in torchrun's store


def folder_around(path: Any) -> Path | None:
    """Return the run folder that holds a file, any folder checkpoints/NAME; None if the file is elsewhere."""
    folder = Path(os.path.abspath(path)).parent
    if folder.parent.name != ROOT.name:
        return None
    return ROOT / folder.name if folder.parent == ROOT.absolute() else folder


@dataclass
class Resumed:
    """A checkpoint to resume from."""

    path: Path
    checkpoint: dict[str, Any]
    version: tuple[int, ...]  # of the file when it was read

    @property
    def record(self) -> dict[str, Any]:
        """The run's own record: its name, configuration and tracker id."""
        return dict(self.checkpoint["run"])

    @property
    def folder(self) -> Path | None:
        """The run's folder; None if the file is elsewhere."""
        return folder_around(self.path)

    @property
    def name(self) -> str:
        """The run's name: its folder's name (folders may be renamed), else the recorded one."""
        return self.folder.name if self.folder is not None else str(self.record["name"])

    @property
    def epochs_done(self) -> int:
        """Number of complete epochs trained."""
        progress = self.checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]
        return int(progress["processed"])

    def not_better(self, metric: str) -> int:
        """Return the number of validations since the one that was best by a metric; 0 if another one decided so far."""
        state = self.checkpoint["callbacks"]["RunCheckpoints"]
        return int(state.get("not_better", 0)) if state["metric"] == metric else 0

    @property
    def steps_done(self) -> int:
        """Number of optimiser steps taken."""
        return int(self.checkpoint["global_step"])


def find_restarted(config: dict[str, Any]) -> Resumed | None:
    """Return the checkpoint from which a restarted command resumes its run; None if the run has saved nothing.

    Raises:
        UsageError: its last.ckpt cannot be resumed from.
    """
    name = config["name"] or _name_before_restart(config)
    if name is None or not any((ROOT / name / file).exists() for file in ("last.ckpt", "previous.ckpt")):
        return None
    return find_resumed(str(ROOT / name / "last.ckpt"), None)


def find_resumed(ckpt_path: str, name: str | None) -> Resumed:
    """Return the checkpoint that `--ckpt_path` means: a file, or for 'last' that of run `name` or the newest run.

    Raises:
        UsageError: there is no such checkpoint, or it cannot be resumed from.
    """
    where: Any = _newest_last(name) if ckpt_path == "last" else ckpt_path
    version = _version(where)
    try:
        checkpoint = read_checkpoint(where)
    except (OSError, ValueError) as error:
        previous = Path(where).with_name("previous.ckpt")
        if Path(where).name != "last.ckpt" or not previous.is_file():
            raise UsageError(f"--ckpt_path: {error}") from error
        if isinstance(error, FileNotFoundError):
            raise UsageError(f"--ckpt_path: {error}, but an older one: give --ckpt_path {previous}") from error
        version = _version(previous)
        try:
            checkpoint = read_checkpoint(previous)
        except (OSError, ValueError) as second:
            raise UsageError(f"--ckpt_path: {error}; and {second}") from error
        complain(f"warning: {error}; resuming from {previous}, which is older")
        where = previous
    if not {"run", "optimizer_states", "loops"} <= checkpoint.keys() or not checkpoint.get("resumable"):
        raise UsageError(
            f"--ckpt_path: {where} holds weights, not the state of a run; resume from a last.ckpt, or start a new run "
            f"from these weights with --init_from {where}"
        )
    try:
        check_kinds(checkpoint)
    except ValueError as error:
        raise UsageError(f"--ckpt_path: {where} cannot be resumed from: {error}") from error
    return Resumed(Path(where), checkpoint, version)


def _version(path: Any) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _newest_last(name: str | None) -> Path:
    found = list(ROOT.glob("*/last.ckpt")) if name is None else [p for p in [ROOT / name / "last.ckpt"] if p.exists()]
    if not found:
        raise UsageError(f"--ckpt_path last: there is no last.ckpt in {ROOT / (name or '*')} to resume from")
    return max(found, key=lambda path: path.stat().st_mtime)


class RunFolder:
    """The folder that holds everything a run writes, locked against other processes.

    Args:
        path: the folder.
        goes_on: whether the resumed run continues in it.
    """

    def __init__(self, path: Path, goes_on: bool = False) -> None:
        self.path = path
        self.goes_on = goes_on
        self._lock: FileLock | None = None
        self._made_root = False

    @property
    def name(self) -> str:
        return self.path.name

    def claim(self) -> bool:
        """Make and lock the folder; return False if another process has locked it.

        The system releases the lock when this process ends, however that happens.

        Raises:
            RunError: the folder cannot be made.
        """
        try:
            self._made_root = not self.path.parent.exists()
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / LOCK)
            lock.acquire(timeout=0)
        except Timeout:
            return False
        except OSError as error:
            there = next((p for p in (self.path.parent, self.path) if p.exists() and not p.is_dir()), None)
            reason = f"{there} is a file: move it away" if there else error.strerror
            raise RunError(f"the run's folder {self.path} cannot be made ({reason})") from error
        self._lock = lock
        return True

    def is_new(self) -> bool:
        """Whether the folder is empty, or holds only the record of a run that failed before its first step."""
        try:
            if (self.path / "summary.json").is_file() and not any(self.path.glob("*.ckpt")):
                summary = read_summary(self.path)
                return summary.get("status") == "failed" and summary.get("global_step") == 0
            return all(name == LOCK or name.startswith(TEMPORARY) for name in os.listdir(self.path))
        except FileNotFoundError:
            return True
        except RunError:  # a summary that cannot be read
            return False
        except OSError:
            return not self.path.exists()  # the folder, or checkpoints/ itself, is a file

    def can_start_over(self) -> bool:
        """Whether the folder holds at most best.ckpt of epoch 0: the run was killed before its first last.ckpt."""
        found = list(self.path.glob("*.ckpt"))
        try:
            return all(path.name == "best.ckpt" and read_checkpoint(path).get("epoch") == 0 for path in found)
        except (OSError, ValueError):
            return False

    def leave(self, keep: bool) -> None:
        """Release the lock, and remove the folder unless `keep`."""
        if self._lock is None:
            return
        if not keep:
            shutil.rmtree(self.path, ignore_errors=True)
        self._lock.release()
        self._lock = None
        if not keep and not hasattr(os, "fork"):  # Windows removes no open file, so the lock's was left
            with contextlib.suppress(OSError):  # another process has it
                (self.path / LOCK).unlink(missing_ok=True)
                self.path.rmdir()
        if not keep and self._made_root:
            with contextlib.suppress(OSError):  # another run is in it
                self.path.parent.rmdir()


def folder_that_goes_on(config: dict[str, Any], resumed: Resumed | None) -> Path | None:
    """Return the resumed run's folder; None if the run is new or resumed under another name."""
    return resumed.folder if resumed is not None and config["name"] in (None, resumed.name) else None


def claim_folder(config: dict[str, Any], resumed: Resumed | None) -> RunFolder:
    """Return the run's folder, the same in all of its processes; the main one claims it.

    A run resumed under another name gets its own folder, with a copy of the best weights so far.

    Raises:
        UsageError: the name is invalid or taken, or another process is training the run.
        RunError: the folder cannot be made.
    """
    own = folder_that_goes_on(config, resumed)
    if own is not None:
        folder = RunFolder(own, goes_on=True)
        if is_main_process() and not config["fast_dev_run"]:
            assert resumed is not None
            _claim_own(folder, resumed)
        return folder
    if NAME_VARIABLE in os.environ:
        return RunFolder(ROOT / os.environ[NAME_VARIABLE])
    if not is_main_process():
        return RunFolder(ROOT / (config["name"] or _told_by_main_process()))
    again = is_restart() or config["resume"] == "auto"
    given = config["name"]
    if given is None:
        given = resumed.name if resumed is not None else _name_before_restart(config)
    for name in [given] if given is not None else _new_names(config):
        if not re.fullmatch(r"\w[\w.+=-]{0,99}", name) or len(os.fsencode(name)) > 255:
            raise UsageError(f"--name {name!r} is not a folder's name: use up to 100 letters, digits and . _ + = -")
        folder = RunFolder(ROOT / name)
        if not folder.is_new() and not (again and folder.can_start_over()):
            continue
        if config["fast_dev_run"]:
            return folder
        if folder.claim():
            if folder.is_new() or again:
                break
            folder.leave(keep=True)
    else:
        _refuse_taken(folder.path)
    if resumed is not None and _is_best_of(resumed, best := resumed.path.with_name("best.ckpt")):
        shutil.copy2(best, folder.path / "best.ckpt")
    _tell_others(name)
    return folder


def _claim_own(folder: RunFolder, resumed: Resumed) -> None:
    if not folder.claim():
        raise UsageError(
            f"run {folder.name} is being trained by another process, which has locked {folder.path / LOCK}: "
            "wait for it to end, or end it"
        )
    if _version(resumed.path) != resumed.version:
        folder.leave(keep=True)
        raise RunError(f"another process, now ended, replaced {resumed.path} while it was being read: start again")


def _new_names(config: dict[str, Any]) -> Iterator[str]:
    """Yield names for an unnamed run in order of preference; some may be taken."""
    stem = f"{stem_of(config)}-{_job() or time.strftime('%Y%m%d-%H%M%S')}"
    yield stem
    yield from (f"{stem}-{i}" for i in range(2, 1000))


def stem_of(config: dict[str, Any]) -> str:
    """Return the names of a run's task, data and backbone, with which the names of unnamed runs begin."""
    data = Path(config["data"]["name"]).absolute().name  # the last part of a folder's path
    parts = [config["task"]["name"], data, config["backbone"]["name"]]
    return "-".join(re.sub(r"[^\w.+=]", "_", part)[:24] for part in parts)


def _job() -> str | None:
    job = os.environ.get("SLURM_JOB_ID")  # stays the same when a job is requeued
    return f"slurm{job}" if job else None


def _name_before_restart(config: dict[str, Any]) -> str | None:
    """Return the name that an unnamed run had before torchrun or SLURM restarted it; None if there is none."""
    if not is_restart():
        return None
    store = torchrun_store()
    if store is not None and store.check([STORE_KEY]):
        return str(store.get(STORE_KEY).decode())
    job = _job()
    return f"{stem_of(config)}-{job}" if job else None


def _refuse_taken(folder: Path) -> NoReturn:
    last = folder / "last.ckpt"
    resume = f"resume it with --ckpt_path {last}, or " if last.exists() else ""
    raise UsageError(f"--name {folder.name} is taken: {folder} exists; {resume}choose another name")


def _tell_others(name: str) -> None:
    """Tell the run's name to torchrun's other processes.

    torchrun's store outlives the processes, so the name survives a restart.
    """
    store = torchrun_store()
    if store is not None:
        store.set(STORE_KEY, name)


def _told_by_main_process() -> str:
    store = torchrun_store()
    if store is None:
        raise UsageError(
            "the processes of this run cannot agree on its name: give --name; "
            "or, for a run of one process, unset RANK, LOCAL_RANK, NODE_RANK and SLURM_PROCID"
        )
    store.wait([STORE_KEY])
    return str(store.get(STORE_KEY).decode())


@contextlib.contextmanager
def name_shared(name: str) -> Iterator[None]:
    """Tell the run's name to every process that is started in this context."""
    before = os.environ.get(NAME_VARIABLE)
    os.environ[NAME_VARIABLE] = name
    try:
        yield
    finally:
        if before is None:
            del os.environ[NAME_VARIABLE]


def _is_best_of(resumed: Resumed, path: Path) -> bool:
    try:
        return read_checkpoint(path)["run"]["tracker_id"] == resumed.record["tracker_id"]
    except (OSError, ValueError, KeyError):
        return False


def new_run_id() -> str:
    """Return a fresh id, which tells runs of one name apart, also for a tracker."""
    return uuid.uuid4().hex[:8]
