import pytest
import torch
import torch.nn.functional as F

from project.heads.fcn import FCNHead, Upsample, bilinear_filter


def test_upsampling_starts_out_as_bilinear_interpolation():
    """Inside; at the border, bilinear interpolation repeats the last value and the filter adds nothing."""
    x = torch.randn(1, 3, 6, 7)
    for factor in (2, 4, 3):
        expected = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
        upsampled = Upsample(3, factor)(x, expected.shape[-2:])
        inside = slice(factor, -factor)
        torch.testing.assert_close(upsampled[..., inside, inside], expected[..., inside, inside])


def test_filter_by_hand():
    line = torch.tensor([0.25, 0.75, 0.75, 0.25])
    assert torch.equal(bilinear_filter(4, 2), line[:, None] * line)


def test_scores_of_all_maps_are_added():
    """With scores of 1 everywhere from each of two maps, a pixel inside gets 2."""
    head = FCNHead([4, 4], [2, 4], 1, width=0)
    with torch.no_grad():
        for score in head.scores:
            score.weight.zero_()
            score.bias.fill_(1.0)
    raw = head([torch.zeros(1, 4, 8, 8), torch.zeros(1, 4, 4, 4)], (16, 16))
    torch.testing.assert_close(raw[..., 4:-4, 4:-4], torch.full((1, 1, 8, 8), 2.0))


def test_every_map_and_level_learns():
    head = FCNHead([4, 6, 8], [2, 4, 8], 5, levels=2)
    maps = [torch.randn(2, c, s, s, requires_grad=True) for c, s in ((4, 16), (6, 8), (8, 4))]
    head(maps, (32, 32)).square().mean().backward()
    assert maps[0].grad is None and all(m.grad.abs().sum() > 0 for m in maps[1:])


@pytest.mark.parametrize(("options", "message"), [({"levels": 0}, "levels"), ({"width": -1}, "width is a number")])
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        FCNHead([4], [2], 5, **options)
