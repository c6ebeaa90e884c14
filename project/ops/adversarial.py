"""Losses of a generator, which makes images, and of a discriminator, which tells them from real ones.

Scores are the discriminator's outputs for images or their patches, a tensor of any shape; higher means more real.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


class Adversary(NamedTuple):
    """The losses of both networks, and the score above which an image counts as real."""

    discriminator_loss: Callable[[Tensor, Tensor], Tensor]  # (scores of real images, of made images) -> scalar
    generator_loss: Callable[[Tensor], Tensor]  # scores of made images -> scalar
    threshold: float


def discriminator_least_squares(real: Tensor, made: Tensor) -> Tensor:
    """Return half the sum of two mean squared distances: of real scores from 1, and of made ones from 0."""
    return ((real - 1).square().mean() + made.square().mean()) / 2


def generator_least_squares(made: Tensor) -> Tensor:
    """Return the mean squared distance of scores from 1."""
    return (made - 1).square().mean()


def discriminator_hinge(real: Tensor, made: Tensor) -> Tensor:
    """Return half the sum of two hinge losses: the means of max(0, 1 - real) and of max(0, 1 + made)."""
    return (F.relu(1 - real).mean() + F.relu(1 + made).mean()) / 2


def generator_hinge(made: Tensor) -> Tensor:
    """Return the negative mean score."""
    return -made.mean()


ADVERSARIES: dict[str, Adversary] = {
    # Source: Mao et al. 2017, arXiv:1611.04076.
    "least_squares": Adversary(discriminator_least_squares, generator_least_squares, 0.5),
    # Source: Lim and Ye 2017, arXiv:1705.02894.
    "hinge": Adversary(discriminator_hinge, generator_hinge, 0.0),
}


def discriminator_accuracy(real: Tensor, made: Tensor, threshold: float) -> Tensor:
    """Return the balanced accuracy, in 0..1: the mean of the shares of real and made scores on their right side."""
    return ((real > threshold).float().mean() + (made <= threshold).float().mean()) / 2
