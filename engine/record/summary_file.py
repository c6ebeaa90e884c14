"""Readers of a run's summary.json and figures.json, which check the type of every value.

A kind describes a value: a type, a mapping from keys to kinds, {...: kind} for any keys, or [kind] for a list.
"""

import json
import math
from pathlib import Path
from typing import Any

from engine.contract.errors import UserError
from engine.contract.registry import brief
from engine.errors import RunError, one_line
from engine.inputs.reading import read_text

NUMBER = int | float
SUMMARY = {
    **dict.fromkeys(("name", "task", "data", "backbone", "status", "error", "command"), str),
    **dict.fromkeys(("parameters", "epochs", "global_step", "seed"), int),
    **dict.fromkeys(("images_per_second", "peak_memory_mb"), NUMBER),
    "images": {...: int},
    "seconds": {...: NUMBER},
    "metrics": {...: NUMBER},
    "best": {"path": str, "metric": str, "value": NUMBER, "epoch": int},
    "git": {"commit": str, "changed": bool},
    "versions": {...: str},
    "hardware": {...: str | int},
}
FIGURES = {
    "measured": str,
    "classes": [{"class": str, "count": int, "recall": NUMBER, "precision": NUMBER}],
    "confused": [{"true": str, "predicted": str, "count": int}],
    "mistakes": [{"true": str, "predicted": str, "probability": NUMBER}],
}


def read_summary(folder: Path) -> dict[str, Any]:
    """Return a run's summary.json, or {} without one; a missing value is None, or an empty mapping or list.

    Raises:
        RunError: the file cannot be read, or a value has the wrong type.
    """
    return _read(folder / "summary.json", SUMMARY)


def read_figures(folder: Path) -> dict[str, Any]:
    """Return the numbers of a report's figures, plots/figures.json; otherwise like `read_summary`."""
    return _read(folder / "plots" / "figures.json", FIGURES)


def _read(path: Path, kind: dict[str, Any]) -> dict[str, Any]:
    try:
        content = json.loads(read_text(path), parse_constant=lambda name: None)  # JSON has neither nan nor infinity
        return dict(_checked(content, kind, "it"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise RunError(f"{path} cannot be read ({reason}); delete it to go on without it") from error


def _checked(value: Any, kind: Any, place: str) -> Any:
    """Return a value without unknown keys, and with empty values for missing ones.

    Raises:
        UserError: names the place of a value of another kind.
    """
    if isinstance(kind, dict):
        value = {} if value is None else value
        if isinstance(value, dict):
            own = dict.fromkeys(value, kind[...]) if ... in kind else kind
            return {key: _checked(value.get(key), inner, f"{place}.{key}") for key, inner in own.items()}
    elif isinstance(kind, list):
        value = [] if value is None else value
        if isinstance(value, list):
            return [_checked(inner, kind[0], f"{place}[{i}]") for i, inner in enumerate(value)]
    elif value is None or (isinstance(value, kind) and (kind is bool or not isinstance(value, bool))):
        if isinstance(value, int | float) and not _is_real(value):
            raise UserError(f"{place.removeprefix('it.')} is {brief(value)}, a number out of range")
        return value
    names = {dict: "a mapping", list: "a list", str: "a text", int: "a whole number", bool: "true or false"}
    expected = names.get(type(kind) if isinstance(kind, dict | list) else kind, "a number")
    raise UserError(f"{place.removeprefix('it.')} is {brief(value)}, expected {expected}")


def _is_real(value: float) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False
