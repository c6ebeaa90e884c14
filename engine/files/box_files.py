"""Images with the boxes of their objects: the layout of all kinds of annotations, and its samples.

C channels, (H, W) size in pixels, M boxes (M, 4) xyxy in pixels.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors

from engine.contract.errors import UserError
from engine.data.augment import objects
from engine.data.cache import Planes, Spec
from engine.data.samples import Sample, Size
from engine.files.box_lists import EXCHANGED, OUTSIDE, UNTOLD, exchanged, is_as_stored
from engine.files.listing import Examined, Layout, Listing
from engine.inputs.boxes import area, paired_iou
from engine.inputs.image_files import Look, is_of_turned, read_letterboxed
from engine.inputs.letterbox import letterbox_boxes

NEAR = 0.9  # IoU above which two boxes of a class may be one object
MAX_COMPARED = 2000  # boxes per image; with more, pairs are not compared


class BoxLayout(Layout):
    """Images and the boxes of each."""

    def check(self) -> None:
        """Refuse a layout without a box in its training images, and drop other splits without a box.

        Raises:
            UserError: quotes the findings that may explain it.
        """
        for split, listing in list(self.splits.items()):
            if listing.boxes is None or not len(listing) or len(listing.boxes.values):
                continue
            if split == "train":
                said = "; ".join(self.notes) or "their annotations list no object"
                raise UserError(f"none of the {len(listing):,} training images has a box: {said}")
            del self.splits[split]
            self.findings.add(
                "warning", f"{split} left out: none of its images has a box, so nothing could be measured"
            )

    def source(self, listing: Listing, channels: int, target_channels: int | None = None) -> "BoxFiles":
        return BoxFiles(listing, channels)

    def examine(self, listing: Listing, index: int, look: Look, one: Examined) -> None:
        source = self.source(listing, channels=3)
        one.what = EXCHANGED
        source.check_size(index, look.size, look.orientation)
        boxes = source.boxes[index]
        kept = source.upright(index, look.size, look.orientation)
        points = int((kept[:, 2:4] - kept[:, :2] <= 1).all(dim=1).sum())
        one.remark("warning", OUTSIDE, len(boxes) - len(kept))
        one.remark("warning", "boxes of a single pixel or less: they may be points", points)
        one.remark("note", "boxes that nearly coincide with another of their class: one may be a copy", _near(kept))
        if is_as_stored(source.sizes[index].tolist(), boxes.numpy(), look.size, look.orientation) is None:
            one.remark("warning", UNTOLD)
        one.sides = area(kept).sqrt().numpy() / max(look.size)
        one.amounts = np.bincount(kept[:, 4].long().numpy(), minlength=len(self.class_names))


def _near(boxes: Tensor) -> int:
    """Return how many of the boxes and classes (M, 5) overlap an earlier box of their class by more than NEAR."""
    if len(boxes) > MAX_COMPARED:
        return 0
    overlap = paired_iou(boxes[:, None, :4], boxes[:, :4]).triu(diagonal=1)
    return int(((overlap > NEAR) & (boxes[:, None, 4] == boxes[:, 4])).any(dim=0).sum())


class BoxFiles:
    """Images and the boxes and classes of their objects.

    Args:
        listing: the files, with boxes and annotated sizes.
        channels: 1 for grey images, 3 for colour.
    """

    def __init__(self, listing: Listing, channels: int) -> None:
        assert listing.boxes is not None and listing.sizes is not None
        self.listing = listing
        self.boxes = listing.boxes
        self.sizes = listing.sizes
        self.channels = channels

    def __len__(self) -> int:
        return len(self.listing)

    def specs(self, size: Size) -> list[Spec]:
        return [((self.channels, *size), torch.uint8), ((3,), torch.int32)]

    def read(self, index: int, size: Size) -> Planes:
        picture = read_letterboxed(self.listing.image(index), self.channels, size)
        self.check_size(index, picture.size, picture.orientation)
        return [picture.pixels, torch.tensor([*picture.size, picture.orientation], dtype=torch.int32)]

    def classes(self, index: int) -> Tensor:
        """Return the class of each object (M,) int64."""
        return self.boxes[index][:, 4].long()

    def check_size(self, index: int, original: tuple[int, int], orientation: int) -> None:
        """Refuse an image whose size differs from its annotation's.

        Raises:
            UserError: the sizes differ; names the image and both sizes.
        """
        stated = tuple(self.sizes[index].tolist())
        if min(stated) > 0 and stated != original and not is_of_turned(stated, original, orientation):
            raise UserError(exchanged(self.listing.image(index), original, stated))

    def upright(self, index: int, original: Sequence[int], orientation: int) -> Tensor:
        """Return the boxes and classes (M, 5) for the upright image of `original` = (H, W).

        Boxes of unclear orientation count as upright: see `is_as_stored`. Boxes are clipped here because annotations
        may not state a size; the others were clipped when they were read.
        """
        boxes, classes = self.boxes[index].split([4, 1], dim=1)
        if is_as_stored(self.sizes[index].tolist(), boxes.numpy(), original, orientation):
            boxes = turn_boxes(boxes, orientation, original)
        limit = boxes.new_tensor([original[1], original[0]]).repeat(2)
        boxes = boxes.clamp(min=boxes.new_zeros(4), max=limit)
        return torch.cat([boxes, classes], dim=1)[area(boxes) > 0]

    def sample(self, index: int, planes: Planes, size: Size) -> Sample:
        *original, orientation = planes[1].tolist()
        rows = self.upright(index, original, orientation)
        return tv_tensors.Image(planes[0]), objects(
            letterbox_boxes(rows[:, :4], original, size), rows[:, 4].long(), size
        )


def turn_boxes(boxes: Tensor, orientation: int, size: Sequence[int]) -> Tensor:
    """Turn boxes (M, 4) on the pixels as stored into boxes on the upright image of `size` = (H, W).

    `orientation` is EXIF's number of a quarter turn, 5 to 8.
    """
    height, width = size
    x0, y0, x1, y1 = boxes.unbind(dim=1)
    # The file's rows are the upright image's columns; the orientation says from which side they are counted.
    columns = (y0, y1) if orientation in (5, 8) else (width - y1, width - y0)
    rows = (x0, x1) if orientation in (5, 6) else (height - x1, height - x0)
    return torch.stack([columns[0], rows[0], columns[1], rows[1]], dim=1)
