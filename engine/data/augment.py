"""Augmentation of training samples: images together with their masks, boxes or target images.

Everything works on torchvision's tv_tensors and draws from torch's global random generator. (H, W) is a size in pixels.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from engine.inputs.boxes import area
from engine.inputs.letterbox import IGNORE

GREY = 114  # padding around images: dark grey, as in YOLO detectors
MIN_SEEN = 0.2  # smallest visible share of a box's area for it to stay
MIN_PIXELS = 2.0  # smallest side of a box for it to stay
MIRRORED = 0.5  # share of the samples that are mirrored
TO_OBJECTS = 0.5  # share of the crops that are drawn to an object, as most of a large picture may be empty
MOSAIC_OUT = 2.0  # width of a mosaic, in images


class Part(NamedTuple):
    """A rectangle in an image's pixels; it may extend beyond the border."""

    top: int
    left: int
    high: int
    wide: int


class RandomZoom:
    """Crops a random part of an image, or pads the image, and resizes the result to `size`.

    Args:
        size: (H, W) of the result.
        min_share, max_share: range of the part's side as a share of the image's side, drawn log-uniformly. Above 1 the
            image is zoomed out, with grey around it.
        base: (H, W) of which the part's sides are shares instead: a part of that size is cropped, at full resolution.
            Half of these parts contain the middle of an object, if the image has any.
    """

    def __init__(
        self, size: tuple[int, int], min_share: float, max_share: float, base: tuple[int, int] | None = None
    ) -> None:
        self.size = size
        self.base = base
        self.min_share, self.max_share = min_share, max_share

    def part_of(self, size: Sequence[int], boxes: Tensor | None = None) -> Part:
        """Draw the part to crop from an image of `size` = (H, W) with boxes (M, 4)."""
        height, width = size
        draw = torch.rand(3).tolist()
        share = math.exp(math.log(self.min_share) + draw[0] * math.log(self.max_share / self.min_share))
        high, wide = (max(1, round(side * share)) for side in self.base or (height, width))
        # A smaller part lies within the image; a larger one contains the whole image.
        top, left = round(draw[1] * (height - high)), round(draw[2] * (width - wide))
        if self.base is not None and boxes is not None and len(boxes) and float(torch.rand(1)) < TO_OBJECTS:
            x0, y0, x1, y1 = boxes[int(torch.randint(len(boxes), (1,)))].tolist()
            top = _within((y0 + y1) / 2 - draw[1] * high, height - high)
            left = _within((x0 + x1) / 2 - draw[2] * wide, width - wide)
        return Part(top, left, high, wide)

    def sample(self, sample: Any, part: Part) -> Any:
        """Return that part of a sample, an image and its target; boxes of which too little is visible are dropped."""
        image, target = sample
        shown = self.show(image, part)
        if isinstance(target, Mapping):
            scale = self.size[0] / part.high * self.size[1] / part.wide
            whole = area(target["boxes"].as_subclass(Tensor)) * scale
            return shown, keep_seen(self.show(target["boxes"], part), target["labels"], whole, self.size)
        return shown, self.show(target, part) if isinstance(target, tv_tensors.TVTensor) else target

    def show(self, inpt: Any, part: Part) -> Any:
        """Return that part of a tv_tensor, resized to `size`; images are padded with grey, masks with IGNORE."""
        top, left, high, wide = part
        height, width = F.get_size(inpt)
        if top < 0 or left < 0:
            above, before = max(0, -top), max(0, -left)
            below, after = max(0, top + high - height), max(0, left + wide - width)
            inpt = F.pad(inpt, [before, above, after, below], fill=IGNORE if is_mask(inpt) else GREY)
            top, left = top + above, left + before
        if is_mask(inpt):  # for which torchvision's own way of taking the nearest pixel is off by half a pixel
            cut = F.crop(inpt, top, left, high, wide).as_subclass(Tensor)[None, None]
            return tv_tensors.Mask(functional.interpolate(cut, size=self.size, mode="nearest-exact")[0, 0])
        return F.resized_crop(inpt, top, left, high, wide, list(self.size), antialias=True)


def _within(start: float, room: int) -> int:
    """Return the whole number nearest to `start` from 0 to `room`, which may be negative."""
    return min(max(round(start), min(0, room)), max(0, room))


