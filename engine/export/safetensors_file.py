"""Safetensors: only weights, and the values to rebuild the network from; nothing in the file can run."""

from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from engine.contract.errors import UserError
from engine.contract.task import Task
from engine.export.model import about, read_about
from engine.inference.model import Model, of_task
from engine.resume.checkpoint_file import first_line


def write(task: Task, raw: Tensor, path: Path) -> None:
    """See `engine.inference.model.Write`."""
    weights = {  # copies: the format stores neither other memory layouts nor shared tensors
        name: value.detach().clone(memory_format=torch.contiguous_format) for name, value in task.state_dict().items()
    }
    names = list(task.outputs(task.input.prepare(raw)))
    safetensors.torch.save_file(weights, path, about(task, names))


def read(path: Path, device: str) -> Model:
    """See `engine.inference.model.Read`."""
    said, weights = read_file(path)
    about_it = read_about(path, said)
    checkpoint = {"task": about_it.task.task_name, "hyper_parameters": about_it.hparams, "state_dict": weights}
    return of_task(about_it.task.from_checkpoint(checkpoint, device), device)


def read_file(path: Path) -> tuple[dict[str, str] | None, dict[str, Tensor]]:
    """Return the metadata of a safetensors file, and its weights.

    Raises:
        UserError: it is not a safetensors file.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, no mapping
    except (safetensors.SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a safetensors file that can be read ({first_line(error)})") from error
