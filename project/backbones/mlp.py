"""A multi-layer perceptron as a backbone: the whole image in, one map of 1 x 1 out.

N images, C channels, (H, W) size in pixels.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from engine.contract.backbone import Backbone
from engine.contract.errors import UserError
from project.layers import activation_pieces, build_activation, check_dropout, check_positive


class MLP(Backbone):
    """Fully connected layers on the flattened image. Takes images of one size only.

    Args:
        in_channels: channels of the images.
        image_size: (H, W) of the images in pixels.
        widths: units of each layer.
        norm: normalisation of each layer: batch or none.
        activation: activation of each layer, by name (relu, leaky_relu, elu, maxout, sigmoid, tanh, gelu, ...).
        dropout: probability, in [0, 1), of dropping a unit after each layer.
    """

    def __init__(
        self,
        in_channels: int,
        image_size: Sequence[int],
        widths: Sequence[int] = (512, 256),
        norm: str = "batch",
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_positive("widths", list(widths))
        if norm not in ("batch", "none"):
            raise UserError(f"an mlp's norm is batch or none, got {norm!r}")
        height, width = image_size
        self.image_size = (height, width)
        self.channels = [widths[-1]]
        self.strides = [max(height, width)]
        layers: list[nn.Module] = [nn.Flatten()]
        units = in_channels * height * width
        for after in widths:
            wide = after * activation_pieces(activation)
            layers.append(nn.Linear(units, wide, bias=norm == "none"))
            if norm == "batch":
                layers.append(nn.BatchNorm1d(wide))
            layers.append(build_activation(activation))
            if check_dropout(dropout):
                layers.append(nn.Dropout(dropout))
            units = after
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return one map (N, widths[-1], 1, 1) for float images (N, C, H, W)."""
        if tuple(images.shape[-2:]) != self.image_size:
            built, got = ("x".join(map(str, size)) for size in (self.image_size, images.shape[-2:]))
            raise UserError(f"this mlp takes images of {built} pixels, got {got}: resize them, or use the cnn")
        return [self.layers(images)[:, :, None, None]]
