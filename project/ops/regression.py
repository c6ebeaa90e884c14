"""Measures of predicted numbers.

N images, K numbers per image.
"""

import torch
from torch import Tensor

CONSTANT = 1e-12  # variance of true numbers, in units of the training images', below which they are all the same


def errors(predicted: Tensor, true: Tensor, times: Tensor) -> dict[str, Tensor]:
    """Return `mae`, `rmse` and `r2` of each number (K,), float64.

    `r2` is the coefficient of determination, 1 minus the squared error's share of the variance of the true numbers: 1
    for a perfect prediction, 0 for always their mean. It is nan if the true numbers are all the same.

    Args:
        predicted, true: (N, K), in units of about the true numbers' standard deviation.
        times: how often each image counts (N,).
    """
    weights = times.double() / times.sum()
    apart = (predicted - true).double()
    variance = weights @ (true.double() - weights @ true.double()).square()
    squared = weights @ apart.square()
    r2 = torch.where(variance > CONSTANT, 1 - squared / variance, torch.nan)
    return {"mae": weights @ apart.abs(), "rmse": squared.sqrt(), "r2": r2}
