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
    """Adam with decoupled weight decay. Source: Loshchilov and Hutter 2019, arXiv:1711.05101.

    Args:
        lr: learning rate, above 0.
        beta1: share of the gradient's running mean kept at each step.
        beta2: share of the squared gradient's running mean kept at each step.
    """
    return AdamW(groups, lr=lr, betas=(beta1, beta2))


def adam(groups: Groups, lr: float = 0.001, beta1: float = 0.9, beta2: float = 0.999) -> Optimizer:
    """Adam, with weight decay in the gradient. Source: Kingma and Ba 2015, arXiv:1412.6980.

    Args:
        lr: learning rate, above 0.
        beta1: share of the gradient's running mean kept at each step.
        beta2: share of the squared gradient's running mean kept at each step.
    """
    return Adam(groups, lr=lr, betas=(beta1, beta2))


def sgd(groups: Groups, lr: float = 0.1, momentum: float = 0.9, nesterov: bool = False) -> Optimizer:
    """Stochastic gradient descent.

    Args:
        lr: learning rate, above 0.
        momentum: share of the last step that is kept, 0 for plain gradient descent.
        nesterov: use Nesterov momentum.
    """
    return SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov)


def rmsprop(groups: Groups, lr: float = 0.001, momentum: float = 0.0) -> Optimizer:
    """Gradient descent divided by the gradient's running root mean square.

    Args:
        lr: learning rate, above 0.
        momentum: share of the last step that is kept.
    """
    return RMSprop(groups, lr=lr, momentum=momentum)


OPTIMISERS: dict[str, Callable[..., Optimizer]] = {"adamw": adamw, "adam": adam, "sgd": sgd, "rmsprop": rmsprop}
FUSED = ("adamw", "adam", "sgd")  # optimisers with a fused step in PyTorch ...
FUSED_ON = ("cpu", "cuda", "mps")  # ... on these devices


def training_options(
    weight_decay: float = 0.01,
    schedule: Schedule = "one_cycle",
    warmup: float | None = None,
    ema: float = 0.0,
    backbone_lr_scale: float = 1.0,
    layer_decay: float = 1.0,
) -> dict[str, Any]:
    """Check the options that every optimiser has, and return their values.

    Args:
        weight_decay: decay of convolution and linear weights; norms and biases have none.
        schedule: course of the learning rate: constant, cosine (down to 0), or one_cycle (up, then down to 0).
        warmup: share of all steps over which the rate rises, in [0, 1); by default 0.25 for one_cycle, else 0.
        ema: decay of an exponential moving average of the weights, in [0, 1); the averaged weights are then the ones
            validated and kept. 0 for none.
        backbone_lr_scale: the backbone's learning rate as a multiple of the head's, above 0.
        layer_decay: the learning rate of each of the backbone's layers as a multiple of the next layer's, in (0, 1];
            the head has the full rate.

    Raises:
        UserError: a value is out of range.
    """
    if not (weight_decay >= 0 and math.isfinite(weight_decay)):
        raise UserError(f"weight_decay is 0 or more, got {weight_decay}")
    if warmup is None:
        warmup = 0.25 if schedule == "one_cycle" else 0.0
    if not 0 <= warmup < 1:
        raise UserError(f"warmup is a share of all steps in [0, 1), got {warmup}")
    if not 0 <= ema < 1:
        raise UserError(f"ema is the decay of an average in [0, 1), got {ema}")
    if not 0 < backbone_lr_scale < math.inf:
        raise UserError(f"backbone_lr_scale is above 0, got {backbone_lr_scale}; --backbone.freeze true is for 0")
    if not 0 < layer_decay <= 1:
        raise UserError(f"layer_decay is in (0, 1], got {layer_decay}")
    return {
        "weight_decay": weight_decay,
        "schedule": schedule,
        "warmup": warmup,
        "ema": ema,
        "backbone_lr_scale": backbone_lr_scale,
        "layer_decay": layer_decay,
    }


