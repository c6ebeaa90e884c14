import pytest
import torch

from engine.inference.bootstrap import intervals


def mean_of(values):
    return lambda times: {"mean": float(times @ values / times.sum())}


def test_the_interval_of_a_share_is_that_of_the_binomial_distribution():
    """Of 100 images 80 are right: the 2.5 % and 97.5 % quantiles of Binomial(100, 0.8) are 72 and 88."""
    low, high = intervals(mean_of((torch.arange(100) < 80).double()), 100, 4000, seed=0)["mean"]
    assert abs(low - 0.72) < 0.011 and abs(high - 0.88) < 0.011


def test_images_that_are_all_alike_leave_no_doubt():
    assert intervals(mean_of(torch.ones(7).double()), 7, 100, seed=0) == {"mean": (1.0, 1.0)}


def test_the_seed_decides_and_as_many_are_drawn_as_there_are():
    values = torch.arange(20).double()
    first, again, other = (intervals(mean_of(values), 20, 100, seed) for seed in (1, 1, 2))
    assert first == again != other
    assert intervals(lambda times: {"num": float(times.sum())}, 20, 100, 0) == {"num": (20.0, 20.0)}


def test_draws_without_a_value_do_not_count():
    def recall(times):
        return {"recall": float("nan") if times[0] == 0 else 0.5}

    assert intervals(recall, 3, 100, 0)["recall"] == pytest.approx((0.5, 0.5))
