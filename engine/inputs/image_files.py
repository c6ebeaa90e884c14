"""Reading a person's image files: any mode, size and orientation, as the bytes a network was trained on.

C channels, (H, W) size in pixels.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from engine.contract.errors import UserError
from engine.inputs.letterbox import IGNORE, placed
from engine.inputs.reading import regular

ORIENTATION = 0x0112  # EXIF's tag
# What makes an image upright, by EXIF's number for a quarter turn, mirrored or not.
TURNS = {
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SUFFIXES = {
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
}
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")  # of these files, in Pillow's names


class Picture(NamedTuple):
    """An image as a network sees it, and what it was in its file."""

    pixels: Tensor  # (C, H, W) uint8, fitted
    size: tuple[int, int]  # (H, W) of the upright image in its file
    orientation: int  # how the file's pixels are turned against that: EXIF's number, 1 for not at all


def read_image(path: Path, channels: int) -> Image.Image:
    """Read an image upright, with 1 (grey) or 3 (colour) channels of 8 bits. What is transparent becomes white.

    Raises:
        UserError: the file is not a whole image; names it.
    """
    with opened(path) as file:
        return _upright(file, channels)


class Look(NamedTuple):
    """What an image is in its file."""

    size: tuple[int, int]  # (H, W) of the upright image
    mode: str  # PIL's
    orientation: int  # as in Picture


def look_at(path: Path) -> Look:
    """Read an image as `read_image` does, and say what it was.

    Raises:
        UserError: the file is not a whole image; names it.
    """
    with opened(path) as file:
        mode, orientation = file.mode, _orientation(file)
        image = _upright(file, channels=3)
    return Look((image.height, image.width), mode, orientation)


def size_of(path: Path) -> tuple[tuple[int, int], int]:
    """Return the (H, W) of the upright image and its orientation, as in `Look`, from the head of its file alone.

    Raises:
        UserError: the file is no image; names it.
    """
    with opened(path) as file:
        orientation = _orientation(file)
        return (file.width, file.height) if orientation >= 5 else (file.height, file.width), orientation


def read_halves(path: Path, channels: Sequence[int]) -> tuple[Image.Image, Image.Image]:
    """Read a file of two images side by side, as `read_image` does, and return the left one and the right one.

    `channels` says, for each of them, 1 (grey) or 3 (colour).

    Raises:
        UserError: the file is not a whole image, or cannot be halved; names it.
    """
    both = read_image(path, max(channels))
    if both.width % 2:
        raise UserError(f"{path} is {both.width} pixels wide: two images side by side take an even number")
    half = both.width // 2
    left, right = both.crop((0, 0, half, both.height)), both.crop((half, 0, both.width, both.height))
    return _with_channels(left, channels[0]), _with_channels(right, channels[1])


def read_letterboxed(path: Path, channels: int, size: Sequence[int] | None) -> Picture:
    """Read an image and letterbox it to `size` = (H, W), like `read_image` and `letterbox_image`; None is its own size.

    A JPEG is decoded no larger than need be, at a half, a quarter or an eighth of its size, which is several times as
    fast for a large photograph.

    Raises:
        UserError: the file is not a whole image; names it.
    """
    with opened(path) as file:
        return letterboxed(file, channels, size)


def letterboxed(file: Image.Image, channels: int, size: Sequence[int] | None) -> Picture:
    """Return an image upright, of so many channels, and letterboxed into `size` = (H, W); None is its own size."""
    orientation = _orientation(file)
    wide, high = file.size[::-1] if orientation >= 5 else file.size
    size = (high, wide) if size is None else size
    needed, _ = placed((high, wide), size)
    file.draft(None, needed if orientation >= 5 else needed[::-1])
    return Picture(letterbox_image(_upright(file, channels), size, (high, wide)), (high, wide), orientation)


@contextlib.contextmanager
def opened(path: Path | BinaryIO) -> Iterator[Image.Image]:
    """Open an image file, as long as the context lasts; what goes wrong meanwhile names it.

    The content decides about the format, whatever the file is called. Formats outside FORMATS are refused: for some of
    them Pillow starts another program, such as Ghostscript for EPS.

    Raises:
        UserError: the file is not a whole image.
    """
    try:
        with Image.open(regular(path) if isinstance(path, Path) else path, formats=FORMATS) as file:
            yield file
    except MemoryError:
        raise
    except UnidentifiedImageError as error:
        raise UserError(f"{path} cannot be read as an image (it is none of {', '.join(FORMATS)})") from error
    except Exception as error:  # on a damaged file Pillow raises whatever its decoder ran into
        raise UserError(f"{path} cannot be read as an image ({' '.join(str(error).split())})") from error


def _orientation(file: Image.Image) -> int:
    number = file.getexif().get(ORIENTATION)
    return number if isinstance(number, int) and 1 <= number <= 8 else 1  # anything can stand there


def _upright(file: Image.Image, channels: int) -> Image.Image:
    image = ImageOps.exif_transpose(file)
    image.load()
    if image.mode.startswith(("I", "F")):
        image = _to_8_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return _with_channels(image, channels)


def _with_channels(image: Image.Image, channels: int) -> Image.Image:
    return image.convert("L" if channels == 1 else "RGB")


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Scale an image of 16-bit, 32-bit or float values to 0..255."""
    values = np.asarray(image, dtype=np.float64)
    if not np.isfinite(values).all():
        raise UserError("some of its values are not numbers")
    top = 1.0 if image.mode == "F" and values.max() <= 1 else 255.0 if values.max() <= 255 else 65535.0
    return Image.fromarray(np.clip(values * (255 / top), 0, 255).round().astype(np.uint8))


