"""Data modules: batches of images for a task, and the numbers a model needs to know about them.

Every data module takes `seed` (and `task`, if its batches differ by task), then options with defaults; what it promises
is said in `engine.contract.data`.
"""

from collections.abc import Callable
from typing import Any

from engine.contract.data import DataModule
from engine.files.folders import FolderDataModule
from project.data.digit_pairs import DigitPairsDataModule
from project.data.digits import DigitsDataModule
from project.data.idx_files import IDXDataModule
from project.data.mnist import MNISTDataModule

DATA: dict[str, Callable[..., DataModule]] = {
    "mnist": MNISTDataModule,
    "digits": DigitsDataModule,
    "digit_pairs": DigitPairsDataModule,
}

# For the path of a folder: the first of these whose `reads(path)` is true.
OWN_DATA: tuple[Any, ...] = (IDXDataModule, FolderDataModule)
