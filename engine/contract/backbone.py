"""The contract of backbones."""

from typing import ClassVar

from torch import Tensor, nn


class Backbone(nn.Module):
    """Turns a prepared input, such as float images (N, C, H, W), into feature maps, fine to coarse.

    After construction it has `channels` and `strides`: map i is (N, channels[i], ceil(H / strides[i]),
    ceil(W / strides[i])). Networks without padding (the cnn's padding 'valid', a few of timm's) give smaller maps:
    heads for the whole image accept these, heads that draw on the image's grid refuse them.
    """

    takes: ClassVar[str] = "images"  # the form of input: see `engine.contract.input.Input`
    channels: list[int]
    strides: list[int]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps, fine to coarse.

        Raises:
            ValueError: the images' size does not fit; names one that would work.
        """
        raise NotImplementedError
