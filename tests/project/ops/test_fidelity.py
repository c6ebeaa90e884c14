import pytest
import torch

from project.ops import fidelity


def test_the_signal_to_noise_ratio_is_that_of_each_image():
    target = torch.rand(3, 2, 12, 12)
    errors = torch.tensor([0.1, 0.01, 0.0]).view(3, 1, 1, 1)
    torch.testing.assert_close(fidelity.psnr(target + errors, target), torch.tensor([20.0, 40.0, 100.0]))


def test_similarity_is_that_of_each_image_and_1_for_equal_ones():
    torch.manual_seed(0)
    target = torch.rand(2, 1, 28, 28)
    found = fidelity.ssim(torch.stack([target[0], torch.rand(1, 28, 28)]), target)
    assert found[0] == pytest.approx(1, abs=1e-5) and found[1] < 0.2
    inside = torch.autocast("cpu", torch.bfloat16)
    with inside:  # as in mixed precision
        assert fidelity.ssim(target, target).tolist() == pytest.approx([1, 1], abs=1e-5)


def test_blurred_edges_have_less_energy_and_equal_plain_differences():
    sharp = torch.zeros(1, 1, 16, 16)
    sharp[..., 8:] = 1
    blurred = torch.zeros(1, 1, 16, 16)
    blurred[..., 6:10], blurred[..., 10:] = torch.tensor([0.2, 0.4, 0.6, 0.8]), 1
    assert sharp.diff(dim=3).abs().sum() == pytest.approx(blurred.diff(dim=3).abs().sum())
    ratio = fidelity.edge_energy(blurred) / fidelity.edge_energy(sharp)
    assert ratio.item() == pytest.approx(5 * 0.2**2)


def test_grey_is_repeated_and_colours_become_grey():
    colours = torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    assert torch.equal(fidelity.as_channels(colours, 3), colours)
    torch.testing.assert_close(fidelity.as_channels(colours, 1), torch.full((1, 1, 2, 2), 0.587))
    assert torch.equal(fidelity.as_channels(colours[:, :1], 3), torch.zeros(1, 3, 2, 2))


def test_what_was_enlarged_by_repeating_pixels_is_enlarged_smoothly():
    ramp = torch.linspace(0.2, 0.8, 7).view(1, 1, 1, 7).expand(1, 1, 7, 7)
    repeated = ramp.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    smooth = fidelity.enlarged(repeated, 4)
    steps = smooth[0, 0, 14, 8:20].diff()
    assert smooth.shape == (1, 1, 28, 28) and steps.min() > 0.015 and steps.max() < 0.035
    assert steps.mean() == pytest.approx(0.1 / 4, rel=0.05)
