"""Files that predict without training's surroundings: from a task to a file of one of three formats, and back."""

from pathlib import Path
from typing import Any, NamedTuple

from project.export import onnx_file, safetensors_file, torch_file
from project.export.model import Model, Read, Write, extra_needed, of_task
from project.tasks import load_task


class Format(NamedTuple):
    """How a file is written and read."""

    suffix: str
    write: Write
    read: Read
    is_program: bool  # whether it is run by another program than the task's own


FORMATS: dict[str, Format] = {
    "onnx": Format(".onnx", onnx_file.write, onnx_file.read, is_program=True),
    "torch": Format(".pt2", torch_file.write, torch_file.read, is_program=True),
    "safetensors": Format(".safetensors", safetensors_file.write, safetensors_file.read, is_program=False),
}


def is_program(path: Any) -> bool:
    """Whether a file of this name is run by another program than the task's own; those are at home on the CPU."""
    return any(kind.is_program for kind in FORMATS.values() if Path(path).suffix.lower() == kind.suffix)


def load_model(path: Any, device: str = "cpu") -> Model:
    """Return what an exported file or a checkpoint computes, by the ending of its name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not whole, or not one of ours; or it cannot be run here or on this device.
    """
    for kind in FORMATS.values():
        if Path(path).suffix.lower() == kind.suffix:
            if not Path(path).is_file():
                raise FileNotFoundError(f"there is no file {path}")
            with extra_needed():
                return kind.read(Path(path), device)
    return of_task(load_task(path, device), device)
