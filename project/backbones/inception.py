"""A small network of Inception blocks as a backbone.

N images, C channels, (H, W) size in pixels.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from engine.contract.backbone import Backbone
from project.layers import ConvBlock, InceptionBlock, check_positive


class Inception(Backbone):
    """A convolution with pooling, then stages of one Inception block with pooling between them: one map per stage.

    Args:
        in_channels: channels of the images.
        stem: channels of the first convolution.
        widths: channels of each stage's output, multiples of 4; their number is the number of stages.
        norm: normalisation of every convolution: batch, group, instance or none.
        activation: activation of every convolution, by name (relu, leaky_relu, elu, maxout, gelu, ...).
    """

    def __init__(
        self,
        in_channels: int,
        stem: int = 16,
        widths: Sequence[int] = (32, 64),
        norm: str = "batch",
        activation: str = "relu",
    ) -> None:
        super().__init__()
        check_positive("stem", stem)
        check_positive("widths", list(widths))
        self.channels = list(widths)
        self.strides = [2 ** (i + 1) for i in range(len(widths))]
        self.stem = ConvBlock(in_channels, stem, 3, pool=True, norm=norm, activation=activation)
        self.stages = nn.ModuleList()
        for before, after in zip([stem, *widths], widths, strict=False):
            self.stages.append(InceptionBlock(before, after, norm, activation))
        self.pool = nn.MaxPool2d(2, ceil_mode=True)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps, fine to coarse, for float images (N, C, H, W)."""
        x = self.stem(images)
        maps: list[Tensor] = []
        for stage in self.stages:
            x = stage(self.pool(x) if maps else x)
            maps.append(x)
        return maps
