"""Samples from user files: images with a class, a mask, boxes, or a target image; see `SampleSource`.

C channels, (H, W) size in pixels, M boxes (M, 4) xyxy in pixels.
"""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors

from engine.contract.errors import UserError
from engine.data.augment import objects
from engine.data.cache import Planes, Spec
from engine.data.samples import Sample, SampleSource, Size
from engine.files.box_lists import exchanged, is_as_stored
from engine.files.listing import Layout, Listing
from engine.files.mask_files import MaskCode, read_mask
from engine.inputs.boxes import area
from engine.inputs.image_files import TURNS, letterbox_image, letterbox_mask, read_halves, read_image, read_letterboxed
from engine.inputs.letterbox import letterbox_boxes

ALIKE = 0.02  # largest relative difference between the proportions of a pair


class ClassFiles:
    """Images and their class numbers.

    Args:
        listing: the files, with labels.
        channels: 1 for grey images, 3 for colour.
    """

    def __init__(self, listing: Listing, channels: int) -> None:
        assert listing.labels is not None
        self.listing = listing
        self.labels = listing.labels
        self.channels = channels

    def __len__(self) -> int:
        return len(self.listing)

    def specs(self, size: Size) -> list[Spec]:
        return [((self.channels, *size), torch.uint8)]

    def read(self, index: int, size: Size) -> Planes:
        return [read_letterboxed(self.listing.image(index), self.channels, size).pixels]

    def sample(self, index: int, planes: Planes, size: Size) -> Sample:
        return tv_tensors.Image(planes[0]), int(self.labels[index])


class MaskFiles:
    """Images and their masks, (H, W) uint8: the class of each pixel, or 255 for none.

    Args:
        listing: the files, with partners.
        channels: 1 for grey images, 3 for colour.
        code: the meaning of values in the masks.
    """

    def __init__(self, listing: Listing, channels: int, code: MaskCode) -> None:
        self.listing = listing
        self.channels = channels
        self.code = code

    def __len__(self) -> int:
        return len(self.listing)

    def specs(self, size: Size) -> list[Spec]:
        return [((self.channels, *size), torch.uint8), (size, torch.uint8)]

    def read(self, index: int, size: Size) -> Planes:
        picture = read_letterboxed(self.listing.image(index), self.channels, size)
        mask = self.upright(index, self.mask(index), picture.size, picture.orientation)
        return [picture.pixels, letterbox_mask(mask, size)]

    def mask(self, index: int) -> np.ndarray:
        """Return a mask's classes (H, W), in the orientation of its file.

        Raises:
            UserError: it cannot be read, or has an unknown class; names it.
        """
        return read_mask(self.listing.partner(index), self.code)

    def upright(self, index: int, mask: np.ndarray, original: Sequence[int], orientation: int) -> np.ndarray:
        """Return a mask turned to match its upright image, of `original` = (H, W).

        Raises:
            UserError: it has another size than its image; names both.
        """
        if is_of_turned(mask.shape, original, orientation):
            mask = np.asarray(Image.fromarray(mask).transpose(TURNS[orientation]))
        if mask.shape != tuple(original):
            raise UserError(
                f"{self.listing.partner(index)} is {_wide_by_high(mask.shape)} pixels and its image "
                f"{self.listing.image(index)} is {_wide_by_high(original)}: a mask has its image's size"
            )
        return mask

    def sample(self, index: int, planes: Planes, size: Size) -> Sample:
        return tv_tensors.Image(planes[0]), tv_tensors.Mask(planes[1])


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


class PairFiles:
    """Images and their target images: a file of its own, or the right half of the same file.

    Args:
        listing: the files, with partners if targets are files.
        channels: 1 for grey images, 3 for colour.
        target_channels: the same for targets.
    """

    def __init__(self, listing: Listing, channels: int, target_channels: int) -> None:
        self.listing = listing
        self.channels = channels
        self.target_channels = target_channels

    def __len__(self) -> int:
        return len(self.listing)

    def specs(self, size: Size) -> list[Spec]:
        return [((channels, *size), torch.uint8) for channels in (self.channels, self.target_channels)]

    def read(self, index: int, size: Size) -> Planes:
        path = self.listing.image(index)
        if self.listing.partners is None:
            return [letterbox_image(half, size) for half in read_halves(path, (self.channels, self.target_channels))]
        source = read_letterboxed(path, self.channels, size)
        target = read_image(self.listing.partner(index), self.target_channels)
        self.check_sizes(index, source.size, (target.height, target.width))
        return [source.pixels, letterbox_image(target, size, source.size)]

    def check_sizes(self, index: int, source: Sequence[int], target: Sequence[int]) -> None:
        """Refuse a pair of images of different proportions, by their (H, W).

        Raises:
            UserError: the proportions differ; names both files.
        """
        if abs(source[1] / source[0] / (target[1] / target[0]) - 1) > ALIKE:
            raise UserError(
                f"{self.listing.partner(index)} is {_wide_by_high(target)} pixels and {self.listing.image(index)} is "
                f"{_wide_by_high(source)}: a pair has the same proportions"
            )

    def sample(self, index: int, planes: Planes, size: Size) -> Sample:
        return tv_tensors.Image(planes[0]), tv_tensors.Image(planes[1])


def file_source(layout: Layout, listing: Listing, channels: int, target_channels: int | None = None) -> SampleSource:
    """Return the source of a layout's images; channels are 1 or 3, `target_channels` is for pairs (None: the same)."""
    if layout.mask_code is not None:
        return MaskFiles(listing, channels, layout.mask_code)
    if listing.labels is not None:
        return ClassFiles(listing, channels)
    return (
        PairFiles(listing, channels, target_channels or channels)
        if listing.boxes is None
        else BoxFiles(listing, channels)
    )


def is_of_turned(stated: Sequence[int], size: Sequence[int], orientation: int) -> bool:
    """Whether the size `stated` = (H, W) is that of the pixels as stored, not of the upright image.

    `size` (H, W) is the upright image's, `orientation` EXIF's number. Only a quarter turn (5 to 8) shows in the size.
    """
    return orientation >= 5 and tuple(stated) == (size[1], size[0]) != tuple(size)


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


def _wide_by_high(size: Sequence[int]) -> str:
    return f"{size[1]} x {size[0]}"
