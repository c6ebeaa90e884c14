"""What was decoded once, kept in memory that all processes loading batches share."""

import math
import mmap
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from engine.contract.errors import UserError
from engine.machine import FORKS, available_memory

Planes = Sequence[Tensor]
Spec = tuple[tuple[int, ...], torch.dtype]  # shape and type of one tensor of a sample
CacheMode = Literal["auto", "ram", "none"]
SHARE = 0.5  # of the memory that is free: how much a cache may take unasked


class Cache:
    """Room for `num` samples of the same few tensors each, filled as they come.

    The memory is mapped, not allocated: it takes only what was written, and a process forked later writes into it too.
    Two processes that fill an entry at once write the same bytes, so nothing has to be locked.

    Args:
        num: number of samples.
        specs: shape and type of each tensor of a sample.
    """

    def __init__(self, num: int, specs: Sequence[Spec]) -> None:
        self._filled = _shared(num, torch.uint8, (num,))
        self._planes = [_shared(num * math.prod(shape), kind, (num, *shape)) for shape, kind in specs]

    def get(self, index: int) -> list[Tensor] | None:
        """Return the tensors kept of a sample, as views that are not to be written to, or None."""
        return [plane[index] for plane in self._planes] if self._filled[index] else None

    def put(self, index: int, planes: Planes) -> None:
        """Keep the tensors of a sample."""
        for kept, plane in zip(self._planes, planes, strict=True):
            kept[index] = plane
        self._filled[index] = 1  # last: whoever reads it finds the rest in place


def cache_bytes(num: int, specs: Sequence[Spec]) -> int:
    """Return how many bytes `num` samples take."""
    return num * (1 + sum(math.prod(shape) * kind.itemsize for shape, kind in specs))


def wants_cache(mode: CacheMode, needed: int, processes: int = 1) -> bool:
    """Whether to keep `needed` bytes in memory: with 'auto', where half of what is free holds that for each process.

    Raises:
        UserError: 'ram' was asked for, and there is less than that.
    """
    if mode not in ("auto", "ram", "none"):
        raise UserError(f"cache is auto, ram or none, got {mode!r}")
    if mode == "none" or not FORKS:  # loading processes that are not forked could not share it
        return False
    free = available_memory()
    if mode == "ram" and needed * processes > free:
        raise UserError(
            f"cache ram: the images take {needed * processes / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free: "
            "use a smaller image_size, or leave cache out"
        )
    return mode == "ram" or needed * processes <= SHARE * free


def _shared(count: int, kind: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    block = mmap.mmap(-1, max(1, count * kind.itemsize))
    return torch.from_numpy(np.frombuffer(block, dtype=np.uint8)).view(kind)[:count].view(shape)
