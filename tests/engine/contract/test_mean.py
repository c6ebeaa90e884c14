import pytest
import torch

from engine.contract.mean import Mean


def test_it_is_weighted():
    """As torchmetrics' own is not where it does not look for nan."""
    mean = Mean()
    mean.update(torch.tensor(1.0), 3)
    mean.update(torch.tensor(5.0), torch.tensor(1.0))
    assert mean.compute().item() == pytest.approx(2)
    mean.update(torch.tensor([6.0, 10.0]))
    assert mean.compute().item() == pytest.approx((3 + 5 + 6 + 10) / 6)
    mean.reset()
    mean.update(torch.tensor(float("nan")))
    assert mean.compute().isnan()
