"""What a generator and a discriminator learn from: one makes images, the other tells them from real ones.

Scores are what the discriminator says of images or of their patches, a tensor of any shape; higher is more real.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


class Adversary(NamedTuple):
    """The losses of both sides, and the score above which something counts as taken for real."""

    discriminator_loss: Callable[[Tensor, Tensor], Tensor]  # scalar, of the scores of real and of made images
    generator_loss: Callable[[Tensor], Tensor]  # scalar, of the scores of made images
    threshold: float


def discriminator_least_squares(real: Tensor, made: Tensor) -> Tensor:
    """Return half the squared distance of scores from 1 for real and from 0 for made images."""
    return ((real - 1).square().mean() + made.square().mean()) / 2


def generator_least_squares(made: Tensor) -> Tensor:
    """Return the squared distance of scores from 1."""
    return (made - 1).square().mean()


def discriminator_hinge(real: Tensor, made: Tensor) -> Tensor:
    """Return half of what scores are below 1 for real and above -1 for made images."""
    return (F.relu(1 - real).mean() + F.relu(1 + made).mean()) / 2


def generator_hinge(made: Tensor) -> Tensor:
    """Return how low scores are."""
    return -made.mean()


ADVERSARIES: dict[str, Adversary] = {
    # Source: Mao et al. 2017, arXiv:1611.04076.
    "least_squares": Adversary(discriminator_least_squares, generator_least_squares, 0.5),
    # Source: Lim and Ye 2017, arXiv:1705.02894.
    "hinge": Adversary(discriminator_hinge, generator_hinge, 0.0),
}


def discriminator_accuracy(real: Tensor, made: Tensor, threshold: float) -> Tensor:
    """Return the share, in 0..1, of scores on the right side of the threshold; real and made ones weigh the same."""
    return ((real > threshold).float().mean() + (made <= threshold).float().mean()) / 2
