"""Letterboxing: where an image of any size goes within another size, and where that puts its boxes.

(H, W) is a size in pixels, M boxes are (M, 4) xyxy in pixels.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

IGNORE = 255  # in a mask: no class, not counted


def placed(original: Sequence[int], size: Sequence[int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the (H, W) that an image of `original` = (H, W) is scaled to within `size`, and its (top, left) there.

    Proportions are kept, as far as whole pixels allow, and the image is put in the middle.
    """
    scale = min(size[0] / original[0], size[1] / original[1])
    high, wide = (max(1, min(whole, round(side * scale))) for side, whole in zip(original, size, strict=True))
    return (high, wide), ((size[0] - high) // 2, (size[1] - wide) // 2)


def letterbox_boxes(boxes: Tensor, original: Sequence[int], size: Sequence[int]) -> Tensor:
    """Turn boxes (M, 4) of an image of `original` = (H, W) into those of the image letterboxed to `size`."""
    (high, wide), (top, left) = placed(original, size)
    scale = boxes.new_tensor([wide / original[1], high / original[0]]).repeat(2)
    return boxes * scale + boxes.new_tensor([left, top, left, top])


def unletterbox_boxes(boxes: Tensor, original: Sequence[int], size: Sequence[int]) -> Tensor:
    """Turn boxes (M, 4) of an image letterboxed to `size` back into those of the original, cut off at its border."""
    (high, wide), (top, left) = placed(original, size)
    scale = boxes.new_tensor([original[1] / wide, original[0] / high]).repeat(2)
    limit = boxes.new_tensor([original[1], original[0]]).repeat(2)
    return ((boxes - boxes.new_tensor([left, top, left, top])) * scale).clamp(min=boxes.new_zeros(4), max=limit)


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Return images (N, C, H, W) whose sides are multiples of that: their last row and column go on as far as need be.

    What is made of them is cut back to (H, W) by `[..., :H, :W]`.
    """
    below, right = (-side % multiple for side in images.shape[-2:])
    if not (below or right):
        return images
    values = images if images.is_floating_point() else images.float()  # bytes cannot be padded so
    return F.pad(values, (0, right, 0, below), mode="replicate").to(images.dtype)


def unletterbox_map(values: Tensor, original: Sequence[int]) -> Tensor:
    """Cut what lies around an image out of maps (..., H, W) of its letterbox; the proportions left are the image's.

    `original` = (H, W) is the size before letterboxing.
    """
    (high, wide), (top, left) = placed(original, values.shape[-2:])
    return values[..., top : top + high, left : left + wide]
