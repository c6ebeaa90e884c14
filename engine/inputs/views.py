"""Views for test-time augmentation: copies of an image, scaled or mirrored, whose answers are joined.

N images, C channels, (H, W) size in pixels. Boxes are xyxy in pixels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class View(NamedTuple):
    """A copy of images, scaled and then mirrored left to right."""

    mirrored: bool = False
    scale: float = 1.0

    def of(self, images: Tensor, multiple: int) -> Tensor:
        """Return the view of images (N, ..., W); scaled sides are multiples of `multiple`, as the network needs."""
        if self.scale != 1:
            size = [max(1, round(self.scale * side / multiple)) * multiple for side in images.shape[-2:]]
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
        return images.flip(-1) if self.mirrored else images

    def boxes_back(self, boxes: Tensor, seen: Sequence[int], size: Sequence[int]) -> Tensor:
        """Return boxes (..., 4) on a view of `seen` = (H, W) as boxes on the images of `size` (H, W)."""
        if self.mirrored:
            x0, y0, x1, y1 = boxes.unbind(dim=-1)
            boxes = torch.stack([seen[1] - x1, y0, seen[1] - x0, y1], dim=-1)
        return boxes * boxes.new_tensor([size[1] / seen[1], size[0] / seen[0]]).repeat(2)


VIEWS = {  # by the value of --tta
    "flip": (View(), View(mirrored=True)),
    "multiscale": (View(scale=0.8), View(), View(scale=1.25)),
}
