"""What a head is."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn


class Head(nn.Module):
    """Turns a backbone's maps into the task's output, asking only for their channels and strides."""

    def forward(self, features: Sequence[Tensor], image_size: tuple[int, int]) -> Any:
        """Return raw outputs for the maps, fine to coarse, of images of `image_size` = (H, W) pixels."""
        raise NotImplementedError

    def decode(self, raw: Any) -> Any:
        """Return what a person asks for, given raw outputs."""
        raise NotImplementedError
