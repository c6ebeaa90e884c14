"""A run's folder, checkpoints/NAME: choosing it, claiming it, finding it again."""

import contextlib
import os
import re
import shutil
import time
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
STORE_KEY = "project/name"  # of the run's name in torchrun's store


def folder_around(path: Any) -> Path | None:
    """Return the run's folder that a file lies in, checkpoints/NAME in any folder; None for a file elsewhere."""
    folder = Path(os.path.abspath(path)).parent
    if folder.parent.name != ROOT.name:
        return None
    return ROOT / folder.name if folder.parent == ROOT.absolute() else folder


@dataclass
class Resumed:
    """A checkpoint that a run goes on from."""

    path: Path
    checkpoint: dict[str, Any]
    version: tuple[int, ...]  # of the file when it was read

    @property
    def record(self) -> dict[str, Any]:
        """What the run recorded about itself: its name, configuration and tracker id."""
        return dict(self.checkpoint["run"])

    @property
    def folder(self) -> Path | None:
        """The run's folder; None for a file elsewhere."""
        return folder_around(self.path)

    @property
    def name(self) -> str:
        """The run's name: that of its folder, which may have been renamed; of a file elsewhere, the name it records."""
        return self.folder.name if self.folder is not None else str(self.record["name"])

    @property
    def epochs_done(self) -> int:
        """Whole epochs that were trained."""
        progress = self.checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]
        return int(progress["processed"])

    @property
    def not_better(self) -> int:
        """Validations since the best one."""
        return int(self.checkpoint["callbacks"]["RunCheckpoints"].get("not_better", 0))

    @property
    def steps_done(self) -> int:
        """Optimiser steps that were taken."""
        return int(self.checkpoint["global_step"])


def find_restarted(config: dict[str, Any]) -> Resumed | None:
    """Return the run that the same command, started again, goes on with; None if it has saved nothing.

    Raises:
        UsageError: its last.ckpt cannot be gone on from.
    """
    name = config["name"] or _name_before_restart(config)
    if name is None or not any((ROOT / name / file).exists() for file in ("last.ckpt", "previous.ckpt")):
        return None
    return find_resumed(str(ROOT / name / "last.ckpt"), None)


def find_resumed(ckpt_path: str, name: str | None) -> Resumed:
    """Return the checkpoint that `--ckpt_path` means: a file, or 'last' for the newest run's, or run NAME's.

    Raises:
        UsageError: there is none, or it is not one that a run can go on from.
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
            raise UsageError(f"--ckpt_path: {error}, but the state before it: give --ckpt_path {previous}") from error
        version = _version(previous)
        try:
            checkpoint = read_checkpoint(previous)
        except (OSError, ValueError) as second:
            raise UsageError(f"--ckpt_path: {error}; and {second}") from error
        complain(f"warning: {error}; going on from {previous}, which is older")
        where = previous
    if not {"run", "optimizer_states", "loops"} <= checkpoint.keys() or not checkpoint.get("resumable"):
        raise UsageError(
            f"--ckpt_path: {where} holds weights, not the state of a run; go on from a last.ckpt, or start a new run "
            f"from these weights with --init_from {where}"
        )
    try:
        check_kinds(checkpoint)
    except ValueError as error:
        raise UsageError(f"--ckpt_path: {where} cannot be gone on from: {error}") from error
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
        raise UsageError(f"--ckpt_path last: there is no last.ckpt in {ROOT / (name or '*')} to go on from")
    return max(found, key=lambda path: path.stat().st_mtime)


class RunFolder:
    """The folder that a run leaves everything in, which no other process writes to meanwhile.

    Args:
        path: the folder.
        goes_on: whether it is that of the run being resumed.
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
        """Make and lock the folder; the system frees it when this process ends, however that happens.

        Return whether it could be had: another process may have it.

        Raises:
            RunError: it cannot be made.
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
        """Whether nothing is in it yet, or only the record of a run that failed before its first step."""
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
            return not self.path.exists()  # it, or checkpoints itself, is a file

    def can_start_over(self) -> bool:
        """Whether there is no more of a run in it than best.ckpt of the first epoch, at whose end last.ckpt follows."""
        found = list(self.path.glob("*.ckpt"))
        try:
            return all(path.name == "best.ckpt" and read_checkpoint(path).get("epoch") == 0 for path in found)
        except (OSError, ValueError):
            return False

    def leave(self, keep: bool) -> None:
        """Let others have the folder; remove it if it is not to be kept."""
        if self._lock is None:
            return
        if not keep:
            shutil.rmtree(self.path, ignore_errors=True)
        self._lock.release()
        self._lock = None
        if not keep and not hasattr(os, "fork"):  # Windows, which removes no open file, and so not the lock's
            with contextlib.suppress(OSError):  # another process has it
                (self.path / LOCK).unlink(missing_ok=True)
                self.path.rmdir()
        if not keep and self._made_root:
            with contextlib.suppress(OSError):  # another run is in it
                self.path.parent.rmdir()


def folder_that_goes_on(config: dict[str, Any], resumed: Resumed | None) -> Path | None:
    """Return the folder of the run being resumed, None if the run gets a folder of its own."""
    return resumed.folder if resumed is not None and config["name"] in (None, resumed.name) else None


def claim_folder(config: dict[str, Any], resumed: Resumed | None) -> RunFolder:
    """Return the run's folder, the same in all of its processes; the main one claims it.

    A run that is resumed under another name gets a folder of its own, and the best weights so far with it.

    Raises:
        UsageError: the name is not one, or another run has it, or another process trains the run.
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
            "wait for its end, or end it"
        )
    if _version(resumed.path) != resumed.version:
        folder.leave(keep=True)
        raise RunError(f"{resumed.path} was replaced while it was read, by a process that has ended since: start again")


