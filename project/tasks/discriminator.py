"""The discriminator: a network that tells made images from real ones, patch by patch.

N images, C channels, (H, W) size in pixels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from project.layers import build_norm, check_positive


class PatchDiscriminator(nn.Module):
    """Scores each patch of an image, given its source, by a chain of convolutions that halve the size.

    With two widths a patch is 18 pixels wide, with three 38. Source: Isola et al. 2017, arXiv:1611.07004; there the
    last two convolutions have stride 1, here only the last one, which suits smaller images.

    Args:
        in_channels: channels of the source and of the image together.
        widths: channels after each halving.
        norm: normalisation after each halving but the first: batch, group, instance or none.
    """

    def __init__(self, in_channels: int, widths: Sequence[int], norm: str) -> None:
        super().__init__()
        check_positive("discriminator_widths", list(widths))
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(zip([in_channels, *widths], widths, strict=False)):
            normalised = i > 0 and norm != "none"
            # A normalisation cancels a bias before it.
            layers.append(nn.Conv2d(before, after, kernel_size=4, stride=2, padding=1, bias=not normalised))
            if normalised:
                layers.append(build_norm(norm, after))
            layers.append(nn.LeakyReLU(0.2))
        layers.append(nn.Conv2d(widths[-1], 1, kernel_size=3, padding=1))
        self.layers = nn.Sequential(*layers)

    def forward(self, source: Tensor, image: Tensor) -> Tensor:
        """Return scores (N, 1, h, w) of images (N, K, H, W) in 0..1, given normalised sources (N, C, H, W)."""
        scaled = (2 * image - 1).to(source.dtype)
        joined = torch.cat([source, scaled], dim=1).contiguous(memory_format=torch.channels_last)
        scores: Tensor = self.layers(joined)
        return scores.float()  # losses in full precision
