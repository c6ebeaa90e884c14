"""What every backbone promises, tried on all of them: a new entry of BACKBONES is tested by being there."""

import math

import pytest
import torch

from engine.contract.parts import build_backbone
from project.backbones import BACKBONES
from tests.inputs import image_input

NAMES = [*BACKBONES, "test_resnet"]  # and one of timm's, small
FIXED_SIZE = {"mlp"}


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(28, 28), (33, 47)])
def test_maps_have_the_published_channels_and_sizes(name, channels, size):
    backbone = build_backbone(name, image_input(channels, size)).eval()
    maps = backbone(torch.randn(2, channels, *size))
    assert len(maps) == len(backbone.channels) == len(backbone.strides)
    for feature, width, stride in zip(maps, backbone.channels, backbone.strides, strict=True):
        assert feature.shape == (2, width, math.ceil(size[0] / stride), math.ceil(size[1] / stride))


def test_published_numbers_are_plain_and_run_fine_to_coarse(name):
    backbone = build_backbone(name, image_input())
    assert all(type(value) is int for value in [*backbone.channels, *backbone.strides])
    assert backbone.strides == sorted(backbone.strides)


def test_gradient_reaches_every_parameter(name):
    torch.manual_seed(0)
    backbone = build_backbone(name, image_input())
    for parameter in backbone.parameters():  # some networks start with scales of zero, behind which nothing moves
        parameter.data += 0.1 * torch.randn_like(parameter)
    sum(feature.square().mean() for feature in backbone(torch.randn(4, 1, 28, 28))).backward()
    assert [n for n, p in backbone.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_an_image_scores_the_same_alone_and_in_a_batch(name):
    torch.manual_seed(0)
    backbone = build_backbone(name, image_input()).eval()
    images = torch.randn(5, 1, 28, 28)
    for together, alone in zip(backbone(images), backbone(images[2:3]), strict=True):
        torch.testing.assert_close(together[2:3], alone, atol=1e-5, rtol=1e-4)


def test_another_image_size_works_or_is_refused_with_one_that_would(name):
    backbone = build_backbone(name, image_input()).eval()
    images = torch.randn(1, 1, 40, 40)
    if name in FIXED_SIZE:
        with pytest.raises(ValueError, match="28x28"):
            backbone(images)
    else:
        assert backbone(images)[0].shape[-1] == math.ceil(40 / backbone.strides[0])


def test_weights_survive_a_round_trip(name):
    first, second = (build_backbone(name, image_input()).eval() for _ in range(2))
    second.load_state_dict(first.state_dict())
    images = torch.randn(1, 1, 28, 28)
    for a, b in zip(first(images), second(images), strict=True):
        assert torch.equal(a, b)


def test_unknown_names_and_options_are_refused_with_the_closest():
    with pytest.raises(ValueError, match="unknown backbone 'incepton'; did you mean inception\\?"):
        build_backbone("incepton", image_input())
    with pytest.raises(ValueError, match="unknown backbone 'resnet81'; did you mean resnet18\\?"):
        build_backbone("resnet81", image_input())
    with pytest.raises(ValueError, match="backbone cnn has no option 'width'; did you mean widths\\?"):
        build_backbone("cnn", image_input(), width=[3])
