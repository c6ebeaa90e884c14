"""Reading a person's image files: any mode, size and orientation, as the bytes a network was trained on.

C channels, (H, W) size in pixels.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pnm"}


def find_images(paths: Iterable[str]) -> list[Path]:
    """Return the image files named, and those in the folders named, at any depth and in the order of their names.

    Raises:
        FileNotFoundError: a path does not exist, or a folder holds no images.
    """
    found: list[Path] = []
    for name in paths:
        path = Path(name)
        if not name:
            raise FileNotFoundError("an empty name is no image")
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            if not inside:
                raise FileNotFoundError(f"folder {path} holds no images ({' '.join(sorted(SUFFIXES))})")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise FileNotFoundError(f"there is no image or folder {path}")
    return found


def read_image(path: Path, channels: int) -> Image.Image:
    """Read an image upright, with 1 (grey) or 3 (colour) channels of 8 bits. What is transparent becomes white.

    Raises:
        ValueError: the file is not a whole image; names it.
    """
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            image.load()
        if image.mode.startswith(("I", "F")):
            image = _to_8_bits(image)
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return image.convert("L" if channels == 1 else "RGB")
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as an image ({' '.join(str(error).split())})") from error


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Scale an image of 16-bit, 32-bit or float values to 0..255."""
    values = np.asarray(image, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("some of its values are not numbers")
    top = 1.0 if image.mode == "F" and values.max() <= 1 else 255.0 if values.max() <= 255 else 65535.0
    return Image.fromarray(np.clip(values * (255 / top), 0, 255).round().astype(np.uint8))


def fit_image(image: Image.Image, size: Sequence[int]) -> Tensor:
    """Scale an image to `size` = (H, W), keeping its proportions, and return its bytes (C, H, W).

    An image of other proportions is first widened, in the middle tone of its own border.
    """
    height, width = size
    if image.height * width != image.width * height:
        wide = max(image.width, round(image.height * width / height))
        high = max(image.height, round(image.width * height / width))
        image = ImageOps.pad(image, (wide, high), color=_border_tone(image))
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.array(image)
    return torch.from_numpy(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1).copy())


def _border_tone(image: Image.Image) -> tuple[int, ...] | int:
    pixels = np.asarray(image)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    tone = np.median(border, axis=0).astype(int)
    return int(tone) if tone.ndim == 0 else tuple(int(t) for t in tone)


def looks_inverted(image_u8: Tensor, mean: Sequence[float]) -> bool:
    """Whether a grey image (1, H, W), inverted, would be much closer in brightness to the training images.

    `mean` is theirs, in 0..1. Colour images are never said to be inverted.
    """
    if len(mean) != 1:
        return False
    own = float(image_u8.float().mean()) / 255
    return abs(1 - own - mean[0]) + 0.25 < abs(own - mean[0])
