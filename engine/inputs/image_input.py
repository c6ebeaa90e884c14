"""Images as an input: uint8 (N, C, H, W) in stores and exported files, normalised floats in networks.

N images, C channels, (H, W) size in pixels.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from engine.contract.errors import UserError
from engine.contract.input import Graph, Input, Item
from engine.contract.registry import brief
from engine.inputs.drawing import in_colour
from engine.inputs.folder import Findings, find_images
from engine.inputs.image_files import letterbox_pixels, letterboxed, looks_inverted, opened, read_image
from engine.inputs.images import denormalise, normalise
from engine.inputs.letterbox import pad_to_multiple
from engine.inputs.tiles import Tile, tiles_of

LONGEST_SIDE = 2**15  # pixels of an image
MAX_PIXELS = 2**26  # of an image
MAX_CHANNELS = 4096  # of an image
VALUES = "uint8 (N, C, H, W), 0 to 255, channels in the order RGB; normalised inside"
FITTED = (
    "upright, scaled into image_size with its proportions kept (bilinear, antialiased), and put in the middle; what is "
    "left on two sides has the median tone of the image's border"
)
WHOLE = "not at all: any height and width that are multiples of size_multiple"


@dataclass(frozen=True)
class ImageInput(Input):
    """8-bit images of one size and number of channels.

    Args:
        in_channels: 1 for grey, 3 for colour.
        image_size: (H, W) in pixels to which images are letterboxed.
        mean: subtracted from each channel, of values in 0..1.
        std: divides each channel after that.

    Raises:
        UserError: a value is out of range, or `mean` and `std` do not have one number per channel.
    """

    in_channels: int
    image_size: Sequence[int]
    mean: Sequence[float]
    std: Sequence[float]

    word: ClassVar[str] = "images"
    larger: ClassVar[str] = "a larger --data.image_size"
    hints: ClassVar[Mapping[str, tuple[str, str]]] = {
        "looks_inverted": (
            "looks inverted: try --invert",
            "look inverted: dark on light, but the training images were light on dark, or the reverse; try --invert",
        )
    }
    memory_format: ClassVar[torch.memory_format] = torch.channels_last  # all channels of a pixel together

    def __post_init__(self) -> None:
        size, channels = tuple(self.image_size), self.in_channels
        if len(size) != 2 or min(size) < 1 or max(size) > LONGEST_SIDE or math.prod(size) > MAX_PIXELS:
            raise UserError(
                f"image_size is height and width in pixels, 1 to {LONGEST_SIDE:,} each and {MAX_PIXELS:,} together, "
                f"got {brief(list(size))}"
            )
        if not 1 <= channels <= MAX_CHANNELS:
            raise UserError(f"in_channels is 1 to {MAX_CHANNELS:,}, got {channels}")
        mean, std = tuple(self.mean), tuple(self.std)
        if not len(mean) == len(std) == channels or not all(
            math.isfinite(m) and 0 < s < math.inf for m, s in zip(mean, std, strict=True)
        ):
            raise UserError(
                f"mean and std have one number per channel ({channels}), above 0 in std, "
                f"got {brief(list(mean))} and {brief(list(std))}"
            )
        for name, value in (("image_size", size), ("mean", mean), ("std", std)):
            object.__setattr__(self, name, value)  # tuples, so that equal inputs compare equal

    def __str__(self) -> str:
        return f"{self.image_size[1]} x {self.image_size[0]} pixels, {'grey' if self.in_channels == 1 else 'colour'}"

    def for_backbone(self) -> dict[str, Any]:
        return {"in_channels": self.in_channels, "image_size": self.image_size}

    def for_own_data(self) -> dict[str, Any]:
        return {"image_size": list(self.image_size), "channels": self.in_channels}

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.in_channels, *self.image_size)

    def find(self, paths: Iterable[str], findings: Findings | None = None) -> list[Path]:
        return find_images(paths, findings)

    def read(self, path: Path, whole: bool = False, invert: bool = False) -> Item:
        with opened(path) as file:
            item = self.of_image(file, whole)
        return item._replace(raw=255 - item.raw) if invert else item

    def of_image(self, image: Image.Image, whole: bool = False) -> Item:
        """Return a Pillow image as `read` returns a file's."""
        pixels, size, _ = letterboxed(image, self.in_channels, None if whole else self.image_size)
        return Item(pixels.contiguous(), size)

    def remarks(self, raw: Tensor) -> dict[str, bool]:
        return {"looks_inverted": looks_inverted(raw, self.mean)}

    def tiles(self, raw: Tensor, side: int, overlap: float, whole: bool = False) -> Iterator[tuple[Tile, Item]]:
        for tile in tiles_of(raw.shape[1:], side, overlap):
            top, left, high, wide = tile
            pixels = raw[:, top : top + high, left : left + wide]
            content = pixels if whole else letterbox_pixels(pixels, self.image_size)
            yield tile, Item(content.contiguous(), (high, wide))

    def may_join(self, batch: Sequence[Item], item: Item, batch_size: int) -> bool:
        """Whether it has their size, and the batch would not exceed the pixels of `batch_size` training images."""
        shape = item.raw.shape
        pixels, max_pixels = (len(batch) + 1) * math.prod(shape[1:]), batch_size * math.prod(self.image_size)
        return all(other.raw.shape == shape for other in batch[:1]) and pixels <= max_pixels

    def prepare(self, raw: Tensor) -> Tensor:
        """Turn uint8 images (N, C, H, W) into normalised floats."""
        return normalise(raw, self.mean, self.std)

    def restore(self, prepared: Tensor) -> Tensor:
        """Undo `prepare`, up to scale: normalised images (N, C, H, W) to floats in 0..1."""
        return denormalise(prepared, self.mean, self.std)

    def seen(self, prepared: Tensor) -> Tensor:
        return in_colour(self.restore(prepared)).cpu()

    def picture(self, path: Path) -> Tensor:
        return torch.from_numpy(np.array(read_image(path, 3))).permute(2, 0, 1).contiguous()

    def example(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.randint(0, 256, (num, *self.shape), dtype=torch.uint8, generator=generator)

    def other_size(self, raw: Tensor) -> Tensor:
        return raw[..., :-1, :-3]

    def padded(self, raw: Tensor, multiple: int) -> Tensor:
        return pad_to_multiple(raw, multiple)

    def cut_back(self, values: Tensor, raw: Tensor) -> Tensor:
        return values[..., : raw.shape[-2], : raw.shape[-1]]

    def graph(self, multiple: int | None) -> Graph:
        about: Mapping[str, Any] = {
            "image_size": list(self.image_size),
            "mean": list(self.mean),
            "std": list(self.std),
            "channels": self.in_channels,
            "values": VALUES,
            "fitting": FITTED if multiple is None else WHOLE,
        }
        return Graph("images", ("batch", "channels", "height", "width"), about)
