"""Whole runs on the stand-in for MNIST in this process, and what they left behind."""

import csv
import json
from typing import Any

from project.run import train
from project.run.compare import differences
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


def same(a: Any, b: Any) -> bool:
    """Whether two checkpoints are equal to the last bit, except for what names the run and its place."""
    return not differences(a, b)
