"""The order of training, as a pure function of (seed, epoch), whatever the number of processes.

Because nothing is drawn while training goes on, an order can be found again at any point: that is what lets a run
continue in the middle of an epoch with exactly the batches it had not seen.
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

    Batches differ by at most one index in size, so there is no tiny last batch, nothing is dropped or repeated, and
    every process takes the same number of steps. The indices of a step, those of all processes together, depend on
    how many steps the epoch has, and not on how many processes share them.

    Args:
        num_samples: size of the data set.
        batch_size: largest batch of one process.
        shuffle: a new order each epoch; otherwise the natural one.
        seed: with the epoch, determines the order.
        rank: which of the processes this is, from 0.
        world_size: how many processes share the data.
        name_epoch: yield pairs (epoch, index) instead of indices, for a data set that varies its samples by both.
        weights: (num_samples,) how likely each index is: an epoch then has as many, drawn anew for each, so that some
            come several times and others not. Only with `shuffle`.
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
            raise UserError(f"{num_samples} images cannot be shared by {world_size} processes: use fewer processes")
        self.num_samples = num_samples
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.name_epoch = name_epoch
        self.weights = weights
        # At least one index for each process in each step: the last condition matters for tiny data sets only.
        self.num_batches = min(math.ceil(num_samples / (batch_size * world_size)), num_samples // world_size)
        self.smallest_batch = num_samples // (self.num_batches * world_size)
        self.epoch = 0
        self._skip = 0

    @property
    def sampler(self) -> "EpochBatchSampler":
        """Itself: Lightning announces the epoch to `loader.batch_sampler.sampler`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the iterations that follow."""
        self.epoch = epoch

    def skip_once(self, batches: int) -> None:
        """Leave out the first `batches` batches of the next iteration: they were trained on before a resume."""
        self._skip = batches

    def __len__(self) -> int:
        """Batches in a whole epoch, whatever the next iteration skips."""
        return self.num_batches

    def __iter__(self) -> Iterator[list[Any]]:
        if self.shuffle:
            generator = torch.Generator().manual_seed(mix(self.seed, self.epoch))
            if self.weights is None:
                order = torch.randperm(self.num_samples, generator=generator)
            else:  # by inverting the distribution: torch.multinomial takes no more than 2^24 weights
                shares = self.weights.cumsum(0)
                drawn = torch.rand(self.num_samples, generator=generator, dtype=torch.float64) * shares[-1]
                order = torch.searchsorted(shares, drawn, right=True).clamp(max=self.num_samples - 1)
        else:
            order = torch.arange(self.num_samples)
        skip, self._skip = self._skip, 0
        for step in order.tensor_split(self.num_batches)[skip:]:
            share = step.tensor_split(self.world_size)[self.rank].tolist()
            yield [(self.epoch, index) for index in share] if self.name_epoch else share


def mix(*numbers: int) -> int:
    """Make one 63-bit seed of several numbers, so that near ones give unrelated random streams.

    Source: the finaliser of SplitMix64, Steele et al. 2014, doi:10.1145/2714064.2660195.
    """
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1
