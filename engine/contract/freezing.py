"""Freezing: a backbone keeps its weights for the first epochs, or for all, while the head learns."""

import math
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from torch import nn


def frozen_epochs(backbone: Mapping[str, Any]) -> float:
    """Return the number of epochs for which a backbone's hyperparameters freeze it: 0 for none, infinity for all."""
    freeze = backbone.get("freeze", False)
    return math.inf if freeze is True else float(freeze)


class FrozenBackbone(Callback):
    """Freezes a task's backbone for the first epochs: it gets no gradients and runs in eval mode.

    Eval mode also freezes the statistics of batch normalisation, and turns dropout off.

    Args:
        epochs: number of epochs; infinity for all.
    """

    def __init__(self, epochs: float) -> None:
        self.epochs = epochs

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.on_train_epoch_start(trainer, pl_module)  # Lightning skips that hook in a resumed epoch

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        frozen = trainer.current_epoch < self.epochs
        backbone: nn.Module = pl_module.backbone
        backbone.train(not frozen)
        # Several processes fix the weights whose gradients they exchange at the start: drop these gradients instead.
        if trainer.world_size == 1 and self.epochs < math.inf:
            backbone.requires_grad_(not frozen)

    def on_after_backward(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.world_size > 1 and trainer.current_epoch < self.epochs:
            pl_module.backbone.zero_grad(set_to_none=True)
