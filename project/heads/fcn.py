"""Fully convolutional segmentation: scores at several strides, upsampled by learned filters and summed.

N images, K outputs, (H, W) image size, (h, w) a map's size.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.contract.errors import UserError
from engine.contract.heads import MapHead, check_grid
from project.layers import check_positive


class FCNHead(MapHead):
    """Score each pixel from several maps: the coarsest is upsampled to the next finer one and added, and so on.

    Upsampling is a transposed convolution, initialised to bilinear interpolation and then learned.
    Source: Long et al. 2015, arXiv:1411.4038.

    Args:
        channels: channels of the backbone's maps.
        strides: strides of the backbone's maps in pixels.
        num_outputs: number of classes, or of channels of an image.
        levels: how many of the coarsest maps are used; all maps if there are fewer.
        width: channels of a 3 x 3 convolution before the scores of each map, 0 for no such convolution.
    """

    def __init__(
        self, channels: Sequence[int], strides: Sequence[int], num_outputs: int, levels: int = 5, width: int = 32
    ) -> None:
        super().__init__()
        check_positive("levels", levels)
        check_positive("num_outputs", num_outputs)
        if width < 0:
            raise UserError(f"width is a number of channels, 0 for no convolution before the scores, got {width}")
        channels, strides = list(channels)[-levels:], list(strides)[-levels:]
        self.strides = strides
        self.scores = nn.ModuleList(_score(c, width, num_outputs) for c in channels)
        # From each map to the next finer one, and from the finest to the image.
        factors = [max(1, coarse // fine) for fine, coarse in zip([1, *strides[:-1]], strides, strict=True)]
        self.upsample = nn.ModuleList(Upsample(num_outputs, factor) for factor in factors)

    def forward(self, features: Sequence[Tensor], image_size: tuple[int, int]) -> Tensor:
        """Return (N, K, H, W) for maps of images of `image_size` = (H, W) pixels."""
        maps = list(features)[-len(self.strides) :]
        check_grid(maps, self.strides, image_size)
        sizes = [image_size, *((m.shape[-2], m.shape[-1]) for m in maps[:-1])]
        total: Tensor | None = None
        for i in reversed(range(len(maps))):
            scored = self.scores[i](maps[i])
            total = self.upsample[i](scored if total is None else total + scored, sizes[i])
        assert total is not None
        return total


class Upsample(nn.Module):
    """A transposed convolution that enlarges a map by `factor`; the result is cropped or stretched to a size."""

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        if factor > 1:
            kernel_size = 2 * factor - factor % 2
            pixels = (factor - factor % 2) // 2
            self.layer = nn.ConvTranspose2d(channels, channels, kernel_size, stride=factor, padding=pixels, bias=False)
            with torch.no_grad():
                self.layer.weight.zero_()
                for channel in range(channels):
                    self.layer.weight[channel, channel] = bilinear_filter(kernel_size, factor)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        if self.factor > 1:
            x = self.layer(x)
        height, width = size
        if x.shape[-2] >= height and x.shape[-1] >= width:  # map sizes are rounded up, so a row may be surplus
            return x[..., :height, :width]
        return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def bilinear_filter(kernel_size: int, factor: int) -> Tensor:
    """Return the filter (kernel_size, kernel_size) of a transposed convolution that interpolates bilinearly."""
    distance = (torch.arange(kernel_size) - (kernel_size - 1) / 2).abs()
    line = (1 - distance / factor).clamp(min=0)
    return line[:, None] * line[None]


def _score(channels: int, width: int, num_outputs: int) -> nn.Module:
    if not width:
        return nn.Conv2d(channels, num_outputs, kernel_size=1)
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, num_outputs, kernel_size=1),
    )
