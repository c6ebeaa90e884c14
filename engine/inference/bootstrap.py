"""Bootstrap intervals: how much a measure depends on the choice of the test images. N images."""

import collections
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

SHARE = 0.95  # of the resampled values, within an interval


def intervals(
    measure: Callable[[Tensor], Mapping[str, float]], num_images: int, resamples: int, seed: int
) -> dict[str, tuple[float, float]]:
    """Return the 95 % percentile interval of each measure: (low, high).

    Each resample draws N of the N images with replacement and measures on them.
    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3.

    Args:
        measure: returns measures by name, given the count of each image in a resample: float64 (N,).
        num_images: N.
        resamples: number of resamples.
        seed: determines the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    values = collections.defaultdict(list)
    for _ in range(resamples):
        drawn = torch.randint(num_images, (num_images,), generator=generator)
        for name, value in measure(drawn.bincount(minlength=num_images).double()).items():
            values[name].append(value)
    ends = torch.tensor([(1 - SHARE) / 2, (1 + SHARE) / 2], dtype=torch.float64)
    found = {}
    for name, each in values.items():
        low, high = torch.tensor(each, dtype=torch.float64).nanquantile(ends).tolist()
        found[name] = (low, high)
    return found
