"""Weights by which samples are drawn so that training sees rare classes as often as common ones.

N samples, K classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def balanced_weights(shown: Sequence[Tensor], num_classes: int) -> Tensor:
    """Return a weight for each sample (N,): the inverse number of samples that show its rarest class.

    A sample without any class weighs as much as one of the commonest class.

    Args:
        shown: for each sample the numbers of the classes in it, int64, repeated or not.
        num_classes: K.
    """
    counts = torch.zeros(num_classes, dtype=torch.int64)
    sets = [classes.unique() for classes in shown]
    for classes in sets:
        counts[classes] += 1
    commonest = max(1, int(counts.max()))
    return torch.tensor(
        [1 / (int(counts[classes].min()) if len(classes) else commonest) for classes in sets], dtype=torch.float64
    )
