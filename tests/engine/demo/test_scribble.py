import pytest
import torch

from engine.demo.scribble import like_mnist, scaled


def bar(top, left, high, wide):
    drawing = torch.zeros(280, 280, dtype=torch.uint8)
    drawing[top : top + high, left : left + wide] = 255
    return drawing


def test_a_digit_is_scaled_to_20_pixels_and_its_centre_of_mass_put_in_the_middle():
    drawing = bar(20, 30, 100, 20)
    drawing[100:120, 30:90] = 255  # an L, whose mass is not in the middle of its box
    seen = like_mnist(drawing, (28, 28)).float()
    rows, columns = (torch.nonzero(seen.sum(dim=side)).flatten() for side in (1, 0))
    assert len(rows) == 20 and len(columns) == 12 and seen.max() == 255
    places = torch.arange(28.0)
    for side in (0, 1):
        assert (seen.sum(dim=1 - side) * places).sum() / seen.sum() == pytest.approx(14, abs=0.5)


def test_where_and_how_large_it_was_drawn_makes_no_difference():
    assert torch.equal(like_mnist(bar(0, 0, 100, 20), (28, 28)), like_mnist(bar(60, 200, 200, 40), (28, 28)))


@pytest.mark.parametrize("drawing", [bar(0, 0, 1, 280), bar(0, 0, 280, 1), bar(5, 5, 1, 1), bar(0, 0, 280, 280)])
def test_any_shape_stays_within_the_image(drawing):
    assert like_mnist(drawing, (20, 28)).sum() > 0


def test_nothing_drawn_is_nothing_seen():
    assert not like_mnist(bar(0, 0, 0, 0), (28, 28)).any()


def test_scaling_averages():
    drawing = torch.zeros(280, 280, dtype=torch.uint8)
    drawing[:, 140:144] = 250
    seen = scaled(drawing, (28, 28))
    assert 35 < seen[14, 14] < 85 and seen[14, 10] == 0 and seen.shape == (28, 28)
