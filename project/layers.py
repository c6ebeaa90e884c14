"""The building blocks of our networks: activations and normalisations by name, convolution and Inception blocks.

Letters: N images, C channels, (H, W) size in pixels.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from engine.contract.errors import UserError
from engine.contract.registry import brief, look_up

MAX_LAYERS = 64  # largest number of layers in an option such as widths
Padding = Literal["same", "valid"]


class Maxout(nn.Module):
    """The maximum of `pieces` linear pieces: (N, pieces * C, ...) -> (N, C, ...).

    Source: Goodfellow et al. 2013, arXiv:1302.4389.
    """

    def __init__(self, pieces: int = 2) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (self.pieces, -1)).amax(dim=1)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.1),  # the lecture's slope; torch's own default is 0.01
    "elu": nn.ELU,
    "maxout": Maxout,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "selu": nn.SELU,
    "celu": nn.CELU,
    "prelu": nn.PReLU,
    "relu6": nn.ReLU6,
    "hardswish": nn.Hardswish,
    "hardsigmoid": nn.Hardsigmoid,
    "hardtanh": nn.Hardtanh,
    "logsigmoid": nn.LogSigmoid,
    "softplus": nn.Softplus,
    "softsign": nn.Softsign,
    "identity": nn.Identity,
}


def build_activation(name: str) -> nn.Module:
    """Return a new activation module, for tensors (N, C, ...) of rank 2 or more."""
    return look_up("activation", name, ACTIVATIONS)()


def activation_pieces(name: str) -> int:
    """Return the number of input channels per output channel of an activation: 2 for maxout, else 1."""
    module = build_activation(name)
    return module.pieces if isinstance(module, Maxout) else 1


def _group_norm(channels: int) -> nn.Module:
    groups = next(g for g in (8, 4, 2, 1) if channels % g == 0)
    return nn.GroupNorm(groups, channels)


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "group": _group_norm,
    "instance": lambda channels: nn.InstanceNorm2d(channels, affine=True),
    "none": lambda channels: nn.Identity(),
}


def build_norm(name: str, channels: int) -> nn.Module:
    """Return a new normalisation module for maps (N, channels, H, W)."""
    return look_up("norm", name, NORMS)(channels)


def check_dropout(dropout: float) -> float:
    """Return `dropout` if it is a probability in [0, 1), else raise UserError."""
    if not 0.0 <= dropout < 1.0:
        raise UserError(f"dropout is a probability in [0, 1), got {dropout}")
    return dropout


def check_positive(name: str, values: int | list[int], largest: int = 2**20) -> None:
    """Raise UserError unless there are 1 to MAX_LAYERS values, each from 1 to `largest`."""
    listed = [values] if isinstance(values, int) else values
    if not listed or min(listed) < 1:
        raise UserError(f"{name} must be 1 or more, got {values}")
    if len(listed) > MAX_LAYERS or max(listed) > largest:
        raise UserError(f"{name} is at most {largest:,}, {MAX_LAYERS} of them, got {brief(values)}")


class ConvBlock(nn.Sequential):
    """Convolution, optional 2 x 2 max-pooling, normalisation, activation, dropout.

    Pooling comes first, so that normalisation and activation process a quarter of the pixels; with a monotonic
    activation its order with pooling does not matter. Pooling rounds an odd size up, so that a map is always
    ceil(H / stride) high, as with strided convolutions.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        padding: Padding = "same",
        pool: bool = False,
        norm: str = "batch",
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        wide = out_channels * activation_pieces(activation)
        pixels = kernel_size // 2 if padding == "same" else 0
        # A normalisation cancels a bias before it.
        layers: list[nn.Module] = [nn.Conv2d(in_channels, wide, kernel_size, padding=pixels, bias=norm == "none")]
        if pool:
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        if norm != "none":
            layers.append(build_norm(norm, wide))
        layers.append(build_activation(activation))
        if check_dropout(dropout):
            layers.append(nn.Dropout2d(dropout))
        super().__init__(*layers)


class InceptionBlock(nn.Module):
    """Four views of the same map, concatenated: 1 x 1, 3 x 3, 5 x 5 and pooled; (N, C, H, W) -> (N, out, H, W).

    A 1 x 1 convolution reduces the channels in the branches of the larger kernels and of pooling, to keep the block
    cheap. `out_channels` is a multiple of 4: each branch gives a quarter.
    Source: Szegedy et al. 2015, arXiv:1409.4842, figure 2(b).
    """

    def __init__(self, in_channels: int, out_channels: int, norm: str = "batch", activation: str = "relu") -> None:
        super().__init__()
        if out_channels < 4 or out_channels % 4:
            raise UserError(f"an Inception block's width is a multiple of 4, got {out_channels}")
        quarter = out_channels // 4

        def conv(i: int, o: int, kernel_size: int) -> ConvBlock:
            return ConvBlock(i, o, kernel_size, norm=norm, activation=activation)

        self.branches = nn.ModuleList(
            [
                conv(in_channels, quarter, 1),
                nn.Sequential(conv(in_channels, quarter, 1), conv(quarter, quarter, 3)),
                nn.Sequential(conv(in_channels, quarter, 1), conv(quarter, quarter, 5)),
                nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), conv(in_channels, quarter, 1)),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)