def layers(module: nn.Module) -> list[list[nn.Parameter]]:
    """Return a network's weights by layer, starting at the input; each layer begins with a module that has a matrix.

    Modules in a container (Sequential, ModuleList, ModuleDict) count one by one. The network's own weights belong to
    the first layer.
    """
    found: list[list[nn.Parameter]] = [list(module.parameters(recurse=False))]
    parts = [part for part in module.children() if any(True for _ in part.parameters())]
    in_a_row = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
    for part in parts:
        inner = layers(part) if len(parts) == 1 or isinstance(part, in_a_row) else [list(part.parameters())]
        for weights in inner:
            if any(weight.ndim > 1 for weight in weights) and any(weight.ndim > 1 for weight in found[-1]):
                found.append(weights)
            else:
                found[-1] += weights
    return found


def rate_scales(module: nn.Module, backbone_lr_scale: float, layer_decay: float) -> dict[nn.Parameter, float]:
    """Return the learning rates of the backbone's weights as multiples of the head's, {} if all are the same."""
    backbone = getattr(module, "backbone", None)
    if backbone is None or backbone_lr_scale == layer_decay == 1:
        return {}
    deepest = enumerate(reversed(layers(backbone)), start=1)
    return {weight: backbone_lr_scale * layer_decay**number for number, weights in deepest for weight in weights}


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
    # A fused step is one call instead of several per weight. It is set per group because an optimiser created with
    # `fused` would also undo fp16's scaling, which rules out gradient clipping.
    fused = {"fused": True} if name in FUSED and all(p.device.type in FUSED_ON for p in parameters) else {}
    own_rates = rate_scales(module, training["backbone_lr_scale"], training["layer_decay"])
    groups: list[dict[str, Any]] = []
    scales: list[float] = []
    for scale in sorted({own_rates.get(p, 1.0) for p in parameters}, reverse=True):
        alike = [p for p in parameters if own_rates.get(p, 1.0) == scale]
        # Vectors are biases and scales of normalisations, which weight decay would harm.
        for is_matrix, decay in ((True, training["weight_decay"]), (False, 0.0)):
            if params := [p for p in alike if (p.ndim > 1) == is_matrix]:
                groups.append({"params": params, "weight_decay": decay, **fused})
                scales.append(scale)
    try:
        optimiser = builder(groups, **options)
    except ValueError as error:  # PyTorch's own, about an invalid value
        raise UserError(f"optimiser {name}: {error}") from error
    for group, scale in zip(optimiser.param_groups, scales, strict=True):
        group["lr"] *= scale
    return optimiser, training


@dataclass(frozen=True)
class Course:
    """The finished share of a run by optimiser steps: a straight line from the start, or a resume, to the end."""

    until: int  # optimiser steps at the run's end
    since: int = 0  # optimiser steps at the line's start ...
    share: float = 0.0  # ... and the finished share there

    def share_at(self, step: int) -> float:
        """Return the finished share after `step` optimiser steps, in [0, 1]."""
        return self.share + (1 - self.share) * (step - self.since) / max(1, self.until - self.since)


class Scheduled(LRScheduler):
    """Sets each learning rate to a multiple of its top value, by the number of optimiser steps.

    Groups added later, as by Lightning's BackboneFinetuning, keep their own rate.
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
    """Return the learning rate as a share of the top rate, in [0, 1], at `progress`, the finished share of the run.

    The rate rises from 1/25 along a half cosine during `warmup`, then stays (constant) or falls to 0 along another
    half cosine. After the last step it no longer changes. Source: Smith and Topin 2017, arXiv:1708.07120.
    """
    start = 0.04
    if progress < warmup:
        return start + (1 - start) * (1 - math.cos(math.pi * progress / warmup)) / 2
    if schedule == "constant":
        return 1.0
    return (1 + math.cos(math.pi * min(1.0, (progress - warmup) / (1 - warmup)))) / 2
