"""Exported files, in three formats: written from a task, and read to predict with."""

from pathlib import Path
from typing import Any, NamedTuple

from engine.contract.errors import UserError
from engine.contract.parts import load_task
from engine.export import onnx_file, safetensors_file, torch_file
from engine.export.model import Model, Read, Write, extra_needed, of_task
from engine.inputs.reading import regular


class Format(NamedTuple):
    """How files of a format are written and read."""

    suffix: str
    write: Write
    read: Read
    is_program: bool  # whether the file holds a graph instead of weights for the task's own network
    is_data: bool = True  # whether loading runs no code, so that files from strangers may be loaded


FORMATS: dict[str, Format] = {
    "onnx": Format(".onnx", onnx_file.write, onnx_file.read, is_program=True),
    "torch": Format(".pt2", torch_file.write, torch_file.read, is_program=True, is_data=False),
    "safetensors": Format(".safetensors", safetensors_file.write, safetensors_file.read, is_program=False),
}


def is_program(path: Any) -> bool:
    """Whether a file of this name holds a graph (ONNX, .pt2), which runs on the CPU by default."""
    kind = _format_of(path)
    return kind is not None and kind.is_program


def _format_of(path: Any) -> Format | None:
    return next((kind for kind in FORMATS.values() if Path(path).suffix.lower() == kind.suffix), None)


def load_model(path: Any, device: str = "cpu") -> Model:
    """Load an exported file, or a checkpoint if the name has none of the formats' suffixes.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: the file is damaged, was not exported by us, or cannot run on this machine or device.
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
