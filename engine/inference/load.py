"""Loading what predictions are made with: a checkpoint, or an exported file."""

from pathlib import Path
from typing import Any

from engine.contract.errors import UserError
from engine.contract.parts import load_task
from engine.export.formats import FORMATS
from engine.inference.model import Format, Model, extra_needed, of_task
from engine.inputs.reading import regular

FILES: tuple[Format, ...] = (*FORMATS.values(),)  # that are no checkpoints


def is_program(path: Any) -> bool:
    """Whether a file of this name holds a graph (ONNX, .pt2), which runs on the CPU by default."""
    kind = _format_of(path)
    return kind is not None and kind.is_program


def _format_of(path: Any) -> Format | None:
    return next((kind for kind in FILES if Path(path).suffix.lower() == kind.suffix), None)


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
    if kind.refusal:
        raise UserError(f"{path} {kind.refusal}")
    with extra_needed():
        return kind.read(regular(path), device)
