"""scripts/crossval.py: k-fold cross-validation, a run of train.py per fold, and the mean of their measures."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from engine.config import command_line
from engine.config.arguments import crossval_arguments
from engine.config.config import recorded
from engine.config.yaml_files import flatten, read_config_file
from engine.contract.data import DataModule
from engine.contract.errors import UserError
from engine.contract.parts import find_data
from engine.contract.registry import options_of
from engine.errors import RunError, Stopped, UsageError
from engine.files.folders import FolderDataModule
from engine.files.known_files import changes
from engine.record.summary_file import read_summary
from engine.report.comparison import comparison, mean_and_deviation
from engine.report.main import check_ours
from engine.resume.checkpoint_file import read_checkpoint, write_text
from engine.resume.lightning_internals import die_with_parent
from engine.resume.stops import SIGNALS
from engine.terminal import say
from engine.training import runs
from engine.training.assemble import known_of, same_place, trainer_arguments
from engine.training.progress import is_of_a_class
from engine.training.run_folder import ROOT, stem_of

TRAIN = Path(__file__).parents[2] / "scripts" / "train.py"


def main(arguments: list[str]) -> None:
    """Train the folds that are not finished, and print the mean of all.

    Raises:
        UsageError: the command line is invalid, the folder has no such folds, or runs of other settings have the name.
        RunError: a fold failed; the same command continues from there.
        Stopped: a signal stopped a fold; its state is saved.
    """
    folder, folds, name, flags = crossval_arguments(arguments)
    _check_has_folds(folder)
    flags.append(f"--data={folder}")
    asked = command_line.parse([*flags, f"--data.fold=1/{folds}"])
    assert asked is not None  # nothing is resumed or printed here
    if asked.config["fast_dev_run"]:
        raise UsageError("--fast_dev_run keeps nothing to take a mean of: use --max_epochs 1 --limit_train_batches 2")
    data, _ = runs.build(asked)  # refuses wrong flags, and folds that the folder cannot have
    trainer_arguments(asked.config)
    name = name or asked.config["name"] or stem_of(asked.config)
    page = ROOT / f"{name}-folds.html"
    check_ours(page)
    flags.append(f"--task={asked.config['task']['name']}")
    if asked.config["wandb_group"] is None and "WANDB_RUN_GROUP" not in os.environ:
        flags.append(f"--wandb_group={name}")
    numbered = {f"{i}/{folds}": ROOT / f"{name}-fold-{i}" for i in range(1, folds + 1)}
    for fold, place in numbered.items():
        _check_same(place, {**flatten(asked.config), "data.fold": fold}, data if fold == f"1/{folds}" else None)
    for fold, place in numbered.items():
        say(f"fold      {fold.replace('/', ' of ')}: {place}/")
        status = train([*flags, f"--name={place.name}", f"--data.fold={fold}", "--resume=auto"])
        if status > 128 or status < 0:
            say("stopped   the same command continues from there")
            raise Stopped(status - 128 if status > 128 else -status)
        if status:
            error = RunError(f"fold {fold} failed, see above; the same command continues from there")
            error.status = status
            raise error
    places = list(numbered.values())
    for line in _table([read_summary(place) for place in places]):
        say(line)
    write_text(comparison(places, with_mean=True), page)
    say(f"report      {page}")


def train(flags: Sequence[str]) -> int:
    """Run train.py in a process of its own, and return its exit status; signals that stop a run are passed on to it."""
    # The terminal would send its own SIGINT to a process of the same session, and a second one stops a run unsaved.
    can_fork = hasattr(os, "fork")  # not on Windows
    child = subprocess.Popen(
        [sys.executable, str(TRAIN), *flags],
        start_new_session=can_fork,
        preexec_fn=die_with_parent if can_fork else None,
    )

    def pass_on(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(OSError, ValueError):  # it has ended; or Windows, whose terminal tells it as well
            child.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in SIGNALS}
    try:
        return child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _check_has_folds(folder: str) -> None:
    """Refuse data that have no folds, such as a name or files with official test images.

    Raises:
        UsageError: there is no such folder, or its data have no option `fold`.
    """
    try:
        options = options_of(find_data(folder))
    except UserError as error:
        raise UsageError(str(error)) from error
    if "fold" not in options:
        raise UsageError(f"{folder} has test images of its own, so that there are no folds of it: use train.py")


def _check_same(place: Path, settings: dict[str, Any], data: DataModule | None) -> None:
    """Refuse to mix folds of other settings or, if `data` is given, of other files with those to come.

    Raises:
        UsageError: names the first setting that differs, or the files.
    """
    path = place / "config.yaml"
    if not path.exists():
        return
    before = recorded(dict(read_config_file(str(path)).values), path)
    where = str(before.get("data.name"))
    changed = {} if same_place(where, settings["data.name"]) or not Path(where).exists() else {"data": where}
    changed |= {key: old for key, (old, _) in runs.decisive_changes(before, settings).items()}
    if changed:
        key, old = next(iter(changed.items()))
        raise UsageError(f"{place} has other settings ({key} {old}): give the same flags, or another --name")
    if isinstance(data, FolderDataModule) and (best := place / "best.ckpt").exists():
        try:
            known = known_of(read_checkpoint(best))
        except (OSError, UserError) as error:
            raise UsageError(str(error)) from error
        if known is not None and (how := changes(known, data.files, data.listed)) is not None:
            raise UsageError(f"{data.path} has other files than {place} was trained on ({how}): give another --name")


def _table(summaries: Sequence[dict[str, Any]]) -> list[str]:
    """Return a line per test measure: its mean and standard deviation over the folds that have a value."""
    each = [summary["metrics"] for summary in summaries]
    names = dict.fromkeys(name for own in each for name in own if name.startswith("test/") and not is_of_a_class(name))
    width = max(12, *(len(name) + 1 for name in names)) if names else 12
    lines = [f"{'mean':<{width}}of {len(each)} folds, ± standard deviation"]
    return lines + [f"{name:<{width}}{mean_and_deviation(name, [own.get(name) for own in each])}" for name in names]
