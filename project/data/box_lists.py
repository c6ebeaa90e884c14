"""Gathering boxes from annotations: what cannot be meant is left out, what reaches over the border is cut off.

(H, W) is a size in pixels; boxes are xyxy in pixels.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import torch

from project.data.listing import Findings, Listing
from project.data.tables import Rows, Strings

LARGEST_SIDE = 10**6  # pixels; what is said to be larger is a slip
WORTH_SAYING = 1.0  # pixels that a box may reach over the border by rounding alone

Box = tuple[float, float, float, float]


class BoxList:
    """Images with their boxes, as they are read from annotations.

    Args:
        findings: gets what was left out or cut off.
    """

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.images: list[str] = []
        self.sizes: list[tuple[int, int]] = []
        self.rows: list[list[tuple[float, ...]]] = []

    def add(self, image: str, size: tuple[int, int], boxes: Sequence[tuple[int, Box]]) -> None:
        """Add an image with its boxes and their classes; `size` (H, W) is what the annotation says, 0 if nothing."""
        if not all(0 <= side <= LARGEST_SIDE for side in size):
            raise ValueError(f"image {image} is said to be {size[1]} x {size[0]} pixels, which cannot be: correct that")
        rows: list[tuple[float, ...]] = []
        for kind, box in boxes:
            kept = self._cut(image, size, box)
            if kept is not None:
                rows.append((*kept, float(kind)))
        self.images.append(image)
        self.sizes.append(size)
        self.rows.append(rows)

    def _cut(self, image: str, size: tuple[int, int], box: Box) -> Box | None:
        x0, y0, x1, y1 = box
        if not all(map(math.isfinite, box)):
            self.findings.add("warning", "boxes left out: they are no numbers", image)
            return None
        if x1 <= x0 or y1 <= y0:
            self.findings.add("warning", "boxes left out: they are without area", image)
            return None
        high, wide = size if min(size) > 0 else (math.inf, math.inf)
        cut = max(x0, 0.0), max(y0, 0.0), min(x1, wide), min(y1, high)
        if cut[2] <= cut[0] or cut[3] <= cut[1]:
            self.findings.add("warning", "boxes left out: they are outside their image", image)
            return None
        if max(abs(a - b) for a, b in zip(box, cut, strict=True)) > WORTH_SAYING:
            self.findings.add("warning", "boxes cut off at the border of their image", image)
        return cut

    def listing(self, root: Path, order: Sequence[int] | None = None) -> Listing:
        """Return the listing of all images; `order` holds the class of each number that `add` was given."""
        boxes = Rows(self.rows, columns=5)
        if order is not None:
            boxes = boxes.with_column(4, torch.tensor(order, dtype=torch.int64))
        sizes = torch.tensor(self.sizes, dtype=torch.int32).view(len(self.sizes), 2)
        return Listing(root, Strings(self.images), boxes=boxes, sizes=sizes)
