"""The part common to all formats: raw images in, named tensors out, and the file's description of itself.

N images, C channels, (H, W) size in pixels.
"""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from engine.contract.errors import UserError
from engine.contract.parts import parts
from engine.contract.registry import brief, look_up
from engine.contract.task import Task
from engine.inference.model import Model, Whole
from engine.resume.checkpoint_file import first_line

MULTIPLE = "size_multiple"
VERSION = "1"  # of the description in a file; files of other versions are refused
ROUNDING = 1e-3  # by which a probability may lie outside 0..1
PROBABILITIES = "probabilities"  # an output of this name has its classes in dimension 1
MAX_MULTIPLE = 2**15  # largest size_multiple accepted from a file


class About(NamedTuple):
    """A file's description of itself: the values needed to run it."""

    task: type[Task]
    hparams: dict[str, Any]
    outputs: list[str]
    multiple: int


def of_program(said: About, compute: Callable[[Tensor], dict[str, Tensor]]) -> Model:
    """Return the model of a graph: a task without a network, and `compute` with its outputs checked.

    Outputs raise UserError if probabilities or scores are outside 0..1, or the number of classes is wrong.
    """
    task, multiple = said.task.without_network(said.hparams), said.multiple

    def checked(raw: Tensor) -> dict[str, Tensor]:
        found = compute(raw)
        if PROBABILITIES in found and found[PROBABILITIES].shape[1:2] != (len(task.hparams["class_names"]),):
            raise UserError(f"{PROBABILITIES} have the shape {tuple(found[PROBABILITIES].shape)}")
        for name in (PROBABILITIES, "scores"):
            if name in found and not bool(((found[name] > -ROUNDING) & (found[name] < 1 + ROUNDING)).all()):
                raise UserError(f"{name} are not in 0..1")
        return found

    if not task.takes_any_size:
        return Model(task, checked, is_program=True)

    def outputs(raw: Tensor) -> dict[str, Tensor]:
        """Pad inputs to the size multiple, as the task does, and crop the outputs."""
        found = checked(task.input.padded(raw, multiple))
        return {name: task.input.cut_back(value, raw) for name, value in found.items()}

    return Model(task, outputs, is_program=True)


def size_multiple(task: Task) -> int | None:
    """Return the multiple that each side must be in a graph for inputs of any size; None for a graph of one size."""
    return int(task.backbone.strides[-1]) if task.takes_any_size else None


def capture(task: Task, raw: Tensor) -> torch.export.ExportedProgram:
    """Trace a task's network to a graph for any batch size, and for inputs of any size if the task takes them.

    Args:
        task: in evaluation mode, on the CPU.
        raw: a raw batch of two or more.

    Raises:
        UserError: the network cannot be traced to one graph for all inputs.
    """
    axes = task.input.graph(None).axes
    free: dict[int, Any] = {0: torch.export.Dim(axes[0])}
    if (multiple := size_multiple(task)) is not None:
        free |= {place: multiple * torch.export.Dim(axes[place]) for place in range(2, raw.ndim)}
        # Several cells each way, and different sides: torch.export specialises on sizes of 1 and on equal sizes.
        cells: list[int] = []
        for min_cells, side in enumerate(raw.shape[2:], start=3):
            number = max(min_cells, -(-side // multiple))
            cells.append(number + (number in cells))
        raw = raw.new_zeros(*raw.shape[:2], *(number * multiple for number in cells))
    raw = raw.clone()  # torch.export serialises the whole storage of a view
    whole = Whole(task).eval()
    whole(raw)  # fills caches with real tensors before tracing
    try:
        return torch.export.export(whole, (raw,), dynamic_shapes=(free,))
    except Exception as error:  # torch has a type for each of its many reasons
        raise UserError(f"the network cannot be made a graph ({first_line(error)})") from error


def about(task: Task, names: Sequence[str]) -> dict[str, str]:
    """Return a file's description of itself: texts by name, numbers and lists as JSON. `names` are its outputs."""
    hparams, multiple = dict(task.hparams), size_multiple(task)
    graph = task.input.graph(multiple)
    said = {"class_names": hparams["class_names"], **graph.about}
    return {
        "format_version": VERSION,
        "task": task.task_name,
        **{name: value if isinstance(value, str) else json.dumps(value) for name, value in said.items()},
        "input": graph.name,
        **({} if multiple is None else {MULTIPLE: json.dumps(multiple)}),
        "outputs": json.dumps(list(names)),
        "hyperparameters": json.dumps(hparams),
    }


def read_about(path: Path, said: Mapping[str, str] | None) -> About:
    """Check and return a file's description of itself.

    Raises:
        UserError: it is missing, of another version, or wrong.
    """
    if not said or "format_version" not in said:
        raise UserError(f"{path} was not written by scripts/export.py: it does not say which task it is for")
    if said["format_version"] != VERSION:
        raise UserError(
            f"{path} is of format version {brief(said['format_version'])}, but this program reads {VERSION!r}: "
            "export it again"
        )
    try:
        hparams, names = json.loads(said["hyperparameters"]), json.loads(said["outputs"])
        multiple = json.loads(said.get(MULTIPLE, "1"))
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise UserError(f"its outputs are {brief(names)}")
        if type(multiple) is not int or not 1 <= multiple <= MAX_MULTIPLE:
            raise UserError(f"its {MULTIPLE} is {brief(multiple)}")
        task = look_up("task", said["task"], parts().tasks)
        return About(task, task.checked(hparams), names, multiple)
    except (KeyError, ValueError, RecursionError) as error:
        raise UserError(f"{path} describes itself wrongly ({first_line(error)}): export it again") from error


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Suppress logging, warnings and prints of exporters within the context."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
