"""Data modules: batches of images for a task, and the facts about them that a network needs.

Every data module takes `seed` (and `task`, if its batches differ by task) and options with defaults.
`engine.contract.data` states the contract.
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

# A folder is read by the first of these whose `reads(path)` is true.
OWN_DATA: tuple[Any, ...] = (IDXDataModule, FolderDataModule)
