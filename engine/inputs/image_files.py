"""Reading user image files of any mode, size and orientation into the bytes that a network was trained on.

C channels, (H, W) size in pixels.
"""

import contextlib
import io
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

DEEP = 65535.0  # value of more than 8 bits that becomes 255 in 8
ORIENTATION = 0x0112  # EXIF's tag
# The operation that makes an image upright, by EXIF's number for a quarter turn, mirrored or not.
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
PLAIN_MODES = ("1", "L", "RGB")  # which are converted without fail
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")  # of these files, in Pillow's names


class Picture(NamedTuple):
    """An image as a network sees it, with the size and orientation of its file."""

    pixels: Tensor  # (C, H, W) uint8, letterboxed
    size: tuple[int, int]  # (H, W) of the upright image in its file
    orientation: int  # EXIF's number for how the stored pixels are turned: 1 for upright


def read_image(path: Path, channels: int) -> Image.Image:
    """Read an image upright, with 1 (grey) or 3 (colour) channels of 8 bits. Transparent pixels are laid on white.

    Raises:
        UserError: the file is not a whole image; names it.
    """
    with opened(path) as file:
        return _upright(file, channels)


class Look(NamedTuple):
    """Size, mode and orientation of an image file, and its largest value if it has more than 8 bits."""

    size: tuple[int, int]  # (H, W) of the upright image
    mode: str  # Pillow's
    orientation: int  # as in Picture
    top: float = 0.0  # largest value of a channel of more than 8 bits


def look_at(path: Path, content: bytes | None = None) -> Look:
    """Decode a whole image file and return what it looks like.

    Args:
        path: of the file.
        content: of the file, if it was read already.

    Raises:
        UserError: the file is not a whole image; names it.
    """
    with opened(path, content) as file:
        mode = file.mode
        file.load()
        orientation = _orientation(file)
        if file.mode not in PLAIN_MODES or orientation != 1 or file.has_transparency_data:
            _upright(file, channels=3)  # can fail, as it could in training
        top = float(np.asarray(file).max()) if is_deep(mode) else 0.0
        return Look(_upright_size(file, orientation), mode, orientation, top)


def size_of(path: Path) -> tuple[tuple[int, int], int]:
    """Return the (H, W) of the upright image and its orientation, as in `Look`; reads only the file's header.

    Raises:
        UserError: the file is not an image; names it.
    """
    with opened(path) as file:
        orientation = _orientation(file)
        return _upright_size(file, orientation), orientation


def read_halves(path: Path, channels: Sequence[int]) -> tuple[Image.Image, Image.Image]:
    """Read a file of two images side by side, as `read_image` does, and return the left one and the right one.

    `channels` holds 1 (grey) or 3 (colour) for each.

    Raises:
        UserError: the file is not a whole image, or cannot be halved; names it.
    """
    both = read_image(path, max(channels))
    if both.width % 2:
        raise UserError(f"{path} is {both.width} pixels wide: two images side by side need an even width")
    half = both.width // 2
    left, right = both.crop((0, 0, half, both.height)), both.crop((half, 0, both.width, both.height))
    return _with_channels(left, channels[0]), _with_channels(right, channels[1])


def read_letterboxed(path: Path, channels: int, size: Sequence[int] | None) -> Picture:
    """Read an image and letterbox it to `size` = (H, W), like `read_image` and `letterbox_image`; None keeps its size.

    A large JPEG is decoded at a half, a quarter or an eighth of its size if that is enough, which is several times
    faster.

    Raises:
        UserError: the file is not a whole image; names it.
    """
    with opened(path) as file:
        return letterboxed(file, channels, size)


def letterboxed(file: Image.Image, channels: int, size: Sequence[int] | None) -> Picture:
    """Return an open image upright, with 1 or 3 channels, letterboxed to `size` = (H, W); None keeps its size."""
    orientation = _orientation(file)
    wide, high = file.size[::-1] if orientation >= 5 else file.size
    size = (high, wide) if size is None else size
    needed, _ = placed((high, wide), size)
    file.draft(None, needed if orientation >= 5 else needed[::-1])
    return Picture(letterbox_image(_upright(file, channels), size, (high, wide)), (high, wide), orientation)


@contextlib.contextmanager
def opened(path: Path | BinaryIO, content: bytes | None = None) -> Iterator[Image.Image]:
    """Open an image file, or its content if that is given, within a context; errors raised in it name the file.

    The content decides the format, not the file's name. Formats outside FORMATS are refused: for some of them Pillow
    starts other programs, such as Ghostscript for EPS.

    Raises:
        UserError: the file is not a whole image.
    """
    try:
        source = io.BytesIO(content) if content is not None else regular(path) if isinstance(path, Path) else path
        with Image.open(source, formats=FORMATS) as file:
            yield file
    except MemoryError:
        raise
    except UnidentifiedImageError as error:
        raise UserError(f"{path} cannot be read as an image (it is none of {', '.join(FORMATS)})") from error
    except Exception as error:  # on a damaged file Pillow raises whatever its decoder ran into
        raise UserError(f"{path} cannot be read as an image ({' '.join(str(error).split())})") from error


