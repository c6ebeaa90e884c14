"""Tiles: overlapping parts of a large picture, and the whole made of their answers.

K values per pixel, (H, W) is a picture's size in pixels, M boxes are (M, 4) xyxy in pixels.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import box_iou

from engine.inputs.boxes import area, paired_iou

NEAR = 0.02  # share of a tile's side within which a box touches its edge
SAME = 0.5  # overlap above which boxes of two tiles are of the same object


class Tile(NamedTuple):
    """A rectangle of a picture, in its pixels."""

    top: int
    left: int
    high: int
    wide: int


def tiles_of(size: Sequence[int], side: int, overlap: float) -> Iterator[Tile]:
    """Yield the tiles that cover a picture of `size` = (H, W), row by row, evenly spaced and all of one size.

    Args:
        size: (H, W).
        side: height and width of a tile in pixels; where the picture is smaller, the tile is as well.
        overlap: smallest overlap of neighbours, as a share of a tile in [0, 1).
    """
    high, wide = (min(side, whole) for whole in size)
    for top, left in itertools.product(_starts(size[0], high, overlap), _starts(size[1], wide, overlap)):
        yield Tile(top, left, high, wide)


def _starts(whole: int, side: int, overlap: float) -> list[int]:
    step = max(1, math.floor(side * (1 - overlap)))
    gaps = math.ceil((whole - side) / step)
    return [round(i * (whole - side) / gaps) for i in range(gaps + 1)] if gaps else [0]


def blended(tiles: Iterable[tuple[Tile, Tensor]], width: int) -> Iterator[Tensor]:
    """Yield a picture's values in bands (K, h, width) from top to bottom, from the values (K, high, wide) of its tiles.

    Where tiles overlap, this is their mean, weighted by the distances to their edges; equal values stay as they are, to
    the last bit. Only one row of tiles is in memory at a time.
    """
    top, means, weights = 0, torch.empty(0), torch.empty(0)
    for tile, values in tiles:
        if not means.numel():
            means, weights = values.new_zeros(len(values), tile.high, width), values.new_zeros(tile.high, width)
            weight = _slope(tile.high, values)[:, None] * _slope(tile.wide, values)
        if (done := tile.top - top) > 0:
            yield means[:, :done]
            means, weights = (
                torch.cat([rest[..., done:, :], torch.zeros_like(rest[..., :done, :])], dim=-2)
                for rest in (means, weights)
            )
            top = tile.top
        columns = slice(tile.left, tile.left + tile.wide)
        weights[:, columns] += weight
        means[:, :, columns] += (values - means[:, :, columns]) * (weight / weights[:, columns])
    yield means


def _slope(side: int, like: Tensor) -> Tensor:
    """Return the distance of each pixel to the nearer end of a row (side,)."""
    place = torch.arange(side, device=like.device) + 0.5
    return torch.minimum(place, side - place).to(like.dtype)


def joined_boxes(
    boxes: Tensor, scores: Tensor, labels: Tensor, tiles: Tensor, size: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the boxes (M, 4), scores (M,) and labels (M,) of a picture's objects by falling score, each object once.

    A box that lies inside its tile wins over one that an edge of its tile cuts. An object that every tile cuts gets the
    box around its parts, if these agree where two tiles overlap.

    Args:
        boxes: (P, 4) those found in all tiles, in the picture's pixels.
        scores: (P,).
        labels: (P,) int64.
        tiles: (P, 4) the tile of each box, xyxy.
        size: (H, W) of the picture.
    """
    order = scores.argsort(descending=True, stable=True)
    boxes, scores, labels, tiles = boxes[order], scores[order], labels[order], tiles[order]
    border = tiles.new_tensor([0, 0, size[1], size[0]])
    sides = (tiles[:, 2:] - tiles[:, :2]).repeat(1, 2)
    is_cut = (((boxes - tiles).abs() <= NEAR * sides) & (tiles != border)).any(dim=1)
    left = torch.ones_like(is_cut)
    for i in (~is_cut).nonzero()[:, 0].tolist():
        if left[i]:
            iou = box_iou(boxes[i : i + 1], boxes)[0]
            corners = torch.minimum(boxes[i, 2:], boxes[:, 2:]) - torch.maximum(boxes[i, :2], boxes[:, :2])
            inside = corners.clamp(min=0).prod(dim=1) / area(boxes).clamp(min=1e-9)  # share of each other box
            same = (labels == labels[i]) & (tiles != tiles[i]).any(dim=1)
            left &= ~(same & torch.where(is_cut, inside, iou).gt(SAME))
    for i in is_cut.nonzero()[:, 0].tolist():
        found = [i] if left[i] else []
        for j in found:
            near = is_cut & left & (labels == labels[i]) & _agree(boxes[j], tiles[j], boxes, tiles)
            near[i] = False
            left &= ~near
            found += near.nonzero()[:, 0].tolist()
        if found:
            boxes[i] = torch.cat([boxes[found, :2].amin(dim=0), boxes[found, 2:].amax(dim=0)])
    return boxes[left], scores[left], labels[left]


def _agree(box: Tensor, tile: Tensor, boxes: Tensor, tiles: Tensor) -> Tensor:
    """Return which of `boxes` (P, 4), each from its tile, look like `box` (4,) where its `tile` and theirs overlap."""
    low, high = torch.maximum(tile[:2], tiles[:, :2]).repeat(1, 2), torch.minimum(tile[2:], tiles[:, 2:]).repeat(1, 2)
    one, other = box.clamp(low, high), boxes.clamp(low, high)
    is_seen = (low < high).all(dim=1) & (area(one) > 0) & (area(other) > 0)
    return is_seen & (tiles != tile).any(dim=1) & (paired_iou(one, other) > SAME)
