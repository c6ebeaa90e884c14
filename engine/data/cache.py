"""A cache of decoded samples in memory that all workers share."""

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
SHARE = 0.5  # largest share of the free memory that 'auto' uses


class Cache:
    """Room for `num` samples, each of tensors with the same shapes and types, filled as samples are read.

    The memory is mapped, not allocated: only written pages take memory, and processes forked later share it.
    Two processes that fill an entry at once write the same bytes, so no lock is needed.

    Args:
        num: number of samples.
        specs: shape and type of each tensor of a sample.
    """

    def __init__(self, num: int, specs: Sequence[Spec]) -> None:
        self._filled = _shared(num, torch.uint8, (num,))
        self._planes = [_shared(num * math.prod(shape), kind, (num, *shape)) for shape, kind in specs]

    def get(self, index: int) -> list[Tensor] | None:
        """Return a sample's tensors as views, which must not be written to, or None if it is not cached."""
        return [plane[index] for plane in self._planes] if self._filled[index] else None

    def put(self, index: int, planes: Planes) -> None:
        """Store a sample's tensors."""
        for kept, plane in zip(self._planes, planes, strict=True):
            kept[index] = plane
        self._filled[index] = 1  # last, so that a reader who sees it finds the tensors in place


def cache_bytes(num: int, specs: Sequence[Spec]) -> int:
    """Return the size of a cache of `num` samples, in bytes."""
    return num * (1 + sum(math.prod(shape) * kind.itemsize for shape, kind in specs))


def wants_cache(mode: CacheMode, needed: int, processes: int = 1) -> bool:
    """Whether to cache `needed` bytes in each process; 'auto' does if all caches fit into half of the free memory.

    Raises:
        UserError: unknown mode, or 'ram' needs more memory than is free.
    """
    if mode not in ("auto", "ram", "none"):
        raise UserError(f"cache is auto, ram or none, got {mode!r}")
    if mode == "none" or not FORKS:  # workers that are not forked could not share it
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
