"""What a .pt2 file may hold before torch is let at it: its loader runs pickles, and evaluates text as Python."""

import io
import json
import pickle
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

# Operations of torch itself on tensors, the loop of a detector, and arithmetic on sizes.
TARGETS = re.compile(
    r"torch\.ops\.aten\.\w+(\.\w+)?|torch\.ops\.higher_order\.(while_loop|cond)|(_operator|math)\.\w+|torch\.sym_\w+"
)
# A size: names, numbers and arithmetic, without quotes, brackets or attributes that could lead further.
SYMBOL = re.compile(r"Symbol\('\w+'(, (positive|integer|nonnegative)=True)*\)")
EXPRESSION = re.compile(r"(?!.*__)[\w\s+\-*/(),<>=]*")


def check_harmless(path: Path) -> None:
    """Refuse a .pt2 that holds anything but tensors and a graph of torch's own operations.

    Raises:
        ValueError: names the file and what is in it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for part in archive.namelist():
                _check_part(part, archive.read(part))
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise ValueError(f"{path} is not loaded: {' '.join(str(error).split())[:200]}") from error


def _check_part(name: str, content: bytes) -> None:
    folder = name.split("/", 1)[-1]
    if folder.startswith("extra/") or not content:
        return
    if folder.startswith(("data/aotinductor", "executorch")) or "_obj_" in folder:
        raise ValueError(f"its part {name} is a program or an object, not a tensor")
    if name.endswith(".pt"):
        try:
            torch.load(io.BytesIO(content), weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise ValueError(f"its part {name} holds more than tensors") from error
    if name.endswith(".json"):
        for key, value in _entries(json.loads(content)):
            if key == "target" and not TARGETS.fullmatch(str(value)):
                raise ValueError(f"it calls {value!r}, which is no operation on tensors")
            if key == "expr_str" and not EXPRESSION.fullmatch(SYMBOL.sub("", str(value))):
                raise ValueError(f"one of its sizes is {value!r}")
            if key == "use_pickle" and value:
                raise ValueError("it holds weights as pickles")


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key and its value, at any depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from _entries(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _entries(inner)
