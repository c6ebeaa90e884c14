"""Box arithmetic. Boxes are xyxy: corners (x0, y0, x1, y1) in pixels, x0 < x1 and y0 < y1."""

import torch
from torch import Tensor


def paired_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the intersection over union of box a_i with box b_i: (..., 4) and (..., 4) -> (...), in [0, 1].

    Leading dimensions are broadcast: (N, M, 1, 4) and (N, 1, A, 4) give every pair, (N, M, A).
    """
    sides = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    both = sides[..., 0] * sides[..., 1]
    return both / (area(a) + area(b) - both).clamp(min=1e-9)


def area(boxes: Tensor) -> Tensor:
    """Return the area of each box: (..., 4) -> (...), in square pixels."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def cell_centres(sizes: list[tuple[int, int]], strides: list[int], like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the centres (A, 2) of all cells of several maps, as x, y in pixels, and their strides (A,).

    Cells are ordered by map, then by row.

    Args:
        sizes: (h, w) of each map.
        strides: stride of each map in pixels.
        like: a tensor on the device to use.
    """
    centres, sides = [], []
    for (height, width), stride in zip(sizes, strides, strict=True):
        y = (torch.arange(height, device=like.device, dtype=torch.float32) + 0.5) * stride
        x = (torch.arange(width, device=like.device, dtype=torch.float32) + 0.5) * stride
        centres.append(torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).view(-1, 2))  # (h * w, 2)
        sides.append(torch.full((height * width,), float(stride), device=like.device))
    return torch.cat(centres), torch.cat(sides)


def offsets_to_boxes(offsets: Tensor, centres: Tensor, strides: Tensor) -> Tensor:
    """Turn a detector's offsets at each cell into boxes: (N, A, 4) -> (N, A, 4) xyxy in pixels.

    Offsets are (dx, dy, log w, log h) in strides: from the cell's centre to the box's, and the box's size.
    Source: Ge et al. 2021, arXiv:2107.08430; there dx and dy are measured from the cell's corner.
    """
    middle = centres + offsets[..., :2] * strides[:, None]
    # e^10 strides are larger than any image; without the limit an untrained network could overflow.
    half = offsets[..., 2:].clamp(max=10).exp() * strides[:, None] / 2
    return torch.cat([middle - half, middle + half], dim=-1)
