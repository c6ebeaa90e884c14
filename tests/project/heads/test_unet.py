import pytest
import torch

from project.heads.unet import UNetHead


def test_every_map_is_joined():
    head = UNetHead([4, 6, 8], [2, 4, 8], 5, width=4)
    maps = [torch.randn(2, c, s, s, requires_grad=True) for c, s in ((4, 16), (6, 8), (8, 4))]
    head(maps, (31, 32)).square().mean().backward()
    assert all(m.grad.abs().sum() > 0 for m in maps)


@pytest.mark.parametrize("norm", ["batchnorm", "instancenorm", "none"])
def test_norms(norm):
    head = UNetHead([4, 6], [2, 4], 5, width=4, norm=norm)
    assert head([torch.randn(2, 4, 9, 9), torch.randn(2, 6, 5, 5)], (18, 17)).shape == (2, 5, 18, 17)


@pytest.mark.parametrize(
    ("strides", "options", "message"),
    [
        ([16], {}, "maps of several sizes"),
        ([16, 16], {}, r"maps of several sizes, got strides \[16, 16\]"),
        ([2, 4], {"width": 0}, "width must be 1 or more"),
        ([2, 4], {"norm": "batch"}, "a unet's norm is one of batchnorm"),
    ],
)
def test_wrong_options_are_refused(strides, options, message):
    with pytest.raises(ValueError, match=message):
        UNetHead([4] * len(strides), strides, 5, **options)