def _new_names(config: dict[str, Any]) -> Iterator[str]:
    """Yield names for a run that was not given one: the best first, which others may have."""
    stem = _stem(config, _job() or time.strftime("%Y%m%d-%H%M%S"))
    yield stem
    yield from (f"{stem}-{i}" for i in range(2, 1000))


def _stem(config: dict[str, Any], when: str) -> str:
    data = Path(config["data"]["name"]).absolute().name  # a folder's own name, where it is a path
    parts = [config["task"]["name"], data, config["backbone"]["name"]]
    return "-".join([*(re.sub(r"[^\w.+=]", "_", part)[:24] for part in parts), when])


def _job() -> str | None:
    job = os.environ.get("SLURM_JOB_ID")  # the same when a job is put back in the queue
    return f"slurm{job}" if job else None


def _name_before_restart(config: dict[str, Any]) -> str | None:
    """Return the name that a run without a given one had before torchrun or SLURM started it again."""
    if not is_restart():
        return None
    store = torchrun_store()
    if store is not None and store.check([STORE_KEY]):
        return str(store.get(STORE_KEY).decode())
    job = _job()
    return _stem(config, job) if job else None


def _refuse_taken(folder: Path) -> NoReturn:
    last = folder / "last.ckpt"
    resume = f"go on with it by --ckpt_path {last}, or " if last.exists() else ""
    raise UsageError(f"--name {folder.name} is taken: {folder} exists; {resume}choose another name")


def _tell_others(name: str) -> None:
    """Tell the processes of torchrun, which start all at once, the run's name.

    It is kept in torchrun's own store, which outlives the processes: after a restart the name holds.
    """
    store = torchrun_store()
    if store is not None:
        store.set(STORE_KEY, name)


def _told_by_main_process() -> str:
    store = torchrun_store()
    if store is None:
        raise UsageError(
            "the processes of this run cannot agree on its name: give it with --name; "
            "or, for a run of one process, unset RANK, LOCAL_RANK, NODE_RANK and SLURM_PROCID"
        )
    store.wait([STORE_KEY])
    return str(store.get(STORE_KEY).decode())


@contextlib.contextmanager
def name_shared(name: str) -> Iterator[None]:
    """Within, processes that are started know the run's name."""
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
