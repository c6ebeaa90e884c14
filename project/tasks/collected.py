"""Collects what was predicted and what is true, for measures that need all images at once.

N images, K classes or numbers per image.
"""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class Collected(Metric):
    """Rows (N, 2, K): predicted and true values of each image."""

    full_state_update = False
    rows: list[Tensor]

    def __init__(self, num_outputs: int) -> None:
        super().__init__()
        self.num_outputs = num_outputs
        self.add_state("rows", [], dist_reduce_fx="cat")

    def update(self, rows: Tensor) -> None:
        self.rows.append(rows)

    def compute(self) -> Tensor:
        return dim_zero_cat(self.rows if len(self.rows) else [torch.zeros(0, 2, self.num_outputs)]).cpu()
