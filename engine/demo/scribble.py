"""Scaling and centring drawn digits like MNIST's.

(H, W) size in pixels.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

SHARE = 20 / 28  # length of a digit's longer side relative to the image's
INK = 32  # brightness above which a pixel counts as drawn


def like_mnist(drawing: Tensor, size: Sequence[int]) -> Tensor:
    """Scale and move a drawing like MNIST's digits: to 20 of 28 pixels, with its centre of mass in the middle.

    Source: LeCun, Cortes and Burges, the MNIST database. An empty drawing stays empty.

    Args:
        drawing: uint8 (h, w), light on black.
        size: (H, W) of the result.

    Returns:
        uint8 (H, W).
    """
    rows, columns = (torch.nonzero((drawing > INK).any(dim=side)).flatten() for side in (1, 0))
    canvas = torch.zeros(size[0], size[1], dtype=torch.uint8)
    if not len(rows):
        return canvas
    digit = drawing[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = SHARE * min(size) / max(digit.shape)
    high, wide = (max(1, round(side * scale)) for side in digit.shape)
    digit = scaled(digit, (high, wide))
    top, left = (
        min(max(0, round(whole / 2 - _centre(digit, side))), whole - digit.shape[side])
        for side, whole in enumerate(size)
    )
    canvas[top : top + high, left : left + wide] = digit
    return canvas


def scaled(drawing: Tensor, size: Sequence[int]) -> Tensor:
    """Scale a drawing, uint8 (h, w), to `size` = (H, W), bilinear with antialiasing."""
    return F.interpolate(drawing[None, None], size=tuple(size), mode="bilinear", antialias=True)[0, 0]


def _centre(digit: Tensor, side: int) -> float:
    """Return the centre of mass along a dimension, as a row or column number."""
    mass = digit.sum(dim=1 - side, dtype=torch.float32)
    return float((mass * torch.arange(len(mass))).sum() / mass.sum().clamp(min=1))
