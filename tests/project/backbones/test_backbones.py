"""What is special to single backbones and blocks."""

import pytest
import torch
from torch import nn

from engine.contract.parts import build_backbone
from project.layers import ACTIVATIONS, NORMS, ConvBlock, InceptionBlock, Maxout, build_activation
from tests.inputs import image_input


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_works_in_every_backbone_that_takes_one(name):
    for backbone in ("cnn", "mlp", "inception"):
        maps = build_backbone(backbone, image_input(), activation=name)(torch.randn(2, 1, 28, 28))
        assert maps[-1].isfinite().all()


@pytest.mark.parametrize("norm", NORMS)
def test_every_norm_works(norm):
    assert build_backbone("cnn", image_input(), norm=norm)(torch.randn(2, 1, 28, 28))[-1].isfinite().all()


def test_maxout_by_hand():
    x = torch.tensor([[1.0, -2.0, 0.5, 3.0]])  # two pieces of two channels: (1, -2) and (0.5, 3)
    assert Maxout(2)(x).tolist() == [[1.0, 3.0]]


def test_leaky_relu_has_the_lectures_slope():
    assert build_activation("leaky_relu")(torch.tensor([-1.0])).item() == pytest.approx(-0.1)


def test_pooling_before_a_rising_activation_equals_pooling_after():
    torch.manual_seed(0)
    block = ConvBlock(1, 4, 5, pool=True, norm="none", activation="relu")
    images = torch.randn(2, 1, 28, 28)
    expected = nn.functional.max_pool2d(block[0](images).relu(), 2)
    torch.testing.assert_close(block(images), expected)


def test_valid_padding_gives_the_lectures_maps():
    cnn = build_backbone("cnn", image_input(), widths=[10, 20], padding="valid")
    assert [tuple(m.shape) for m in cnn(torch.randn(1, 1, 28, 28))[:1]] == [(1, 10, 12, 12)]
    assert cnn.eval()(torch.randn(1, 1, 28, 28))[1].shape == (1, 20, 4, 4)


def test_two_convolutions_a_block_and_a_stem_without_padding():
    cnn = build_backbone("cnn", image_input(), widths=[4, 6, 8], kernel_size=3, convs=2, padding="stem").eval()
    assert [tuple(m.shape[1:]) for m in cnn(torch.randn(1, 1, 28, 28))] == [(4, 12, 12), (6, 6, 6), (8, 3, 3)]
    convolutions = [m for m in cnn.modules() if isinstance(m, nn.Conv2d)]
    assert [(c.in_channels, c.padding[0]) for c in convolutions] == [(1, 0), (4, 0), (4, 1), (6, 1), (6, 1), (8, 1)]


@pytest.mark.parametrize("padding", ["valid", "stem"])
@pytest.mark.parametrize("convs", [1, 2])
@pytest.mark.parametrize("widths", [[4], [4, 4], [4, 4, 4]])
def test_the_smallest_size_works_and_one_pixel_less_is_refused(widths, convs, padding):
    cnn = build_backbone("cnn", image_input(), widths=widths, convs=convs, padding=padding).eval()
    n = cnn.smallest
    assert cnn(torch.randn(1, 1, n, n))[-1].shape[-2:] == (1, 1)
    with pytest.raises(ValueError, match=f"at least {n}x{n} pixels, got {n - 1}x{n}"):
        cnn(torch.randn(1, 1, n - 1, n))


def test_inception_block_concatenates_four_equal_branches():
    block = InceptionBlock(3, 16).eval()
    images = torch.randn(1, 3, 9, 9)
    together = block(images)
    assert together.shape == (1, 16, 9, 9)
    for i, branch in enumerate(block.branches):
        torch.testing.assert_close(together[:, 4 * i : 4 * i + 4], branch(images))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": []}, "widths must be 1 or more"),
        ({"widths": [0]}, "widths must be 1 or more"),
        ({"kernel_size": 4}, "kernel_size is an odd number"),
        ({"padding": "full"}, "padding is one of same, valid, stem, got 'full'"),
        ({"convs": 0}, "convs must be 1 or more, got 0"),
        ({"norm": "batchnorm"}, "unknown norm 'batchnorm'; did you mean batch"),
        ({"activation": "rellu"}, "unknown activation 'rellu'; did you mean relu"),
        ({"dropout": 1.0}, r"dropout is a probability in \[0, 1\), got 1.0"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build_backbone("cnn", image_input(), **options)


def test_timm_maps_come_channels_first_whatever_the_model():
    swin = build_backbone("swin_tiny_patch4_window7_224", image_input(3, (64, 64))).eval()
    maps = swin(torch.randn(1, 3, 64, 64))
    assert [tuple(m.shape) for m in maps] == [
        (1, c, 64 // s, 64 // s) for c, s in zip(swin.channels, swin.strides, strict=True)
    ]


def test_timm_model_refuses_a_size_it_cannot_take_and_names_one():
    with pytest.raises(ValueError, match="test_convnext cannot take images of 28x28 pixels: 32x32 would work"):
        build_backbone("test_convnext", image_input())(torch.randn(1, 1, 28, 28))
    with pytest.raises(ValueError, match="test_vit cannot take images of 28x28 pixels: 32x32 would work"):
        build_backbone("test_vit", image_input())(torch.randn(1, 1, 28, 28))


def test_a_failure_that_is_not_the_sizes_is_not_blamed_on_it():
    backbone = build_backbone("test_resnet", image_input())
    with pytest.raises(RuntimeError, match="channels"):
        backbone(torch.randn(1, 5, 28, 28))
