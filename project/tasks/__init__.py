"""Tasks: a backbone, a head, a loss, metrics and an optimiser joined into a LightningModule."""

from collections.abc import Mapping
from typing import Any

from project.checkpoint_file import read_checkpoint
from project.registry import look_up
from project.tasks.base import Task
from project.tasks.classifier import LitClassifier
from project.tasks.detector import LitDetector
from project.tasks.segmenter import LitSegmenter
from project.tasks.translator import LitTranslator

TASKS: dict[str, type[Task]] = {
    "classify": LitClassifier,
    "segment": LitSegmenter,
    "detect": LitDetector,
    "translate": LitTranslator,
}


def load_task(path: Any, map_location: Any = "cpu") -> Task:
    """Rebuild whatever task a checkpoint file holds, ready for use.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a whole checkpoint of one of our tasks.
    """
    return task_of(read_checkpoint(path), map_location)


def task_of(checkpoint: Mapping[str, Any], map_location: Any = "cpu") -> Task:
    """Rebuild whatever task a checkpoint holds that has been read; raises what `load_task` does."""
    return look_up("task", checkpoint["task"], TASKS).from_checkpoint(checkpoint, map_location)
