import pytest
import torch
from torchmetrics.functional.regression import mean_absolute_error, mean_squared_error, r2_score

from project.ops.regression import errors


def test_errors_by_hand():
    predicted, true = (
        torch.tensor([[1.0, 5.0], [2.0, 5.0], [6.0, 8.0]]),
        torch.tensor([[1.0, 5.0], [4.0, 5.0], [4.0, 5.0]]),
    )
    found = errors(predicted, true, torch.ones(3))
    assert found["mae"].tolist() == pytest.approx([4 / 3, 1.0])
    assert found["rmse"].tolist() == pytest.approx([(8 / 3) ** 0.5, 3**0.5])
    assert found["r2"][0].item() == pytest.approx(1 - 8 / 6) and found["r2"][1].isnan()  # all the same


def test_errors_are_those_of_torchmetrics_and_images_count_as_often_as_they_are_told_to():
    predicted, true = (torch.randn(9, 2, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    times = torch.tensor([1, 0, 2, 1, 1, 3, 1, 0, 1])
    found = errors(predicted, true, times)
    drawn = [one.repeat_interleave(times, dim=0).double() for one in (predicted, true)]
    for k in range(2):
        one, other = (values[:, k].contiguous() for values in drawn)
        assert found["mae"][k].item() == pytest.approx(mean_absolute_error(one, other).item())
        assert found["rmse"][k].item() == pytest.approx(mean_squared_error(one, other).item() ** 0.5)
        assert found["r2"][k].item() == pytest.approx(r2_score(one, other).item())


def test_one_image_has_no_variance():
    assert errors(torch.ones(1, 1), torch.full((1, 1), 0.1), torch.ones(1))["r2"].isnan().all()
