"""The work of scripts/evaluate.py: measure a checkpoint's metrics again, from its file alone."""

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor

from engine.config.arguments import evaluate_arguments
from engine.config.config import recorded, resolve
from engine.config.yaml_files import Source, plain
from engine.contract.data import DataModule
from engine.contract.errors import UserError
from engine.contract.parts import build_data, find_data, parts, task_of
from engine.contract.registry import options_of
from engine.contract.task import Task
from engine.errors import RunError, UsageError, one_line, raised_by
from engine.files.folders import FolderDataModule
from engine.files.known_files import Known, changes
from engine.inference.bootstrap import intervals
from engine.inference.predict import ask_with
from engine.inference.views import join_views
from engine.record.classes import by_class, counted
from engine.resume.checkpoint_file import read_checkpoint
from engine.resume.lightning_internals import leave_signals_to_us
from engine.resume.processes import check_rank
from engine.resume.stops import StopSignals
from engine.shortcuts import settle_threads
from engine.terminal import complain, quieten, say
from engine.training.assemble import check_values, facts_for, known_of, same_place
from engine.training.progress import is_of_a_class, measured_rows

SPLITTING = ("data.val_size", "data.test_size", "data.fold")  # options that split a folder's images
KEPT = ("seed", "accelerator", "precision")  # options kept from training, besides those of parts and data


def main(arguments: list[str]) -> None:
    """Print a checkpoint's metrics.

    Raises:
        UsageError: the command line is wrong, or the checkpoint cannot be read.
        RunError: the data cannot be read or fetched.
    """
    quieten()
    line, asked = evaluate_arguments(arguments, parts().tasks)
    split, resamples = line.flags.pop("split", None), line.flags.pop("bootstrap", 0)
    views = line.flags.pop("tta", None)
    path = line.positional[0]
    try:
        checkpoint = read_checkpoint(path)
        task = task_of(checkpoint)
    except (OSError, UserError) as error:
        raise UsageError(str(error)) from error
    ask_with(task, asked)
    if views is not None:
        join_views(task, views)
    config = configuration(path, checkpoint, task, line.flags, split)
    config["devices"] = line.flags.get("devices", 1)  # one process sees every image exactly once
    if config["limit_test_batches"] == 0:
        raise UsageError("--limit_test_batches 0 leaves nothing to measure")
    check_values(config)
    try:
        data = build_data(task=task.takes, seed=config["seed"], known=known_of(checkpoint), **config["data"])
        check_fits(task, data)
        data.timeout_seconds = 60 * config["timeout_minutes"]
        split = split or ("test" if data.has_test else "val")
        if not {"test": data.has_test, "val": data.has_validation}[split]:
            raise UserError(f"data {config['data']['name']} has no {split} {task.input.word}")
        settle_threads(1)
        trainer = pl.Trainer(
            accelerator=config["accelerator"],
            devices=config["devices"],
            precision=config["precision"],
            limit_test_batches=config["limit_test_batches"],
            limit_val_batches=config["limit_test_batches"],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        check_rank(trainer.global_rank)
        if resamples and trainer.world_size > 1:
            raise UserError("--bootstrap needs all images in one process: leave --devices out")
        task.each = [] if resamples else None
        leave_signals_to_us(trainer)
        measure = trainer.test if split == "test" else trainer.validate
        with StopSignals().caught():  # Lightning alone would exit with status 1
            metrics = measure(task, datamodule=data, verbose=False)[0]
    except (UserError, MisconfigurationException) as error:
        raise UsageError(one_line(error)) from error
    except (ValueError, TypeError, ImportError) as error:
        if raised_by("lightning", error):  # the Trainer refuses a flag's value
            raise UsageError(one_line(error)) from error
        raise
    except OSError as error:
        raise RunError(one_line(error)) from error
    for note in data.notes:
        say(f"note: {note}")
    name = {"test": "test", "val": "validation"}[split]
    seen, num = f"{task.images_measured:,}", len(data.stores[split])
    if task.images_measured < num:
        seen += f" of {num:,}"
    how = "" if views is None else f", --tta {views}"
    say(f"{path}: {config['task']['name']}, {config['data']['name']}, {seen} {name} {task.input.word}{how}")
    overall = {name: value for name, value in metrics.items() if not is_of_a_class(name)}
    ends = {} if not task.each else intervals_of(task, torch.cat(task.each).cpu(), split, resamples, config["seed"])
    rows = measured_rows(overall, ends)
    width = max(12, *(len(metric) + 1 for metric, _ in rows))
    for metric, text in rows:
        say(f"{metric:<{width}}{text}")
    if resamples and (without := [name for name in overall if name not in ends]):
        say(f"no interval for {', '.join(without)}: not computed from values per image")
    counts = task.confusion()
    names = [str(name) for name in task.hparams["class_names"]]
    table = by_class(metrics, [] if counts is None else counted(counts, names))
    for row in aligned([table["columns"], *table["rows"]]) if table["rows"] else ():
        say(row)


def intervals_of(task: Task, each: Tensor, split: str, resamples: int, seed: int) -> dict[str, tuple[float, float]]:
    """Return the interval of each measure that can be resampled, by its logged name."""
    found = intervals(lambda times: task.measured_with(each, times), len(each), resamples, seed)
    return {f"{split}/{name}": ends for name, ends in found.items()}


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines with aligned columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([f"{first:<{widths[0]}}", *(f"{cell:>{w}}" for cell, w in zip(rest, widths[1:], strict=True))])
        for first, *rest in rows
    ]


