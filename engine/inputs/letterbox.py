"""Letterboxing: scaling an image into a size with its proportions kept, and its boxes and maps with it.

(H, W) is a size in pixels, M boxes are (M, 4) xyxy in pixels.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

IGNORE = 255  # in a mask: no class


def placed(original: Sequence[int], size: Sequence[int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the (H, W) to which an image of `original` = (H, W) is scaled within `size`, and its (top, left) there.

    Proportions are kept, up to whole pixels, and the image is centred.
    """
    scale = min(size[0] / original[0], size[1] / original[1])
    high, wide = (max(1, min(whole, round(side * scale))) for side, whole in zip(original, size, strict=True))
    return (high, wide), ((size[0] - high) // 2, (size[1] - wide) // 2)


def letterbox_boxes(boxes: Tensor, original: Sequence[int], size: Sequence[int]) -> Tensor:
    """Map boxes (M, 4) of an image of `original` = (H, W) to the image letterboxed to `size`."""
    (high, wide), (top, left) = placed(original, size)
    scale = boxes.new_tensor([wide / original[1], high / original[0]]).repeat(2)
    return boxes * scale + boxes.new_tensor([left, top, left, top])


def unletterbox_boxes(boxes: Tensor, original: Sequence[int], size: Sequence[int]) -> Tensor:
    """Map boxes (M, 4) of an image letterboxed to `size` back to the original, clipped at its border."""
    (high, wide), (top, left) = placed(original, size)
    scale = boxes.new_tensor([original[1] / wide, original[0] / high]).repeat(2)
    limit = boxes.new_tensor([original[1], original[0]]).repeat(2)
    return ((boxes - boxes.new_tensor([left, top, left, top])) * scale).clamp(min=boxes.new_zeros(4), max=limit)


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Pad images (N, C, H, W) below and on the right, by repeating the border, to sides that are multiples of that.

    `[..., :H, :W]` crops a result to the original size.
    """
    below, right = (-side % multiple for side in images.shape[-2:])
    if not (below or right):
        return images
    values = images if images.is_floating_point() else images.float()  # torch cannot replicate-pad bytes
    return F.pad(values, (0, right, 0, below), mode="replicate").to(images.dtype)


def unletterbox_map(values: Tensor, original: Sequence[int]) -> Tensor:
    """Crop the margins of a letterboxed image from maps (..., H, W); the result has the image's proportions.

    `original` = (H, W) is the size before letterboxing.
    """
    (high, wide), (top, left) = placed(original, values.shape[-2:])
    return values[..., top : top + high, left : left + wide]
