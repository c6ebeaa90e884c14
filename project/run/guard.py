"""Stops a run whose numbers have gone bad, before they reach the weights."""

import math
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor


class NotFinite(ValueError):
    """A loss or a gradient is infinite or not a number."""


class FiniteGuard(Callback):
    """Checks loss and gradient norm before each step of the optimiser.

    Raises:
        NotFinite: names the step and what to try; the weights are still those of the step before.
    """

    def __init__(self) -> None:
        self._loss: Tensor | None = None

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        self._loss = loss.detach()

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        assert self._loss is not None
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        # Gradients are finite just when their norm is; under fp16 the scaler deals with those that are not.
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        norm = torch.zeros_like(self._loss) if scaled else torch.nn.utils.get_total_norm(gradients)
        if not math.isfinite(float(self._loss + norm)):  # one question to the device, not two
            raise NotFinite(self._explain(trainer, float(self._loss), float(norm)))

    def _explain(self, trainer: pl.Trainer, loss: float, norm: float) -> str:
        optim: Any = trainer.lightning_module.hparams.get("optim", {})
        return (
            f"step {trainer.global_step + 1} has loss {loss:.4g} and gradient norm {norm:.4g}, so it was not taken. "
            f"Try a lower --optim.lr (it is {optim.get('lr')}), --gradient_clip_val 1.0 or --precision 32-true; "
            "look for broken images or labels if the first steps fail"
        )
