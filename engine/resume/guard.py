"""Stops a run whose loss or gradients are not finite, before they reach a checkpoint, or that lacks its metric."""

import math
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from engine.contract.errors import UserError
from engine.contract.registry import closest


class MetricGuard(Callback):
    """Refuses a metric for the best weights that the validation does not measure, after the first few batches.

    Raises:
        UserError: names the metrics there are.
    """

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        metric = pl_module.best_metric
        measured = [name for name in trainer.callback_metrics if name.startswith("val/")]
        if not measured or metric in measured:
            return
        of_class = metric.split("/", 2)[2:]
        if of_class and of_class[0] in pl_module.hparams["class_names"] and is_of_few(trainer):
            return  # which may lack that class
        choices = dict.fromkeys([*measured, *pl_module.details])
        raise UserError(
            f"--monitor {metric} is not a metric of this run{closest(metric, choices)}; there are {', '.join(choices)}"
        )


def is_of_few(trainer: pl.Trainer) -> bool:
    """Whether a validation is of a few batches only: the sanity check's, or a rehearsal's."""
    return trainer.sanity_checking or bool(trainer.fast_dev_run)  # type: ignore[attr-defined]


class NotFinite(UserError):
    """A loss or a gradient is infinite or not a number."""


@dataclass
class Question:
    """A step's loss and gradient norm, on their way from the device."""

    step: int
    answer: Tensor  # (2,) on the CPU
    arrived: Any  # a CUDA event; None if the answer is already there


def ask(step: int, numbers: Tensor) -> Question:
    """Start copying a step's loss and gradient norm to the CPU, without waiting for a GPU."""
    if numbers.device.type != "cuda":
        return Question(step, numbers.cpu(), None)
    answer = torch.empty(2, pin_memory=True).copy_(numbers, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record()
    return Question(step, answer, arrived)


class FiniteGuard(Callback):
    """Checks each step's loss and gradient norm before the step's result reaches a checkpoint.

    On a CPU the check precedes the step. On a GPU, which runs behind the program, checking at once would mean waiting
    at each step, so a step's numbers are checked during the next one, when they have long arrived.

    Raises:
        NotFinite: names the step and remedies; the newest checkpoint is older than the step.
    """

    def __init__(self) -> None:
        self._loss: Tensor | None = None
        self._question: Question | None = None

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        self._loss = loss.detach()

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        assert self._loss is not None
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        # The norm is finite only if all gradients are; under fp16 the scaler skips steps with infinite ones.
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        norm = torch.zeros_like(self._loss) if scaled else torch.nn.utils.get_total_norm(gradients)
        self._check(trainer)
        self._question = ask(trainer.global_step + 1, torch.stack([self._loss.float(), norm.float()]))
        if self._question.arrived is None:
            self._check(trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._check(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._check(trainer)

    def _check(self, trainer: pl.Trainer) -> None:
        """Check the numbers requested last, once."""
        question, self._question = self._question, None
        if question is None:
            return
        if question.arrived is not None:
            question.arrived.synchronize()
        loss, norm = question.answer.tolist()
        if not math.isfinite(loss + norm):
            raise NotFinite(self._explain(trainer, question.step, loss, norm))

    def _explain(self, trainer: pl.Trainer, step: int, loss: float, norm: float) -> str:
        optim: Any = trainer.lightning_module.hparams.get("optim", {})
        return (
            f"step {step} has loss {loss:.4g} and gradient norm {norm:.4g}; no checkpoint includes this step. "
            f"Try a lower --optim.lr (it is {optim.get('lr')}), --gradient_clip_val 1.0 or --precision 32-true; "
            "look for broken images or labels if the first steps fail"
        )
