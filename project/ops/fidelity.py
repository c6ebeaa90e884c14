"""How like two images are: losses to train on, and measures.

Images are float (N, C, H, W) in 0..1; measures are (N,), one of each image.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from engine.inputs.images import grey

MIN_ERROR = 1e-10  # a mean squared error below this counts as this: 100 dB for images that are equal
MIN_SIDE = 11  # pixels of an image that SSIM's window fits into

# Scalar, of (output, target, source): a loss may look at the source as well, as that of a physical model would.
Reconstruction = Callable[[Tensor, Tensor, Tensor], Tensor]


def l1(output: Tensor, target: Tensor, source: Tensor) -> Tensor:
    """Return the mean absolute difference: it leaves edges sharper than the squared one does."""
    return (output - target).abs().mean()


def l2(output: Tensor, target: Tensor, source: Tensor) -> Tensor:
    """Return the mean squared difference: least for the highest signal-to-noise ratio."""
    return (output - target).square().mean()


RECONSTRUCTIONS: dict[str, Reconstruction] = {"l1": l1, "l2": l2}


def psnr(output: Tensor, target: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio in dB: 10 log10(1 / mean squared error), at most 100."""
    error = (output - target).square().mean(dim=(1, 2, 3))
    return -10 * error.clamp(min=MIN_ERROR).log10()


def ssim(output: Tensor, target: Tensor) -> Tensor:
    """Return the structural similarity, at most 1, by Gaussian windows of 11 x 11 pixels.

    Source: Wang et al. 2004, doi.org/10.1109/TIP.2003.819861.
    """
    with torch.autocast(output.device.type, enabled=False):  # differences of squares need all their digits
        each = structural_similarity_index_measure(output.float(), target.float(), data_range=1.0, reduction="none")
    assert isinstance(each, Tensor)
    return each.view(-1)


def edge_energy(images: Tensor) -> Tensor:
    """Return the mean squared difference of pixels that are neighbours.

    An edge from dark to light has the less of it the more it is blurred, unlike of plain differences.
    """
    down, right = (images.diff(dim=dim).square().mean(dim=(1, 2, 3)) for dim in (2, 3))
    return down + right


def as_channels(images: Tensor, channels: int) -> Tensor:
    """Return images (N, C, H, W) as they are if they have `channels` channels, else in grey, repeated so often."""
    if images.shape[1] == channels:
        return images
    return grey(images).mean(dim=1, keepdim=True).expand(-1, channels, -1, -1)


def enlarged(source: Tensor, factor: int) -> Tensor:
    """Return images that were enlarged `factor` times by repeating pixels as bicubic interpolation enlarges them."""
    small = source[:, :, ::factor, ::factor]
    size = (source.shape[2], source.shape[3])
    return F.interpolate(small, size=size, mode="bicubic", align_corners=False).clamp(0, 1)
