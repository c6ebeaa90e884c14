"""Data modules: batches of images for a task, and the numbers a model needs to know about them.

Every data module takes `seed` (and `task`, if its batches differ by task), then options with defaults; what it promises
is said in `project.data.base`.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from project.data.base import ImageDataModule
from project.data.digit_pairs import DigitPairsDataModule
from project.data.digits import DigitsDataModule
from project.data.folders import FolderDataModule
from project.data.idx_files import IDXDataModule, is_idx_folder
from project.data.known_files import Known
from project.data.mnist import MNISTDataModule
from project.registry import check_options, look_up, options_of

DATA: dict[str, Callable[..., ImageDataModule]] = {
    "mnist": MNISTDataModule,
    "digits": DigitsDataModule,
    "digit_pairs": DigitPairsDataModule,
}


def is_path(name: str) -> bool:
    """Whether a name means a folder of somebody's own, and not one of our data modules."""
    return (
        bool(name)
        and name not in DATA
        and ("/" in name or "\\" in name or name.startswith((".", "~")) or Path(name).is_dir())
    )


def find_data(name: str) -> Callable[..., ImageDataModule]:
    """Return the constructor of a data module: one of ours by name, or that of folders for a path.

    Raises:
        ValueError: there is no such data module.
    """
    if is_path(name) and is_idx_folder(Path(name).expanduser()):
        return functools.partial(IDXDataModule, path=str(Path(name).expanduser()))
    if is_path(name):
        return functools.partial(FolderDataModule, path=name)
    try:
        return look_up("data", name, DATA)
    except ValueError as error:
        raise ValueError(f"{error}; or give the path of a folder") from error


def build_data(name: str, task: str, seed: int, known: Known | None = None, **options: Any) -> ImageDataModule:
    """Build a data module by name, or for a path, whose batches are those of `task`: classify, segment, ...

    `seed` determines the order of training and its augmentation. `known` is what a checkpoint says of its files.

    Raises:
        ValueError: no such data module, or folder, or not for this task; or an option or value that it does not take.
    """
    builder = find_data(name)
    check_options(f"data {name}", options, builder, ("task", "seed", "path", "known"))
    if known is not None and "known" in options_of(builder):
        options["known"] = known
    if "task" in options_of(builder):
        options["task"] = task
    data = builder(seed=seed, **options)
    if task not in data.tasks:
        raise ValueError(f"data {name} is for task {' or '.join(data.tasks)}, not {task}")
    return data
