"""Whole runs on the stand-in for MNIST in this process, and what they left behind."""

import contextlib
import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest

from engine.resume.compare import differences
from scripts import train
from tests.tiny import QUICK, at_tiny


@contextlib.contextmanager
def workplace_of_a_module(factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Within, be in a new folder with the stand-in in it, which outlasts a test: for fixtures of a whole module."""
    with pytest.MonkeyPatch.context() as patch:
        yield at_tiny(patch, factory.mktemp("workplace"))


def run(*arguments: object) -> None:
    """Run scripts/train.py's main function with quick settings; a person's flags win over them."""
    train.main([*QUICK, *map(str, arguments)])


@contextlib.contextmanager
def after_each_save(act: Callable[[pl.Trainer], None]) -> Iterator[None]:
    """Within, call `act` with the Trainer right after last.ckpt is written."""
    save = pl.Trainer.save_checkpoint

    def save_and_act(trainer: pl.Trainer, path: Any, *rest: Any, **more: Any) -> None:
        save(trainer, path, *rest, **more)
        if Path(path).name == "last.ckpt":
            act(trainer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pl.Trainer, "save_checkpoint", save_and_act)
        yield


class Cut(Exception):
    """Ends a run as a kill would, in this process."""


@contextlib.contextmanager
def cut_after(saves: int) -> Iterator[None]:
    """Within, a run is trained that ends right after last.ckpt is written for the `saves`-th time."""
    left = [saves]

    def count(trainer: pl.Trainer) -> None:
        left[0] -= 1
        if not left[0]:
            raise Cut

    with pytest.raises(Cut), after_each_save(count):
        yield


def read_metrics(name: str) -> list[dict[str, str]]:
    """Return the lines of a run's metrics.csv."""
    with open(f"checkpoints/{name}/metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def read_summary(name: str) -> dict[str, Any]:
    """Return a run's summary.json."""
    with open(f"checkpoints/{name}/summary.json") as file:
        return json.load(file)


def same(a: Any, b: Any) -> bool:
    """Whether two checkpoints are equal to the last bit, except for what names the run and its place."""
    return not differences(a, b)