class Varied:
    """Augments a training sample by mosaic, zoom and flip; see `SampleStore`.

    Args:
        size: (H, W) of the result.
        zoom: zoom in or out at random by up to this share.
        flip: mirror half of the images left to right.
        mosaic: share of the samples that are joined from four.
        mosaic_epochs: epochs with mosaics; later ones have none, so that training ends on natural images.
        num: number of samples, from which a mosaic's other three are drawn.
        own: applied then; takes and returns an image and its target: see `OwnAugmentation`.
        erase: share of the images in which a part is erased in the end.
        crop: (H, W) in an image's pixels of the part that is taken, and zoomed, instead of the whole image.
    """

    def __init__(
        self,
        size: tuple[int, int],
        zoom: float = 0.0,
        flip: bool = False,
        mosaic: float = 0.0,
        mosaic_epochs: float = math.inf,
        num: int = 0,
        own: Callable[[Any, Any], Any] | None = None,
        erase: float = 0.0,
        crop: tuple[int, int] | None = None,
    ) -> None:
        self.zoom = RandomZoom(size, 1 / (1 + zoom), 1 + zoom, crop)
        self.whole = RandomZoom(size, 1.0, 1.0, crop)
        self.out = RandomZoom(size, 1 / MOSAIC_OUT / (1 + zoom), 1.0)
        self.size = size
        self.flip = flip
        self.mosaic = mosaic
        self.mosaic_epochs = mosaic_epochs
        self.num = num
        self.own = own
        self.erase = v2.RandomErasing(erase) if erase else None

    def __call__(self, read: Callable[[int], Any], index: int, epoch: int) -> Any:
        if self.mosaic and epoch < self.mosaic_epochs and float(torch.rand(1)) < self.mosaic:
            others = torch.randint(self.num, (3,)).tolist()
            sample = self._zoomed(join_four([self._zoomed(read(i), self.whole) for i in (index, *others)]), self.out)
        else:
            sample = self._zoomed(read(index), self.zoom)
        if self.flip and float(torch.rand(1)) < MIRRORED:
            sample = mirrored(sample)
        if self.own is not None:
            image, target = self.own(*sample)
            if isinstance(target, Mapping):
                boxes = target["boxes"]
                target = keep_seen(boxes, target["labels"], area(boxes.as_subclass(Tensor)), self.size)
            sample = image, target
        return sample if self.erase is None else (self.erase(sample[0]), sample[1])

    def _zoomed(self, sample: Any, zoom: RandomZoom) -> Any:
        image, target = sample
        if (zoom.min_share, zoom.max_share) == (1, 1) and F.get_size(image) == list(zoom.base or self.size) == list(
            self.size
        ):
            return sample
        boxes = target["boxes"] if isinstance(target, Mapping) else None
        return zoom.sample(sample, zoom.part_of(F.get_size(image), boxes))


def mirrored(sample: Any) -> Any:
    """Return a sample mirrored left to right."""
    image, target = sample
    if isinstance(target, Mapping):
        target = {**target, "boxes": F.horizontal_flip(target["boxes"])}
    elif isinstance(target, tv_tensors.TVTensor):
        target = F.horizontal_flip(target)
    return F.horizontal_flip(image), target


def join_four(samples: Sequence[Any]) -> Any:
    """Join four samples of size (H, W) into one of (2H, 2W)."""
    images, targets = zip(*samples, strict=True)
    channels, height, width = images[0].shape
    joined = images[0].new_empty(channels, 2 * height, 2 * width)
    boxes, labels = [], []
    for i, (image, target) in enumerate(zip(images, targets, strict=True)):
        top, left = i // 2 * height, i % 2 * width
        joined[:, top : top + height, left : left + width] = image
        boxes.append(target["boxes"].as_subclass(Tensor) + torch.tensor([left, top, left, top]))
        labels.append(target["labels"])
    return tv_tensors.Image(joined), objects(torch.cat(boxes), torch.cat(labels), (2 * height, 2 * width))


def objects(boxes: Tensor, labels: Tensor, size: Sequence[int]) -> dict[str, Tensor]:
    """Return an image's target: boxes (M, 4) xyxy in pixels and labels (M,); `size` is the image's (H, W)."""
    return {"boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(size[0], size[1])), "labels": labels}


def keep_seen(boxes: Tensor, labels: Tensor, whole: Tensor, size: Sequence[int]) -> dict[str, Tensor]:
    """Clip boxes (M, 4) xyxy to an image of `size` = (H, W), and drop those of which too little is visible.

    `whole` (M,) is each box's area before clipping.
    """
    limit = torch.tensor([size[1], size[0], size[1], size[0]])
    cut = boxes.as_subclass(Tensor).clamp(min=torch.zeros(4), max=limit)
    sides = torch.minimum(cut[:, 2] - cut[:, 0], cut[:, 3] - cut[:, 1])
    kept = (area(cut) >= MIN_SEEN * whole) & (sides >= MIN_PIXELS)
    return objects(cut[kept], labels[kept], size)


def is_mask(inpt: Any) -> bool:
    """Whether a tv_tensor holds class numbers rather than colours."""
    return isinstance(inpt, tv_tensors.Mask)
