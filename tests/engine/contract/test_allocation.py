"""Networks that memory does not hold are refused before they take it."""

import pytest
import torch

from engine.contract import task as base
from engine.contract.allocation import AllocationLimit
from project import LitClassifier


def test_what_is_made_is_added_up_and_the_limit_is_kept():
    with AllocationLimit(4000, "{needed} GiB"):
        torch.zeros(900).add_(1)  # no new memory
        torch.empty(1000, device="meta")
        torch.zeros(50, dtype=torch.float64)
        with pytest.raises(ValueError, match="0.0 GiB"):
            torch.empty(1)
        with pytest.raises(ValueError, match="3,725,290,298"):
            torch.ones(10**9, 10**9)


def test_weights_are_the_same_within_a_limit():
    def built():
        torch.manual_seed(0)
        return LitClassifier().state_dict()

    free = built()
    with AllocationLimit(2**30, ""):
        limited = built()
    assert all(torch.equal(value, limited[name]) for name, value in free.items())


@pytest.mark.parametrize(
    "parts",
    [
        {"backbone": {"name": "cnn", "widths": [2**20, 2**20]}},
        {"backbone": {"name": "cnn", "kernel_size": 999_999_999}},
        {"backbone": {"name": "inception", "widths": [2**20]}},
        {"head": {"name": "dense", "hidden": 2**31 - 1}},
        {"head": {"name": "dense", "grid": 2**20}},
    ],
)
def test_sizes_that_no_memory_holds_are_refused(parts):
    with pytest.raises(ValueError, match="GiB of memory, more than is free: use smaller"):
        LitClassifier(**parts)


@pytest.mark.parametrize("backbone", [{"name": "resnet50"}, {"name": "cnn", "widths": [1024, 1024]}])
def test_a_network_far_larger_than_its_file_is_not_built(backbone, monkeypatch):
    task = LitClassifier()
    checkpoint = {"task": "classify", "hyper_parameters": dict(task.hparams), "state_dict": task.state_dict()}
    monkeypatch.setattr(base, "SLACK", 0)
    assert LitClassifier.from_checkpoint(checkpoint).hparams == task.hparams
    checkpoint["hyper_parameters"]["backbone"] = backbone
    with pytest.raises(ValueError, match="far more than the weights in the file"):
        LitClassifier.from_checkpoint(checkpoint)
