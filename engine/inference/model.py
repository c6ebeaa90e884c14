"""What predictions are made with: a task, and the function that computes its outputs; and the files it is read from.

N images, C channels, (H, W) size in pixels.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from torch import Tensor, nn

from engine.contract.errors import UserError
from engine.contract.task import Task


class Model(NamedTuple):
    """A task, and the function from a raw batch, such as uint8 images (N, C, H, W), to its outputs."""

    task: Task
    outputs: Callable[[Tensor], dict[str, Tensor]]
    is_program: bool  # whether it is a graph, in which the task's options are fixed


class Write(Protocol):
    """Writes a task to a file; `raw` is a batch of two or more samples to trace it with.

    Raises:
        UserError: the network cannot be written in this format.
    """

    def __call__(self, task: Task, raw: Tensor, path: Path) -> None: ...


class Read(Protocol):
    """Reads a file written by `Write`; raises the errors of `load_model`."""

    def __call__(self, path: Path, device: str) -> Model: ...


class Format(NamedTuple):
    """How files of a format are written and read."""

    suffix: str
    write: Write
    read: Read
    is_program: bool  # whether the file holds a graph instead of weights for the task's own network
    refusal: str = ""  # why files are not loaded, as loading one from a stranger would run its code


class Whole(nn.Module):
    """A task's network with its pre- and postprocessing: from a raw batch to named tensors."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    def forward(self, raw: Tensor) -> dict[str, Tensor]:
        return self.task.outputs(self.task.input.prepare(raw))


def of_task(task: Task, device: str) -> Model:
    """Return the model of a task with its network, on `device`."""
    whole = Whole(task)
    return Model(task, lambda raw: whole(raw.to(device)), is_program=False)


@contextlib.contextmanager
def extra_needed() -> Iterator[None]:
    """Turn a missing package within the context into a line on how to install it.

    Raises:
        UserError: names the package and the command.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(f'{error.name} is not installed: pip install -e ".[export]"') from error
