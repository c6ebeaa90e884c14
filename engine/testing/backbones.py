"""What every backbone for images promises."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from engine.contract.backbone import Backbone
from engine.contract.parts import build_backbone
from engine.inputs.image_input import ImageInput

SIZE = (28, 28)


def _built(name: str, options: dict[str, Any], channels: int = 1, size: Sequence[int] = SIZE) -> Backbone:
    torch.manual_seed(0)
    images = ImageInput(channels, size, mean=(0.5,) * channels, std=(0.25,) * channels)
    return build_backbone(name, images, **options)


def maps_have_the_published_channels_and_sizes(name: str, **options: Any) -> None:
    """Whatever the number of channels, and where the size is no multiple of the strides."""
    for channels, size in ((1, SIZE), (3, SIZE), (1, (33, 47)), (3, (33, 47))):
        backbone = _built(name, options, channels, size).eval()
        maps = backbone(torch.randn(2, channels, *size))
        assert len(maps) == len(backbone.channels) == len(backbone.strides)
        for feature, width, stride in zip(maps, backbone.channels, backbone.strides, strict=True):
            assert feature.shape == (2, width, math.ceil(size[0] / stride), math.ceil(size[1] / stride))


def published_numbers_are_plain_and_run_fine_to_coarse(name: str, **options: Any) -> None:
    backbone = _built(name, options)
    assert all(type(value) is int for value in [*backbone.channels, *backbone.strides])
    assert list(backbone.strides) == sorted(backbone.strides)


def gradient_reaches_every_parameter(name: str, **options: Any) -> None:
    backbone = _built(name, options)
    for parameter in backbone.parameters():  # some networks start with scales of zero, behind which nothing moves
        parameter.data += 0.1 * torch.randn_like(parameter)
    torch.stack([feature.square().mean() for feature in backbone(torch.randn(4, 1, *SIZE))]).sum().backward()
    assert [n for n, p in backbone.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def an_image_scores_the_same_alone_and_in_a_batch(name: str, **options: Any) -> None:
    backbone = _built(name, options).eval()
    images = torch.randn(5, 1, *SIZE)
    for together, alone in zip(backbone(images), backbone(images[2:3]), strict=True):
        torch.testing.assert_close(together[2:3], alone, atol=1e-5, rtol=1e-4)


def another_image_size_works_or_is_refused_with_one_that_would(name: str, **options: Any) -> None:
    backbone = _built(name, options).eval()
    try:
        finest = backbone(torch.randn(1, 1, 40, 40))[0]
    except ValueError as error:
        assert "28x28" in str(error), error
    else:
        assert finest.shape[-1] == math.ceil(40 / backbone.strides[0])


def weights_survive_a_round_trip(name: str, **options: Any) -> None:
    first = _built(name, options).eval()
    second = _built(name, options).eval()
    for parameter in second.parameters():
        parameter.data += 1
    second.load_state_dict(first.state_dict())
    images = torch.randn(1, 1, *SIZE)
    assert all(torch.equal(a, b) for a, b in zip(first(images), second(images), strict=True))


BACKBONE_CHECKS: list[Callable[..., None]] = [
    maps_have_the_published_channels_and_sizes,
    published_numbers_are_plain_and_run_fine_to_coarse,
    gradient_reaches_every_parameter,
    an_image_scores_the_same_alone_and_in_a_batch,
    another_image_size_works_or_is_refused_with_one_that_would,
    weights_survive_a_round_trip,
]


def check_backbone(name: str, **options: Any) -> None:
    """Try all that a backbone promises, built by its name with these options.

    Raises:
        AssertionError: it does not keep a promise, which the function that failed names.
    """
    for check in BACKBONE_CHECKS:
        check(name, **options)
