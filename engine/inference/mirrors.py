"""Test-time augmentation: the mean of a task's outputs for an image and for its left-right mirror image."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from engine.contract.answers import Answers
from engine.contract.task import Task
from engine.errors import UsageError
from engine.export.model import Model


def check_mirrors(task: Task) -> None:
    """Refuse a task whose outputs cannot be averaged.

    Raises:
        UsageError: the task does not define `mirrored`; names it.
    """
    if type(task).mirrored is Answers.mirrored:
        raise UsageError(f"--tta flip: task {task.task_name} cannot average outputs for an image and its mirror image")


def mean_with_mirrors(
    task: Task, outputs: Callable[[Tensor], Mapping[str, Tensor]], images: Tensor
) -> dict[str, Tensor]:
    """Return the mean of outputs for images (N, ..., W) and for their mirror images, mirrored back."""
    plain, mirrored = outputs(images), task.mirrored(outputs(images.flip(-1)))
    return {name: (value + mirrored[name]) / 2 for name, value in plain.items()}


def with_mirrors(model: Model) -> Model:
    """Return a model whose outputs are the means with those of mirror images."""
    return model._replace(outputs=lambda raw: mean_with_mirrors(model.task, model.outputs, raw))


def measure_with_mirrors(task: Task) -> None:
    """Make a task measure that mean from now on: its `forward` returns the raw outputs that lead to it."""
    plain = task.forward

    def forward(images: Tensor) -> Any:
        task.forward = plain  # type: ignore[method-assign]
        try:
            return task.raw_of(mean_with_mirrors(task, task.outputs, images))
        finally:
            task.forward = forward  # type: ignore[method-assign, assignment]

    task.forward = forward  # type: ignore[method-assign, assignment]
