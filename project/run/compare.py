"""Whether two checkpoints are equal to the last bit: what scripts/compare.py does."""

import sys
from typing import Any

import torch

from project.checkpoint_file import read_checkpoint
from project.run.errors import UsageError
from project.run.terminal import say

SHOWN = 20  # differences that are printed


def main(arguments: list[str]) -> None:
    """Print 'identical', or where two checkpoints differ; exit with status 1 if they do.

    Raises:
        UsageError: there are not two checkpoints to compare.
    """
    if len(arguments) != 2 or arguments[0].startswith("-"):
        raise UsageError("expected two checkpoints: compare.py A/last.ckpt B/last.ckpt")
    try:
        first, second = (read_checkpoint(path) for path in arguments)
    except (OSError, ValueError) as error:
        raise UsageError(str(error)) from error
    found = differences(first, second)
    if not found:
        say("identical")
        return
    say(f"{len(found)} differences:")
    for place in found[:SHOWN]:
        say(f"  {place}")
    if len(found) > SHOWN:
        say("  ...")
    sys.exit(1)


def differences(a: Any, b: Any, place: str = "") -> list[str]:
    """Return where two checkpoints differ, to the last bit, except for what only names the run and its folder."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return [] if a.dtype == b.dtype and torch.equal(a, b) else [place]
    if isinstance(a, dict) and isinstance(b, dict):
        keys = [key for key in {**a, **b} if not (place == "" and key == "run")]
        missing = [f"{place}/{key}" for key in keys if (key in a) != (key in b)]
        return missing + [d for k in keys if k in a and k in b for d in differences(a[k], b[k], f"{place}/{k}")]
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        return [d for i, (x, y) in enumerate(zip(a, b, strict=True)) for d in differences(x, y, f"{place}/{i}")]
    return [] if type(a) is type(b) and a == b else [place]
