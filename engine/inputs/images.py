"""Image arithmetic on batches: normalising, and random shifts, turns, zooms and colours.

N images, C channels, (H, W) size in pixels.
"""

import functools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # weights of red, green and blue in brightness; source: ITU-R BT.601


def normalise(images_u8: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Turn uint8 images (N, C, H, W) into floats: scaled to 0..1, minus `mean`, divided by `std`, per channel."""
    scale, shift = _scale_and_shift(tuple(mean), tuple(std), images_u8.device, torch.get_default_dtype())
    return (images_u8 * scale).sub_(shift)


def denormalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Turn normalised images (N, C, H, W) back into floats in 0..1."""
    scale, shift = _scale_and_shift(tuple(mean), tuple(std), images.device, torch.float32)
    return (images.float() + shift) / (255 * scale)


@functools.cache
@torch.inference_mode(False)
def _scale_and_shift(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Return two tensors (C, 1, 1), cached per device and type: copying them for each batch would stall the device."""
    scale = torch.tensor([1 / (255 * s) for s in std], dtype=dtype, device=device).view(-1, 1, 1)
    shift = torch.tensor([m / s for m, s in zip(mean, std, strict=True)], dtype=dtype, device=device).view(-1, 1, 1)
    return scale, shift


def jitter(
    images: Tensor, generator: torch.Generator, shift: float = 0.0, rotate: float = 0.0, zoom: float = 0.0
) -> Tensor:
    """Shift, rotate and zoom each image by its own random amount, padding with 0.

    The amounts are drawn on the CPU from `generator`, so every device gets the same ones.

    Args:
        images: (N, C, H, W), uint8 or float.
        generator: a CPU generator.
        shift: largest shift along each axis, in pixels. Without `rotate` and `zoom` shifts are whole pixels, without
            interpolation.
        rotate: largest rotation either way, in degrees.
        zoom: largest relative change of scale, in [0, 1).

    Returns:
        (N, C, H, W), in the input's type when only shifting, else float.
    """
    num, _, height, width = images.shape

    def symmetric(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator) * 2 - 1

    if not rotate and not zoom:
        reach = round(shift)
        offsets = torch.randint(0, 2 * reach + 1, (2, num, 1), generator=generator).to(images.device, non_blocking=True)
        padded = F.pad(images, (reach, reach, reach, reach))
        # All windows of the padded images, as a view: (N, C, vertical offsets, horizontal offsets, H, W).
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)
        return windows[torch.arange(num, device=images.device), :, offsets[0, :, 0], offsets[1, :, 0]]

    angle = symmetric(num) * math.radians(rotate)
    scale = 1 + symmetric(num) * zoom
    move = symmetric(num, 2) * shift * 2 / torch.tensor([width, height])  # grid coordinates run from -1 to 1
    cos, sin = angle.cos() * scale, angle.sin() * scale
    theta = torch.stack([cos, -sin * height / width, move[:, 0], sin * width / height, cos, move[:, 1]], dim=1)
    grid = F.affine_grid(
        theta.view(num, 2, 3).to(images.device, non_blocking=True), list(images.shape), align_corners=False
    )
    return F.grid_sample(images.float(), grid, align_corners=False)


def vary_colour(images_u8: Tensor, generator: torch.Generator, strength: float) -> Tensor:
    """Change brightness, contrast and saturation of each image, by a random factor each.

    Factors are drawn on the CPU from `generator`, so every device gets the same ones.

    Args:
        images_u8: (N, C, H, W) uint8; saturation changes only with three channels.
        generator: a CPU generator.
        strength: in [0, 1]; factors are from 1 - strength to 1 + strength.

    Returns:
        (N, C, H, W) float in 0..255.
    """
    factors = 1 + strength * (2 * torch.rand(3, len(images_u8), 1, 1, 1, generator=generator) - 1)
    brightness, contrast, saturation = factors.to(images_u8.device, non_blocking=True)
    images = images_u8 * brightness
    mean = grey(images).mean(dim=(2, 3), keepdim=True)
    images = torch.lerp(mean, images, contrast)
    if images.shape[1] == len(LUMA):
        images = torch.lerp(grey(images), images, saturation)
    return images.clamp(0, 255)


def grey(images: Tensor) -> Tensor:
    """Return the brightness (N, 1, H, W) of colour images (N, 3, H, W); other images are returned unchanged."""
    if images.shape[1] != len(LUMA):
        return images
    return sum(images[:, i : i + 1] * share for i, share in enumerate(LUMA))  # type: ignore[return-value]
