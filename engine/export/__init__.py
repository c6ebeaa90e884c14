"""Files that predict without training's surroundings: from a task to a file of one of three formats, and back."""

from pathlib import Path
from typing import Any, NamedTuple

from engine.contract.errors import UserError
from engine.contract.parts import load_task
from engine.export import onnx_file, safetensors_file, torch_file
from engine.export.model import Model, Read, Write, extra_needed, of_task
from engine.inputs.reading import regular


class Format(NamedTuple):
    """How a file is written and read."""

    suffix: str
    write: Write
    read: Read
    is_program: bool  # whether it is run by another program than the task's own
    is_data: bool = True  # whether loading it runs nothing, so that files of others may be loaded


FORMATS: dict[str, Format] = {
    "onnx": Format(".onnx", onnx_file.write, onnx_file.read, is_program=True),
    "torch": Format(".pt2", torch_file.write, torch_file.read, is_program=True, is_data=False),
    "safetensors": Format(".safetensors", safetensors_file.write, safetensors_file.read, is_program=False),
}


def is_program(path: Any) -> bool:
    """Whether a file of this name is run by another program than the task's own; those are at home on the CPU."""
    kind = _format_of(path)
    return kind is not None and kind.is_program


def _format_of(path: Any) -> Format | None:
    return next((kind for kind in FORMATS.values() if Path(path).suffix.lower() == kind.suffix), None)


def load_model(path: Any, device: str = "cpu") -> Model:
    """Return what an exported file or a checkpoint computes, by the ending of its name.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: the file is not whole, or not one of ours; or it cannot be run here or on this device.
    """
    kind = _format_of(path)
    if kind is None:
        return of_task(load_task(path, device), device)
    if not Path(path).exists():
        raise FileNotFoundError(f"there is no file {path}")
    if not kind.is_data:
        raise UserError(
            f"{path} is a program that loading would run, so it is not loaded here: use its checkpoint, or export it "
            "as ONNX; docs/export.md shows how to load a .pt2 of your own"
        )
    with extra_needed():
        return kind.read(regular(path), device)
