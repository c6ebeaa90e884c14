"""The lecture's small CNN as a backbone: convolution and pooling, twice or more. The default.

N images, C channels, (H, W) size in pixels.
"""

from collections.abc import Sequence
from typing import Literal, get_args

from torch import Tensor, nn

from engine.contract.backbone import Backbone
from engine.contract.errors import UserError
from project.layers import MAX_LAYERS, ConvBlock, Padding, check_positive

CNNPadding = Literal["same", "valid", "stem"]


class CNN(Backbone):
    """A chain of blocks, each of one or more convolutions, then pooling that halves the size: one map per block.

    With `padding="same"` map i is ceil(H / strides[i]) high. With `padding="valid"`, the lecture's choice, convolutions
    shrink the map at its border (28 -> 12 -> 4 pixels for the lecture's network): suited to classifying whole images,
    not to heads that need the image's grid. `padding="stem"` is 'valid' in the first block only, whose large maps cost
    the most.

    Args:
        in_channels: channels of the images.
        widths: channels of each block's output; their number is the number of blocks.
        kernel_size: side of the square kernels in pixels, odd.
        convs: convolutions in each block. Two of 3 x 3 see as far as one of 5 x 5, with one more activation.
        padding: 'same' keeps the size before pooling, 'valid' uses whole windows only, 'stem' is valid, then same.
        norm: normalisation of each block: batch, group, instance or none.
        activation: activation of each block, by name (relu, leaky_relu, elu, maxout, sigmoid, tanh, gelu, ...).
        dropout: probability, in [0, 1), of dropping a whole channel after each convolution.
    """

    def __init__(
        self,
        in_channels: int,
        widths: Sequence[int] = (16, 32),
        kernel_size: int = 5,
        convs: int = 1,
        padding: CNNPadding = "same",
        norm: str = "batch",
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_positive("widths", list(widths))
        check_positive("convs", convs, largest=MAX_LAYERS)
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise UserError(f"kernel_size is an odd number of pixels, got {kernel_size}")
        if padding not in get_args(CNNPadding):
            raise UserError(f"padding is 'same', 'valid' or 'stem', got {padding!r}")
        self.channels = list(widths)
        self.strides = [2 ** (i + 1) for i in range(len(widths))]
        self.blocks = nn.ModuleList()
        stem: Padding = "same" if padding == "same" else "valid"
        later: Padding = "valid" if padding == "valid" else "same"
        paddings = [stem, *[later] * (len(widths) - 1)]
        for before, after, how in zip([in_channels, *widths], widths, paddings, strict=False):
            chain = [
                ConvBlock(
                    before if i == 0 else after, after, kernel_size, how, i == convs - 1, norm, activation, dropout
                )
                for i in range(convs)
            ]
            self.blocks.append(chain[0] if convs == 1 else nn.Sequential(*chain))
        self.smallest = 1
        for how in reversed(paddings):  # n pixels need 2n - 1 before pooling
            self.smallest = 2 * self.smallest - 1 + (convs * (kernel_size - 1) if how == "valid" else 0)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps, fine to coarse, for float images (N, C, H, W)."""
        if min(images.shape[-2:]) < self.smallest:
            size = "x".join(map(str, images.shape[-2:]))
            raise UserError(f"this cnn needs images of at least {self.smallest}x{self.smallest} pixels, got {size}")
        maps = []
        for block in self.blocks:
            images = block(images)
            maps.append(images)
        return maps
