"""The classification head: the coarsest map -> one score per class, through fully connected layers.

N images, K classes, (h, w) the coarsest map's size.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from engine.contract.errors import UserError
from engine.contract.heads import ClassHead
from project.layers import activation_pieces, build_activation, check_dropout, check_positive


class DenseHead(ClassHead):
    """Average the coarsest map to `grid` x `grid` cells, flatten, and score with fully connected layers.

    With one cell this is global average pooling. More cells keep the position of things in the image. A map of exactly
    `grid` x `grid` pixels is only flattened, like the 4 x 4 map of the lecture's network.

    Args:
        channels: channels of the backbone's maps.
        strides: strides of the backbone's maps in pixels.
        num_outputs: number of classes.
        grid: cells per side to which the coarsest map is averaged.
        hidden: units of a hidden layer, 0 for none.
        activation: activation after the hidden layer, by name.
        dropout: probability, in [0, 1), of dropping a unit before the last layer.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        num_outputs: int,
        grid: int = 1,
        hidden: int = 0,
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_positive("grid", grid)
        check_positive("num_outputs", num_outputs)
        if hidden < 0:
            raise UserError(f"hidden is a number of units, 0 for no hidden layer, got {hidden}")
        self.grid = grid
        layers: list[nn.Module] = []
        units = channels[-1] * grid * grid
        if hidden:
            layers.append(nn.Linear(units, hidden * activation_pieces(activation)))
            layers.append(build_activation(activation))
            units = hidden
        if check_dropout(dropout):
            layers.append(nn.Dropout(dropout))
        layers.append(nn.Linear(units, num_outputs))
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Sequence[Tensor], image_size: tuple[int, int]) -> Tensor:
        """Return logits (N, K). `image_size` = (H, W) is unused; every head gets it."""
        coarsest = features[-1]
        if coarsest.shape[-2:] != (self.grid, self.grid):
            coarsest = F.adaptive_avg_pool2d(coarsest, self.grid)
        return self.layers(coarsest.flatten(1))
