"""A run's folder, checkpoints/NAME: choosing it, claiming it, finding it again."""

import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from project.checkpoint_file import read_checkpoint
from project.files import read_text
from project.run.errors import RunError, UsageError
from project.run.processes import NAME_VARIABLE, is_restart, torchrun_store
from project.run.terminal import complain, is_main_process

ROOT = Path("checkpoints")


@dataclass
class Resumed:
    """A checkpoint that a run goes on from."""

    path: Path
    checkpoint: dict[str, Any]

    @property
    def record(self) -> dict[str, Any]:
        """What the run recorded about itself: its name, configuration and tracker id."""
        return dict(self.checkpoint["run"])

    @property
    def name(self) -> str:
        """The run's name: that of its folder, which may have been renamed; of a file elsewhere, the name it records."""
        folder = self.path.absolute().parent
        return folder.name if folder.parent == ROOT.absolute() else str(self.record["name"])

    @property
    def epochs_done(self) -> int:
        """Whole epochs that were trained."""
        progress = self.checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]
        return int(progress["processed"])

    @property
    def steps_done(self) -> int:
        """Optimiser steps that were taken."""
        return int(self.checkpoint["global_step"])


def find_restarted(config: dict[str, Any]) -> Resumed | None:
    """Return what a run that was started again goes on from, or None when it had saved nothing."""
    last = ROOT / choose_name(config, None) / "last.ckpt"
    return find_resumed(str(last), None) if last.exists() else None


def find_resumed(ckpt_path: str, name: str | None) -> Resumed:
    """Return the checkpoint that `--ckpt_path` means: a file, or 'last' for the newest run's, or run NAME's.

    Raises:
        UsageError: there is none, or it is not one that a run can go on from.
    """
    where: Any = _newest_last(name) if ckpt_path == "last" else ckpt_path
    try:
        checkpoint = read_checkpoint(where)
    except (OSError, ValueError) as error:
        previous = Path(where).with_name("previous.ckpt")
        if isinstance(error, FileNotFoundError) or Path(where).name != "last.ckpt" or not previous.is_file():
            raise UsageError(f"--ckpt_path: {error}") from error
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
    return Resumed(Path(where), checkpoint)


def _newest_last(name: str | None) -> Path:
    found = list(ROOT.glob("*/last.ckpt")) if name is None else [p for p in [ROOT / name / "last.ckpt"] if p.exists()]
    if not found:
        raise UsageError(f"--ckpt_path last: there is no last.ckpt in {ROOT / (name or '*')} to go on from")
    return max(found, key=lambda path: path.stat().st_mtime)


def choose_name(config: dict[str, Any], resumed: Resumed | None) -> str:
    """Return the name of a run, the same in all of its processes: its own when it is resumed, else a free one.

    Raises:
        UsageError: the name asked for is not one, or another run has it.
    """
    if NAME_VARIABLE in os.environ:
        return os.environ[NAME_VARIABLE]
    if not is_main_process():
        return config["name"] or _told_by_main_process()
    name = config["name"]
    if name is None:
        name = resumed.name if resumed is not None else _new_name(config)
    if not re.fullmatch(r"\w[\w.+=-]{0,99}", name):
        raise UsageError(f"--name {name!r} is not a folder's name: use up to 100 letters, digits and . _ + = -")
    if (resumed is None or name != resumed.name) and not is_restart():
        _check_free(ROOT / name)
    return _tell_others(name)


def _new_name(config: dict[str, Any]) -> str:
    data = Path(config["data"]["name"]).absolute().name  # a folder's own name, where it is a path
    parts = [config["task"]["name"], data, config["backbone"]["name"]]
    job = os.environ.get("SLURM_JOB_ID")  # the same when a job is put back in the queue
    when = f"slurm{job}" if job else time.strftime("%Y%m%d-%H%M%S")
    stem = "-".join([*(re.sub(r"[^\w.+=]", "_", part) for part in parts), when])
    if job and is_restart():
        return stem
    return next(name for name in (stem, *(f"{stem}-{i}" for i in range(2, 1000))) if not (ROOT / name).exists())


def _check_free(folder: Path) -> None:
    if folder.exists():
        last = folder / "last.ckpt"
        resume = f"go on with it by --ckpt_path {last}, or " if last.exists() else ""
        raise UsageError(f"--name {folder.name} is taken: {folder} exists; {resume}choose another name")


def _tell_others(name: str) -> str:
    """Under torchrun, where all processes start at once and may be started again, agree on one name.

    It is kept in torchrun's own store, which outlives the processes: after a restart the first name holds.
    """
    store = torchrun_store()
    if store is None:
        return name
    return str(store.compare_set("project/name", "", name).decode())


def _told_by_main_process() -> str:
    store = torchrun_store()
    if store is None:
        raise UsageError("the processes of this run cannot agree on its name: give it with --name")
    store.wait(["project/name"])
    return str(store.get("project/name").decode())


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


def claim(folder: Path, resumed: Resumed | None) -> None:
    """Make the folder of a new run, or open that of the run being resumed.

    A run that is resumed under another name gets a folder of its own, and the best weights so far with it.

    Raises:
        UsageError: another run has the name.
        RunError: the folder cannot be made.
    """
    if resumed is not None and folder.absolute() == resumed.path.absolute().parent:
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(exist_ok=is_restart())
        if resumed is not None and _is_best_of(resumed, best := resumed.path.with_name("best.ckpt")):
            shutil.copy2(best, folder / "best.ckpt")
    except FileExistsError:
        _check_free(folder)
        raise
    except OSError as error:
        raise RunError(f"the run's folder {folder} cannot be made ({error.strerror})") from error


def _is_best_of(resumed: Resumed, path: Path) -> bool:
    try:
        return read_checkpoint(path)["run"]["tracker_id"] == resumed.record["tracker_id"]
    except (OSError, ValueError, KeyError):
        return False


def read_summary(folder: Path) -> dict[str, Any]:
    """Return a run's summary.json, or an empty mapping when there is none to read."""
    try:
        summary = json.loads(read_text(folder / "summary.json"))
    except (OSError, ValueError, RecursionError):
        return {}
    return summary if isinstance(summary, dict) else {}