def letterbox_image(image: Image.Image, size: Sequence[int], original: Sequence[int] | None = None) -> Tensor:
    """Scale an image to `size` = (H, W), keeping its proportions, and return its bytes (C, H, W).

    What is left on two sides of an image of other proportions is filled with the middle tone of its own border.
    `original` is the size that decides about proportions, if not that of `image`.
    """
    (high, wide), (top, left) = placed(original or (image.height, image.width), size)
    values = np.array(image)
    pixels = torch.from_numpy(values if values.ndim == 3 else values[:, :, None]).permute(2, 0, 1)
    if image.size != (wide, high):
        # Three times as fast as PIL's, and the same but for a rounding here and there.
        pixels = F.interpolate(pixels[None], size=(high, wide), mode="bilinear", antialias=True)[0]
    if (high, wide) == tuple(size):
        return pixels.contiguous()
    canvas = _border_tone(pixels)[:, None, None].repeat(1, *size)
    canvas[:, top : top + high, left : left + wide] = pixels
    return canvas


def letterbox_mask(ids: np.ndarray, size: Sequence[int]) -> Tensor:
    """Scale class numbers (h, w) of uint8 to `size` = (H, W), like `letterbox_image`; 255 is laid around them."""
    (high, wide), (top, left) = placed(ids.shape, size)
    if ids.shape != (high, wide):
        ids = np.asarray(Image.fromarray(ids).resize((wide, high), Image.Resampling.NEAREST))
    canvas = torch.full((size[0], size[1]), IGNORE, dtype=torch.uint8)
    canvas[top : top + high, left : left + wide] = torch.from_numpy(ids.copy())
    return canvas


def _border_tone(pixels: Tensor) -> Tensor:
    """Return the median (C,) of the border of an image (C, H, W) of uint8."""
    border = torch.cat([pixels[:, 0], pixels[:, -1], pixels[:, :, 0], pixels[:, :, -1]], dim=1)
    return torch.from_numpy(np.median(border.numpy(), axis=1).astype(np.uint8))


def looks_inverted(image_u8: Tensor, mean: Sequence[float]) -> bool:
    """Whether a grey image (1, H, W), inverted, would be much closer in brightness to the training images.

    `mean` is theirs, in 0..1. Colour images are never said to be inverted.
    """
    if len(mean) != 1:
        return False
    own = float(image_u8.float().mean()) / 255
    return abs(1 - own - mean[0]) + 0.25 < abs(own - mean[0])
