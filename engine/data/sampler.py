"""The order of training as a pure function of (seed, epoch), for any number of processes.

Because nothing is drawn while training, an order can be found again at any point. So a run can resume in the middle of
an epoch with exactly the batches that it had not seen.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Sampler

from engine.contract.errors import UserError


class EpochBatchSampler(Sampler[list[Any]]):
    """Batches of indices for one of `world_size` processes; every index is used once per epoch, without weights.

    Batch sizes differ by at most one, so there is no tiny last batch, nothing is dropped or repeated, and every process
    takes the same number of steps. The indices of a step, over all processes, depend on the number of steps in the
    epoch, not on the number of processes.

    Args:
        num_samples: size of the data set.
        batch_size: largest batch of one process.
        shuffle: a new order each epoch; otherwise the natural order.
        seed: determines the order, together with the epoch.
        rank: number of this process, from 0.
        world_size: number of processes that share the data.
        name_epoch: yield pairs (epoch, index) instead of indices, for a data set whose augmentation depends on both.
        weights: (num_samples,) relative probability of each index: each epoch then draws `num_samples` indices with
            replacement, so some repeat and others are missing. Only with `shuffle`.

    Raises:
        UserError: `batch_size` is below 1, or there are more processes than samples.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        name_epoch: bool = False,
        weights: Tensor | None = None,
    ) -> None:
        if batch_size < 1:
            raise UserError(f"batch_size must be 1 or more, got {batch_size}")
        if num_samples < world_size:
            raise UserError(f"{num_samples} images cannot be split among {world_size} processes: use fewer processes")
        self.num_samples = num_samples
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.name_epoch = name_epoch
        self.weights = weights
        # At least one index per process and step; the second bound matters only for tiny data sets.
        self.num_batches = min(math.ceil(num_samples / (batch_size * world_size)), num_samples // world_size)
        self.smallest_batch = num_samples // (self.num_batches * world_size)
        self.epoch = 0
        self._skip = 0

    @property
    def sampler(self) -> "EpochBatchSampler":
        """This object: Lightning announces the epoch to `loader.batch_sampler.sampler`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, and so the order, of the next iterations."""
        self.epoch = epoch

    def skip_once(self, batches: int) -> None:
        """Skip the first `batches` batches of the next iteration, which were trained on before a resume."""
        self._skip = batches

    def __len__(self) -> int:
        """Number of batches in a whole epoch, whatever the next iteration skips."""
        return self.num_batches

    def __iter__(self) -> Iterator[list[Any]]:
        if self.shuffle:
            generator = torch.Generator().manual_seed(mix(self.seed, self.epoch))
            if self.weights is None:
                order = torch.randperm(self.num_samples, generator=generator)
            else:  # by inverting the distribution, because torch.multinomial takes at most 2^24 weights
                shares = self.weights.cumsum(0)
                drawn = torch.rand(self.num_samples, generator=generator, dtype=torch.float64) * shares[-1]
                order = torch.searchsorted(shares, drawn, right=True).clamp(max=self.num_samples - 1)
        else:
            order = torch.arange(self.num_samples)
        skip, self._skip = self._skip, 0
        # An index that is drawn several times is told apart by its place in the order.
        rows = [order] if self.weights is None else [order, torch.arange(self.num_samples)]
        for steps in zip(*(row.tensor_split(self.num_batches)[skip:] for row in rows), strict=True):
            share = [step.tensor_split(self.world_size)[self.rank].tolist() for step in steps]
            yield [(self.epoch, *where) for where in zip(*share, strict=True)] if self.name_epoch else share[0]


def spread(max_num: int, length: int) -> list[int]:
    """Return up to `max_num` indices of `length` samples, evenly spaced from the first to the last."""
    return torch.linspace(0, length - 1, min(max_num, length)).round().long().tolist()


def mix(*numbers: int) -> int:
    """Mix numbers into one 63-bit seed, so that similar numbers give unrelated random streams.

    Source: the finaliser of SplitMix64, Steele et al. 2014, doi:10.1145/2714064.2660195.
    """
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1
