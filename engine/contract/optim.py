"""Optimisers and learning-rate schedules by name, from plain values."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from torch.optim.lr_scheduler import LRScheduler

from engine.contract.errors import UserError
from engine.contract.registry import check_options, look_up

Schedule = Literal["constant", "cosine", "one_cycle"]
Groups = Iterable[dict[str, Any]]


def adamw(groups: Groups, lr: float = 0.01, beta1: float = 0.9, beta2: float = 0.999) -> Optimizer:
    """Adam with weight decay apart from the gradient. Source: Loshchilov and Hutter 2019, arXiv:1711.05101.

    Args:
        lr: learning rate, above 0.
        beta1: how much of the gradient's running mean is kept each step.
        beta2: how much of the squared gradient's running mean is kept each step.
    """
    return AdamW(groups, lr=lr, betas=(beta1, beta2))


def adam(groups: Groups, lr: float = 0.001, beta1: float = 0.9, beta2: float = 0.999) -> Optimizer:
    """Adam, with weight decay in the gradient. Source: Kingma and Ba 2015, arXiv:1412.6980.

    Args:
        lr: learning rate, above 0.
        beta1: how much of the gradient's running mean is kept each step.
        beta2: how much of the squared gradient's running mean is kept each step.
    """
    return Adam(groups, lr=lr, betas=(beta1, beta2))


def sgd(groups: Groups, lr: float = 0.1, momentum: float = 0.9, nesterov: bool = False) -> Optimizer:
    """Stochastic gradient descent.

    Args:
        lr: learning rate, above 0.
        momentum: how much of the last step is kept, 0 for plain gradient descent.
        nesterov: look ahead along the momentum.
    """
    return SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov)


def rmsprop(groups: Groups, lr: float = 0.001, momentum: float = 0.0) -> Optimizer:
    """Gradient descent scaled by the gradient's running size.

    Args:
        lr: learning rate, above 0.
        momentum: how much of the last step is kept.
    """
    return RMSprop(groups, lr=lr, momentum=momentum)


OPTIMISERS: dict[str, Callable[..., Optimizer]] = {"adamw": adamw, "adam": adam, "sgd": sgd, "rmsprop": rmsprop}
FUSED = ("adamw", "adam", "sgd")  # those that PyTorch has a fused step for ...
FUSED_ON = ("cpu", "cuda", "mps")  # ... and where


def training_options(
    weight_decay: float = 0.01,
    schedule: Schedule = "one_cycle",
    warmup: float | None = None,
    ema: float = 0.0,
) -> dict[str, Any]:
    """What is asked of every optimiser; returns the checked values.

    Args:
        weight_decay: decay of convolution and linear weights; norms and biases have none.
        schedule: course of the learning rate: constant, cosine (down to 0), or one_cycle (up, then down to 0).
        warmup: share of all steps over which the rate rises, in [0, 1); by default 0.25 for one_cycle, else 0.
        ema: decay of an exponential moving average of the weights, in [0, 1); the averaged weights are then the ones
            validated and kept. 0 for none.
    """
    if not (weight_decay >= 0 and math.isfinite(weight_decay)):
        raise UserError(f"weight_decay is 0 or more, got {weight_decay}")
    if warmup is None:
        warmup = 0.25 if schedule == "one_cycle" else 0.0
    if not 0 <= warmup < 1:
        raise UserError(f"warmup is a share of all steps in [0, 1), got {warmup}")
    if not 0 <= ema < 1:
        raise UserError(f"ema is the decay of an average in [0, 1), got {ema}")
    return {"weight_decay": weight_decay, "schedule": schedule, "warmup": warmup, "ema": ema}


def build_optimiser(module: nn.Module, name: str = "adamw", **options: Any) -> tuple[Optimizer, dict[str, Any]]:
    """Return an optimiser over the module's trainable weights, and the checked values of `training_options`.

    Raises:
        UserError: no such optimiser, or an option or value that it does not take.
    """
    builder = look_up("optimiser", name, OPTIMISERS)
    shared = {key: options.pop(key) for key in list(options) if key in training_options.__annotations__}
    check_options(f"optimiser {name}", options, builder, ("groups",))
    check_options("optim", shared, training_options)
    training = training_options(**shared)
    lr = options.get("lr")
    if lr is not None and not (lr > 0 and math.isfinite(lr)):
        raise UserError(f"lr, the learning rate, is a finite number above 0, got {lr}")
    parameters = [p for p in module.parameters() if p.requires_grad]
    # One call a step instead of several a weight, where there is one. Asked for a group at a time because the optimiser
    # as a whole would then also undo fp16's scaling, which rules out clipping.
    fused = {"fused": True} if name in FUSED and all(p.device.type in FUSED_ON for p in parameters) else {}
    groups = [
        # Vectors are biases and the scales of normalisations: pulling those towards 0 does harm.
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": training["weight_decay"], **fused},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0, **fused},
    ]
    try:
        return builder([group for group in groups if group["params"]], **options), training
    except ValueError as error:  # PyTorch's own, about a value that it cannot take
        raise UserError(f"optimiser {name}: {error}") from error


@dataclass(frozen=True)
class Course:
    """The share of a run that is done, by optimiser steps: a straight line from the start, or a resume, to the end."""

    until: int  # optimiser steps at the run's end
    since: int = 0  # optimiser steps at the line's start ...
    share: float = 0.0  # ... and the share that was done there

    def share_at(self, step: int) -> float:
        """Return the share done after `step` optimiser steps, 0 to 1."""
        return self.share + (1 - self.share) * (step - self.since) / max(1, self.until - self.since)


class Scheduled(LRScheduler):
    """Sets each learning rate to a multiple of its top value, by the optimiser steps taken.

    Groups that are added later, as Lightning's BackboneFinetuning does, keep the rate that they are given.
    """

    def __init__(self, optimizer: Optimizer, factor: Callable[[int], float]) -> None:
        self.factor = factor
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        return [
            group["initial_lr"] * self.factor(self.last_epoch) if "initial_lr" in group else group["lr"]
            for group in self.optimizer.param_groups
        ]

    def state_dict(self) -> dict[str, Any]:
        return {key: value for key, value in super().state_dict().items() if key != "factor"}


def rate_factor(schedule: Schedule, warmup: float, progress: float) -> float:
    """Return the share of the top learning rate, in [0, 1], at `progress`, the share of the run done, in [0, 1].

    The rate rises from 1/25 along a half cosine during `warmup`, then stays (constant) or falls to 0 along another
    half cosine. Past the last step it stays where it ended. Source: Smith and Topin 2017, arXiv:1708.07120.
    """
    start = 0.04
    if progress < warmup:
        return start + (1 - start) * (1 - math.cos(math.pi * progress / warmup)) / 2
    if schedule == "constant":
        return 1.0
    return (1 + math.cos(math.pi * min(1.0, (progress - warmup) / (1 - warmup)))) / 2
