"""scripts/compare.py: tells whether two checkpoints are equal bit for bit."""

import sys
from typing import Any

import torch

from engine.config.arguments import compare_arguments
from engine.contract.errors import UserError
from engine.errors import UsageError, one_line
from engine.resume.checkpoint_file import read_checkpoint
from engine.terminal import say

SHOWN = 20  # differences printed


def main(arguments: list[str]) -> None:
    """Print 'identical', or the places where two checkpoints differ; exit with status 1 if they do.

    Raises:
        UsageError: a checkpoint cannot be read.
    """
    given = compare_arguments(arguments)
    try:
        first, second = (read_checkpoint(path) for path in (given.first, given.second))
    except (OSError, UserError) as error:
        raise UsageError(one_line(error)) from error
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


def differences(first: Any, second: Any) -> list[str]:
    """Return the places where two checkpoints differ in any bit, ignoring the run's own record under `run`."""
    found = []
    left = [(first, second, "")]
    seen = set()  # one object can occur in many places, even within itself
    while left:
        a, b, place = left.pop()
        if isinstance(a, dict) and isinstance(b, dict):
            if (id(a), id(b)) not in seen:
                keys = [key for key in {**a, **b} if not (place == "" and key == "run")]
                found += [f"{place}/{key}" for key in keys if (key in a) != (key in b)]
                left += [(a[key], b[key], f"{place}/{key}") for key in reversed(keys) if key in a and key in b]
        elif isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
            if (id(a), id(b)) not in seen:
                left += [(a[i], b[i], f"{place}/{i}") for i in reversed(range(len(a)))]
        elif not _same(a, b):
            found.append(place)
        seen.add((id(a), id(b)))
    return found


def _same(a: Any, b: Any) -> bool:
    """Whether two values have the same bits: nan is nan, and 0 is not -0."""
    if not isinstance(a, torch.Tensor) or not isinstance(b, torch.Tensor):
        return type(a) is type(b) and (repr(a) == repr(b) if isinstance(a, float) else bool(a == b))
    if (a.dtype, a.shape, a.layout, a.is_meta) != (b.dtype, b.shape, b.layout, b.is_meta):
        return False
    if a.is_meta:
        return True
    if a.is_quantized:
        return torch.equal(a, b)
    if a.layout != torch.strided:
        return not differences(a.__reduce_ex__(2)[1], b.__reduce_ex__(2)[1])  # compare its component tensors
    # A dimension of stride 0 repeats the same numbers, possibly a huge number of times: compare them once.
    once = tuple(0 if steps == (0, 0) else slice(None) for steps in zip(a.stride(), b.stride(), strict=True))
    return torch.equal(*(tensor[once].contiguous().flatten().view(torch.uint8) for tensor in (a, b)))
