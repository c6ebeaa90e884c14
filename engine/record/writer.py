"""What a run leaves in its folder besides checkpoints, metrics and a summary."""

from pathlib import Path
from typing import Any, ClassVar

from lightning.pytorch.callbacks import Callback

from engine.contract.data import DataModule
from engine.contract.task import Task
from engine.resume.checkpoints import RunCheckpoints


class Writer(Callback):
    """A callback of a run that also writes a file when the run has ended, however it ended.

    Args:
        folder: the run's folder.
        checkpoints: the run's.
    """

    name: ClassVar[str]  # of the file, on the screen

    def __init__(self, folder: Path, checkpoints: RunCheckpoints) -> None:
        self.folder = folder
        self.checkpoints = checkpoints

    def write(self, tracker: Any, data: DataModule, task: Task) -> Path:
        """Write the file, show it to the run's tracker, if any, and return its path; an error becomes a note."""
        raise NotImplementedError
