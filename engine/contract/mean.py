"""A mean over a validation or test."""

import torch
from torch import Tensor
from torchmetrics import Metric


class Mean(Metric):
    """The weighted mean of all values, over all processes.

    torchmetrics' `MeanMetric` waits for the device to look for nan, or, with nan_strategy="disable" (1.9), ignores the
    weights.
    """

    total: Tensor
    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("weight", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, value: Tensor | float, weight: Tensor | float = 1.0) -> None:
        """Add values, of any shape, with a weight that fits that shape."""
        dtype, device = self.total.dtype, self.total.device
        value = torch.as_tensor(value, dtype=dtype, device=device)
        weights = torch.as_tensor(weight, dtype=dtype, device=device).expand(value.shape)
        self.total += (value * weights).sum()
        self.weight += weights.sum()

    def compute(self) -> Tensor:
        return self.total / self.weight
