"""Test-time augmentation: a task's answers for several views of an image, joined; see `engine.inputs.views`."""

from typing import Any

import torch
from torch import Tensor

from engine.contract.answers import Answers
from engine.contract.errors import UserError
from engine.contract.task import Task
from engine.errors import UsageError, one_line
from engine.inference.model import Model
from engine.inputs.views import VIEWS


def joined_views(model: Model, kind: str) -> Model:
    """Return a model that answers for the views of `kind` together.

    Raises:
        UsageError: the task, its network or the exported file cannot.
    """
    if not model.is_program:
        join_views(model.task, kind)
        return model
    task, views = model.task, VIEWS[kind]
    if type(task).mirrored is Answers.mirrored or any(view.scale != 1 for view in views):
        raise UsageError(f"--tta {kind}: an exported file of task {task.task_name} cannot do it: use the checkpoint")
    return model._replace(outputs=lambda raw: task.mean_of_views(model.outputs, raw, views))


def join_views(task: Task, kind: str) -> None:
    """Make a task answer for several views from now on: its `forward` returns raw outputs for all of them.

    Raises:
        UsageError: the task or its network cannot.
    """
    views = VIEWS[kind]
    if type(task).raw_of_views is Task.raw_of_views:
        needed = "rescaled" if any(view.scale != 1 for view in views) else "mirrored"
        if getattr(type(task), needed) is getattr(Answers, needed):
            raise UsageError(f"--tta {kind}: task {task.task_name} cannot join its answers for several views")
    plain = task.forward

    def forward(images: Tensor) -> Any:
        task.forward = plain  # type: ignore[method-assign]
        try:
            return task.raw_of_views(images, views)
        finally:
            task.forward = forward  # type: ignore[method-assign, assignment]

    task.forward = forward  # type: ignore[method-assign, assignment]
    images = task.input.prepare(task.input.example(1, torch.Generator().manual_seed(0)).to(task.device))
    scaled = [view for view in views if view.scale != 1]
    if scaled and len({view.of(images, task.backbone.strides[-1]).shape for view in views}) == 1:
        raise UsageError(f"--tta {kind}: this network takes images of one size only")
    try:
        with torch.no_grad():
            task.outputs(images)
    except (UserError, RuntimeError, AssertionError) as error:
        if not scaled and not isinstance(error, UserError):
            raise  # a bug; with other sizes, it may be a layer that takes one only
        raise UsageError(f"--tta {kind}: this network cannot take the views ({one_line(error)[:200]})") from error
