import math

import pytest
import torch
from torch import nn

from engine.contract.optim import FUSED, OPTIMISERS, build_optimiser, rate_factor


def net():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_optimiser_lowers_a_loss_and_keeps_decay_off_vectors(name):
    torch.manual_seed(0)
    module = net()
    optimiser, _ = build_optimiser(module, name, lr=0.01, weight_decay=0.1)
    assert [(g["weight_decay"], {p.ndim for p in g["params"]}) for g in optimiser.param_groups] == [
        (0.1, {4, 2}),
        (0.0, {1}),
    ]
    assert sum(len(g["params"]) for g in optimiser.param_groups) == len(list(module.parameters()))
    images, labels = torch.randn(16, 1, 4, 4), torch.arange(16) % 3
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(module(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", FUSED)
def test_a_fused_step_is_the_plain_one(name):
    weights = []
    for fused in (True, False):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.GELU(), nn.Linear(4, 3))
        optimiser, _ = build_optimiser(module, name, lr=0.01)
        assert all(group["fused"] for group in optimiser.param_groups)
        for group in optimiser.param_groups:
            group["fused"] = fused
        for _ in range(5):
            optimiser.zero_grad()
            module(torch.randn(8, 1, 4, 4)).square().mean().backward()
            optimiser.step()
        weights.append(torch.cat([p.detach().flatten() for p in module.parameters()]))
    assert torch.allclose(*weights, atol=1e-4)


def test_schedules_by_hand():
    assert [rate_factor("constant", 0, p) for p in (0, 0.5, 1)] == [1, 1, 1]
    assert [rate_factor("cosine", 0, p) for p in (0, 0.5, 1)] == pytest.approx([1, 0.5, 0])
    assert [rate_factor("one_cycle", 0.25, p) for p in (0, 0.125, 0.25, 0.625, 1)] == pytest.approx(
        [0.04, 0.52, 1, 0.5, 0]
    )
    assert rate_factor("cosine", 0, 1.5) == 0
    assert rate_factor("constant", 0.5, 0.25) == pytest.approx(0.52)


def test_warmup_is_the_schedules_own_by_default():
    assert build_optimiser(net(), schedule="one_cycle")[1]["warmup"] == 0.25
    assert build_optimiser(net(), schedule="cosine")[1]["warmup"] == 0
    assert build_optimiser(net(), schedule="one_cycle", warmup=0.1)[1]["warmup"] == 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1.0}, "lr, the learning rate, is a finite number above 0, got -1.0"),
        ({"lr": 0.0}, "above 0, got 0.0"),
        ({"lr": math.nan}, "above 0, got nan"),
        ({"weight_decay": -1.0}, "weight_decay is 0 or more"),
        ({"warmup": 1.0}, r"warmup is a share of all steps in \[0, 1\)"),
        ({"ema": 1.0}, r"ema is the decay of an average in \[0, 1\)"),
        ({"schedule": "cosin"}, "schedule is one of constant, cosine, one_cycle, got 'cosin'"),
        ({"momentum": 0.9}, "optimiser adamw has no option 'momentum'"),
        ({"name": "admw"}, "unknown optimiser 'admw'; did you mean adamw"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build_optimiser(net(), **options)
