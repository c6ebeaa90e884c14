"""Similarity of two images: losses to train on, and measures.

Images are float (N, C, H, W) in 0..1; measures are (N,), one per image.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from engine.inputs.images import grey

MIN_ERROR = 1e-10  # lower limit of the mean squared error, so that equal images have 100 dB
MIN_SIDE = 11  # pixels: SSIM's window must fit

# (output, target, source) -> scalar. A loss may use the source, for example by a physical model.
Reconstruction = Callable[[Tensor, Tensor, Tensor], Tensor]


def l1(output: Tensor, target: Tensor, source: Tensor) -> Tensor:
    """Return the mean absolute difference, which leaves edges sharper than the squared one."""
    return (output - target).abs().mean()


def l2(output: Tensor, target: Tensor, source: Tensor) -> Tensor:
    """Return the mean squared difference, whose minimum has the highest PSNR."""
    return (output - target).square().mean()


RECONSTRUCTIONS: dict[str, Reconstruction] = {"l1": l1, "l2": l2}


def psnr(output: Tensor, target: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio in dB: 10 log10(1 / mean squared error), at most 100."""
    error = (output - target).square().mean(dim=(1, 2, 3))
    return -10 * error.clamp(min=MIN_ERROR).log10()


def ssim(output: Tensor, target: Tensor) -> Tensor:
    """Return the structural similarity (SSIM), at most 1, with Gaussian windows of 11 x 11 pixels.

    Source: Wang et al. 2004, doi.org/10.1109/TIP.2003.819861.
    """
    with torch.autocast(output.device.type, enabled=False):  # variances as differences of squares need float32
        each = structural_similarity_index_measure(output.float(), target.float(), data_range=1.0, reduction="none")
    assert isinstance(each, Tensor)
    return each.view(-1)


def edge_energy(images: Tensor) -> Tensor:
    """Return the mean squared difference of neighbouring pixels (N,).

    Blurring an edge lowers it, while the sum of absolute differences stays the same.
    """
    down, right = (images.diff(dim=dim).square().mean(dim=(1, 2, 3)) for dim in (2, 3))
    return down + right


def as_channels(images: Tensor, channels: int) -> Tensor:
    """Return images (N, C, H, W) unchanged if C is `channels`, else averaged to grey and repeated."""
    if images.shape[1] == channels:
        return images
    return grey(images).mean(dim=1, keepdim=True).expand(-1, channels, -1, -1)


def enlarged(source: Tensor, factor: int) -> Tensor:
    """Redo an enlargement: from images enlarged `factor` times by repeating pixels to a bicubic enlargement."""
    small = source[:, :, ::factor, ::factor]
    size = (source.shape[2], source.shape[3])
    return F.interpolate(small, size=size, mode="bicubic", align_corners=False).clamp(0, 1)
