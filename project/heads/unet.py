"""The U-Net's decoder: from the coarsest map back to the image's size, joined with each finer map on the way.

N images, K outputs, (H, W) image size.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from engine.contract.errors import UserError
from engine.contract.heads import MapHead, check_grid
from project.layers import check_positive


class UNetHead(MapHead):
    """Upsample step by step, each time join the backbone's map of that size and convolve twice; then score.

    The outputs are class scores or an image. The decoder is segmentation-models-pytorch's. Source: Ronneberger et al.
    2015, arXiv:1505.04597.

    Args:
        channels: channels of the backbone's maps.
        strides: strides of the backbone's maps in pixels.
        num_outputs: number of classes, or of channels of an image.
        width: channels at the image's size; each coarser step has twice as many, up to 16 times.
        norm: normalisation of the decoder: batchnorm, instancenorm or none.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        num_outputs: int,
        width: int = 16,
        norm: str = "batchnorm",
    ) -> None:
        super().__init__()
        check_positive("width", width)
        check_positive("num_outputs", num_outputs)
        norms = ("batchnorm", "instancenorm", "none")
        if norm not in norms:
            raise UserError(f"a unet's norm is one of {', '.join(norms)}, got {norm!r}")
        if len(strides) < 2 or len(set(strides)) < len(strides):
            raise UserError(
                f"head unet needs a backbone with maps of several sizes, got strides {list(strides)}: try head fcn, or "
                "another backbone"
            )
        from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder  # takes a second, and few need it

        self.strides = list(strides)
        steps = len(channels)
        widths = [width * min(16, 2 ** (steps - 1 - i)) for i in range(steps)]  # coarse to fine
        use_norm: str | bool = False if norm == "none" else norm
        # The decoder expects the image as its first map, and uses only its size.
        self.decoder = UnetDecoder([0, *channels], widths, n_blocks=steps, use_norm=use_norm)
        self.score = nn.Conv2d(widths[-1], num_outputs, kernel_size=1)

    def forward(self, features: Sequence[Tensor], image_size: tuple[int, int]) -> Tensor:
        """Return (N, K, H, W) for maps of images of `image_size` = (H, W) pixels."""
        check_grid(features, self.strides, image_size)
        image = features[-1].new_empty(1, 0, *image_size)
        return self.score(self.decoder([image, *features]))
