"""A backbone that keeps its weights for the first epochs, or for good, while the head learns."""

import math
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from torch import nn


def frozen_epochs(backbone: Mapping[str, Any]) -> float:
    """Return for how many epochs the backbone of these hyperparameters is frozen: 0 for none, infinity for all."""
    freeze = backbone.get("freeze", False)
    return math.inf if freeze is True else float(freeze)


class FrozenBackbone(Callback):
    """Keeps a task's backbone as it is for some epochs: no gradient reaches it, and it runs as in evaluation.

    Running in evaluation keeps the statistics of batch normalisation, too, and drops nothing.

    Args:
        epochs: how many; infinity for all.
    """

    def __init__(self, epochs: float) -> None:
        self.epochs = epochs

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.on_train_epoch_start(trainer, pl_module)  # Lightning does not announce an epoch that it goes on with

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        frozen = trainer.current_epoch < self.epochs
        backbone: nn.Module = pl_module.backbone
        backbone.train(not frozen)
        # Several processes have agreed on the weights that they exchange gradients of: those are dropped below instead.
        if trainer.world_size == 1 and self.epochs < math.inf:
            backbone.requires_grad_(not frozen)

    def on_after_backward(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.world_size > 1 and trainer.current_epoch < self.epochs:
            pl_module.backbone.zero_grad(set_to_none=True)
