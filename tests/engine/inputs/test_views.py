import pytest
import torch

from engine.inputs.views import View


def test_a_view_is_scaled_to_multiples_and_then_mirrored():
    images = torch.arange(48.0).view(1, 1, 4, 12)
    assert torch.equal(View(mirrored=True).of(images, 4), images.flip(-1))
    assert View().of(images, 4) is images
    scaled = View(scale=1.25).of(images, 4)
    assert scaled.shape == (1, 1, 4, 16)
    assert torch.equal(View(mirrored=True, scale=1.25).of(images, 4), scaled.flip(-1))
    assert View(scale=0.1).of(images, 4).shape == (1, 1, 4, 4)  # never nothing


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (View(), [20.0, 10.0, 40.0, 30.0]),
        (View(mirrored=True), [60.0, 10.0, 80.0, 30.0]),
    ],
)
def test_boxes_on_a_view_are_turned_back(view, expected):
    """A view of half the size: (100, 50) became (50, 25)."""
    assert view.boxes_back(torch.tensor([10.0, 5.0, 20.0, 15.0]), (25, 50), (50, 100)).tolist() == expected
