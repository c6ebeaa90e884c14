"""What a backbone is."""

from typing import ClassVar

from torch import Tensor, nn


class Backbone(nn.Module):
    """Turns a prepared input, such as float images (N, C, H, W), into feature maps, fine to coarse.

    Once constructed it publishes `channels` and `strides`: map i is (N, channels[i], ceil(H / strides[i]),
    ceil(W / strides[i])). Networks without padding (the cnn's padding 'valid', a few of timm's) give maps smaller than
    that, which is right for heads that judge the whole image, and which heads that draw on its grid refuse.
    """

    takes: ClassVar[str] = "images"  # the form of input: see `engine.contract.input.Input`
    channels: list[int]
    strides: list[int]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps; raises ValueError, naming a size that would work, for images it cannot take."""
        raise NotImplementedError
