"""Whole runs on the stand-in for MNIST in this process, and what they left behind."""

import csv
import json
from typing import Any

import torch

from project.run import train
from tests.tiny import QUICK


def run(*arguments: object) -> None:
    """Run scripts/train.py's main function with quick settings; a person's flags win over them."""
    train.main([*QUICK, *map(str, arguments)])


def read_metrics(name: str) -> list[dict[str, str]]:
    """Return the lines of a run's metrics.csv."""
    with open(f"checkpoints/{name}/metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def read_summary(name: str) -> dict[str, Any]:
    """Return a run's summary.json."""
    with open(f"checkpoints/{name}/summary.json") as file:
        return json.load(file)


def differences(a: Any, b: Any, place: str = "") -> list[str]:
    """Return where two checkpoints differ, to the last bit, except for what names the run and its place."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return [] if a.dtype == b.dtype and torch.equal(a, b) else [place]
    if isinstance(a, dict) and isinstance(b, dict):
        keys = [key for key in {**a, **b} if not (place == "" and key == "run")]
        missing = [f"{place}/{key}" for key in keys if (key in a) != (key in b)]
        return missing + [d for k in keys if k in a and k in b for d in differences(a[k], b[k], f"{place}/{k}")]
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        return [d for i, (x, y) in enumerate(zip(a, b, strict=True)) for d in differences(x, y, f"{place}/{i}")]
    return [] if type(a) is type(b) and a == b else [place]


def same(a: Any, b: Any) -> bool:
    """Whether two checkpoints are equal to the last bit, except for what names the run and its place."""
    return not differences(a, b)