def _orientation(file: Image.Image) -> int:
    number = file.getexif().get(ORIENTATION)
    return number if isinstance(number, int) and 1 <= number <= 8 else 1  # files may hold any value


def _upright_size(file: Image.Image, orientation: int) -> tuple[int, int]:
    return (file.width, file.height) if orientation >= 5 else (file.height, file.width)


def _upright(file: Image.Image, channels: int) -> Image.Image:
    image = ImageOps.exif_transpose(file) if _orientation(file) > 1 else file  # which would copy it
    image.load()
    if is_deep(image.mode):
        image = _to_8_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return _with_channels(image, channels)


def _with_channels(image: Image.Image, channels: int) -> Image.Image:
    return image.convert("L" if channels == 1 else "RGB")


def is_deep(mode: str) -> bool:
    """Whether images of a mode of Pillow have values of more than 8 bits."""
    return mode.startswith(("I", "F"))


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Convert an image of 16-bit, 32-bit or float values to 8 bits."""
    values = np.asarray(image, dtype=np.float64)
    if not np.isfinite(values).all():
        raise UserError("some of its values are not numbers")
    top = 1.0 if image.mode == "F" and values.max() <= 1 else 255.0 if values.max() <= 255 else DEEP
    return Image.fromarray(np.clip(values * (255 / top), 0, 255).round().astype(np.uint8))


def letterbox_image(image: Image.Image, size: Sequence[int], original: Sequence[int] | None = None) -> Tensor:
    """Letterbox an image to `size` = (H, W): scale it with its proportions kept, and return its bytes (C, H, W).

    The margins get the median tone of the image's border. `original` is the (H, W) that sets the proportions, if not
    the image's own.
    """
    values = np.array(image)
    pixels = torch.from_numpy(values if values.ndim == 3 else values[:, :, None]).permute(2, 0, 1)
    return letterbox_pixels(pixels, size, original)


def letterbox_pixels(pixels: Tensor, size: Sequence[int], original: Sequence[int] | None = None) -> Tensor:
    """Letterbox the bytes of an image (C, h, w), as `letterbox_image` does.

    In the result all channels of a pixel are together, as in the file: torch scales such images in half the time.
    """
    (high, wide), (top, left) = placed(original or pixels.shape[1:], size)
    if pixels.shape[1:] != (high, wide):
        # Three times as fast as Pillow's resize, and equal up to rounding.
        pixels = F.interpolate(pixels[None], size=(high, wide), mode="bilinear", antialias=True)[0]
    if (high, wide) == tuple(size):
        return pixels
    canvas = pixels.new_empty(*size, len(pixels)).permute(2, 0, 1)
    tone = _border_tone(pixels)[:, None, None]
    for margin in (canvas[:, :top], canvas[:, top + high :], canvas[:, :, :left], canvas[:, :, left + wide :]):
        margin[:] = tone
    canvas[:, top : top + high, left : left + wide] = pixels
    return canvas


def letterbox_mask(ids: np.ndarray, size: Sequence[int]) -> Tensor:
    """Letterbox class numbers (h, w) of uint8 to `size` = (H, W); the margins are 255."""
    (high, wide), (top, left) = placed(ids.shape, size)
    if ids.shape != (high, wide):
        ids = np.asarray(Image.fromarray(ids).resize((wide, high), Image.Resampling.NEAREST))
    canvas = torch.full((size[0], size[1]), IGNORE, dtype=torch.uint8)
    canvas[top : top + high, left : left + wide] = torch.from_numpy(ids.copy())
    return canvas


def _border_tone(pixels: Tensor) -> Tensor:
    """Return the median (C,) of the border of an image (C, H, W) of uint8."""
    border = torch.cat([pixels[:, 0], pixels[:, -1], pixels[:, :, 0], pixels[:, :, -1]], dim=1)
    middle = (border.shape[1] - 1) // 2, border.shape[1] // 2
    return torch.from_numpy(np.partition(border.numpy(), middle, axis=1)[:, middle].mean(axis=1).astype(np.uint8))


def looks_inverted(image_u8: Tensor, mean: Sequence[float]) -> bool:
    """Whether inverting a grey image (1, H, W) would bring it much closer in brightness to the training images.

    `mean` is their mean per channel, in 0..1. False for colour images.
    """
    if len(mean) != 1:
        return False
    own = float(image_u8.float().mean()) / 255
    return abs(1 - own - mean[0]) + 0.25 < abs(own - mean[0])


def is_of_turned(stated: Sequence[int], size: Sequence[int], orientation: int) -> bool:
    """Whether the size `stated` = (H, W) is that of the pixels as stored, not of the upright image.

    `size` (H, W) is the upright image's, `orientation` EXIF's number. Only a quarter turn (5 to 8) shows in the size.
    """
    return orientation >= 5 and tuple(stated) == (size[1], size[0]) != tuple(size)


def wide_by_high(size: Sequence[int]) -> str:
    """Return a size (H, W) as people write it."""
    return f"{size[1]} x {size[0]}"
