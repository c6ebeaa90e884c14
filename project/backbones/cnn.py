"""The lecture's small CNN as a backbone: convolution and pooling, twice or more. The default.

N images, C channels, (H, W) size in pixels.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from project.backbones.base import Backbone
from project.backbones.blocks import ConvBlock, Padding, check_positive


class CNN(Backbone):
    """A chain of convolution blocks, each halving the size: one map a block.

    With `padding="same"` map i is ceil(H / strides[i]) high. With `padding="valid"`, the lecture's choice, the
    convolutions eat the border, so the maps are smaller than that (28 -> 12 -> 4 pixels for the lecture's network):
    right for classifying whole images, not for heads that draw on the image's grid.

    Args:
        in_channels: channels of the images.
        widths: channels of each block's output; their number is the number of blocks.
        kernel_size: side of the square kernels in pixels, odd.
        padding: 'same' keeps the size before pooling, 'valid' uses whole windows only.
        norm: normalisation of each block: batch, group, instance or none.
        activation: activation of each block, by name (relu, leaky_relu, elu, maxout, sigmoid, tanh, gelu, ...).
        dropout: probability, in [0, 1), of dropping a whole channel after each block.
    """

    def __init__(
        self,
        in_channels: int,
        widths: Sequence[int] = (16, 32),
        kernel_size: int = 5,
        padding: Padding = "same",
        norm: str = "batch",
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_positive("widths", list(widths))
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size is an odd number of pixels, got {kernel_size}")
        if padding not in ("same", "valid"):
            raise ValueError(f"padding is 'same' or 'valid', got {padding!r}")
        self.channels = list(widths)
        self.strides = [2 ** (i + 1) for i in range(len(widths))]
        self.blocks = nn.ModuleList()
        for before, after in zip([in_channels, *widths], widths, strict=False):
            block = ConvBlock(before, after, kernel_size, padding, True, norm, activation, dropout)
            self.blocks.append(block)
        border = kernel_size - 1 if padding == "valid" else 0
        self.smallest = 1
        for _ in widths:  # from the last block back: a map of n pixels needs 2n - 1 before pooling
            self.smallest = 2 * self.smallest - 1 + border

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps, fine to coarse, for float images (N, C, H, W)."""
        if min(images.shape[-2:]) < self.smallest:
            size = "x".join(map(str, images.shape[-2:]))
            raise ValueError(f"this cnn needs images of at least {self.smallest}x{self.smallest} pixels, got {size}")
        maps = []
        for block in self.blocks:
            images = block(images)
            maps.append(images)
        return maps
