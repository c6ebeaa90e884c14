import pytest
import torch

from engine.inputs.images import denormalise, jitter, normalise, vary_colour


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_normalise_by_hand():
    images = torch.tensor([0, 255], dtype=torch.uint8).view(1, 2, 1, 1)
    values = normalise(images, [0.5, 0.2], [0.25, 0.4]).flatten().tolist()
    assert values == pytest.approx([(0 - 0.5) / 0.25, (1 - 0.2) / 0.4], abs=1e-6)


def test_a_run_in_bfloat16_leaves_later_images_as_exact_as_before():
    images = torch.randint(0, 256, (2, 1, 5, 5), dtype=torch.uint8)
    mean, std = (0.123456,), (0.654321,)  # of no other test: what is remembered is remembered by these
    torch.set_default_dtype(torch.bfloat16)  # as Lightning does for --precision bf16-true
    try:
        assert normalise(images, mean, std).dtype == torch.bfloat16
        assert denormalise(normalise(images, mean, std), mean, std).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)
    assert normalise(images, mean, std).dtype == torch.float32
    assert torch.allclose(denormalise(normalise(images, mean, std), mean, std), images / 255, atol=1e-6)


def test_shift_moves_by_whole_pixels_and_loses_nothing_inside():
    images = torch.zeros(200, 1, 9, 9, dtype=torch.uint8)
    images[:, :, 4, 4] = 77
    moved = jitter(images, generator(), shift=2)
    assert moved.dtype == torch.uint8 and moved.shape == images.shape
    assert (moved.flatten(1).sum(dim=1) == 77).all()
    places = moved.flatten(1).argmax(dim=1)
    rows, columns = places // 9, places % 9
    assert set(rows.tolist()) == set(columns.tolist()) == {2, 3, 4, 5, 6}


def test_what_moves_in_at_the_border_is_zero():
    moved = jitter(torch.full((50, 1, 4, 4), 9, dtype=torch.uint8), generator(), shift=1)
    assert set(moved.flatten().tolist()) == {0, 9}


def test_a_turn_by_nothing_and_a_zoom_by_nothing_change_nothing():
    images = torch.rand(3, 2, 8, 8) * 255
    torch.testing.assert_close(jitter(images, generator(), shift=0, rotate=1e-9), images, atol=1e-3, rtol=1e-4)


def test_rotation_keeps_the_middle_and_the_brightness_about():
    images = torch.zeros(20, 1, 21, 21)
    images[:, :, 8:13, 8:13] = 1
    turned = jitter(images, generator(), rotate=45)
    torch.testing.assert_close(turned[:, 0, 10, 10], torch.ones(20))
    torch.testing.assert_close(turned.sum(dim=(1, 2, 3)), torch.full((20,), 25.0), atol=1.5, rtol=0)


def test_each_image_gets_its_own_amount_and_the_generator_decides():
    images = torch.rand(8, 1, 12, 12)
    first, again, other = (jitter(images[:1].expand(8, -1, -1, -1), generator(s), 2, 10, 0.1) for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])


def coloured(strength=0.5, seed=0, images=None):
    images = torch.randint(60, 190, (6, 3, 8, 9), dtype=torch.uint8) if images is None else images
    return images, vary_colour(images, torch.Generator().manual_seed(seed), strength)


def test_colours_are_varied_image_by_image_and_the_same_for_a_seed():
    images, first = coloured()
    assert first.shape == images.shape and first.min() >= 0 and first.max() <= 255
    assert torch.equal(first, coloured(images=images)[1]) and not torch.equal(first, coloured(seed=1, images=images)[1])
    same = images[:1].expand(6, -1, -1, -1)
    assert len({image.numpy().tobytes() for image in coloured(images=same)[1]}) == 6
    torch.testing.assert_close(coloured(0.0, images=images)[1], images.float())


def test_brightness_contrast_and_saturation_by_hand():
    """With a factor of 0.5 each: half as bright, half as far from the mean, half as far from grey."""
    images = torch.tensor([100, 200, 40, 60, 80, 120], dtype=torch.uint8).view(1, 3, 1, 2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "rand", lambda *shape, generator: torch.zeros(*shape))
        varied = vary_colour(images, torch.Generator(), 0.5)
    half = images.float() / 2
    luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    mean = (half * luma).sum(dim=1).mean()
    contrasted = mean + (half - mean) / 2
    grey = (contrasted * luma).sum(dim=1, keepdim=True)
    torch.testing.assert_close(varied, grey + (contrasted - grey) / 2)


def test_grey_images_have_brightness_and_contrast():
    images, varied = coloured(images=torch.randint(60, 190, (4, 1, 8, 9), dtype=torch.uint8))
    assert varied.shape == images.shape and not torch.equal(varied, images.float())