def configuration(
    path: str, checkpoint: dict[str, Any], task: Task, flags: dict[str, Any], split: str | None = None
) -> dict[str, Any]:
    """Return the configuration that a checkpoint was trained with, changed by flags.

    Raises:
        UsageError: the checkpoint has none, or the flags are wrong.
    """
    if "run" not in checkpoint:
        raise UsageError(f"{path} does not say what it was trained on: it is not from a training run")
    own = Source(path, recorded(checkpoint["run"]["config"], path), is_quiet=True)
    # Options of machines, processes and limits were for training only.
    own.values = {k: v for k, v in own.values.items() if k in KEPT or ("." in k and not k.startswith("logger."))}
    own.values.pop("data.num_workers", None)  # a file must not decide how many processes start here
    if "data.download" in own.values:  # nor whether something is downloaded
        own.values["data.download"] = False
    fixed = _fixed(task, own, flags, split, known_of(checkpoint))
    config, remarks = resolve([own, Source("command line", flags), Source("the checkpoint", fixed)])
    for remark in remarks:
        complain(f"note: {remark}")
    return config


def images_at_hand(path: str, checkpoint: dict[str, Any], task: Task, flags: dict[str, Any]) -> tuple[Any, str]:
    """Return a store of images to try a checkpoint on, and its split in words: 'test' or 'validation'.

    They come from the data that it was trained on, changed by flags; nothing is downloaded.

    Raises:
        UsageError: the checkpoint does not say what it was trained on, or the flags are wrong.
        OSError, UserError: the data are missing or have changed.
    """
    config = configuration(path, checkpoint, task, flags)["data"]
    data = build_data(task=task.takes, seed=0, known=known_of(checkpoint), **config)
    check_fits(task, data)
    data.prepare_data()
    if not data.has_test and not data.has_validation:
        raise UserError("the data it was trained on has no test or validation images")
    data.setup("test" if data.has_test else "validate")
    return (data.stores["test"], "test") if data.has_test else (data.stores["val"], "validation")


def _fixed(task: Task, own: Source, flags: dict[str, Any], split: str | None, known: Known | None) -> dict[str, Any]:
    """Return the data options that follow from the checkpoint, such as image_size, if the data are the user's own.

    Another folder than the one trained on is tested whole, unless it has splits or flags set their shares.

    Raises:
        UsageError: there is no such data, or a flag sets one of these options.
    """
    before = str(own.values["data.name"])
    name = str(flags.get("data.name", before))
    try:
        options = options_of(find_data(name))
    except UserError as error:
        raise UsageError(str(error)) from error
    follow = task.own_data_options(task.hparams)
    if not follow.keys() <= options.keys():
        return {}
    fixed = {f"data.{option}": value for option, value in follow.items()}
    for key in (*fixed, "data.fold"):
        if key in flags:
            raise UsageError(f"--{key} follows from the checkpoint: leave it out")
    if same_place(name, before):
        flags.pop("data.name", None)  # the same folder by another path: training's split holds
        return fixed
    split_as = {key: own.values[key] for key in SPLITTING if key in own.values}
    if known is not None and _holds(name, known, task, fixed | split_as):
        # The same folder, moved: with another name, its options would be the default ones.
        return {key: value for key, value in split_as.items() if key not in flags} | fixed
    if "data.fold" in own.values:
        fixed["data.fold"] = None
    if split == "val":
        fixed |= {key: value for key, value in split_as.items() if key not in (*flags, "data.fold")}
    elif not {"data.val_size", "data.test_size"} & flags.keys():
        fixed |= {"data.val_size": 0.0, "data.test_size": 1.0}
    return fixed


def _holds(name: str, known: Known, task: Task, fixed: dict[str, Any]) -> bool:
    """Whether a folder holds exactly the files that a checkpoint was trained, validated and tested on."""
    options: dict[str, Any] = {key.removeprefix("data."): value for key, value in fixed.items()}
    try:
        data = build_data(name, task.takes, 0, known, **options)
    except UserError:
        return False
    return isinstance(data, FolderDataModule) and changes(known, data.files, data.listed) is None


def check_fits(task: Task, data: DataModule) -> None:
    """Refuse data that do not match the checkpoint's hyperparameters.

    Raises:
        UserError: names the hyperparameter and both values.
    """
    for name, given in facts_for(type(task), data).items():
        own, given = plain(task.hparams[name]), plain(given)
        if own != given:
            raise UserError(f"the data's {name} {given} are not the checkpoint's {own}")
