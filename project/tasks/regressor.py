"""Regression: one or several numbers per image.

N images, C channels, (H, W) size in pixels, K numbers per image, called outputs.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.contract.class_weights import as_tensor
from engine.contract.data import DataModule
from engine.contract.errors import UserError
from engine.contract.heads import ClassHead
from engine.contract.mean import Mean
from engine.contract.task import Task
from engine.inputs.drawing import captioned, draw_caption
from project.ops.regression import errors
from project.tasks.collected import Collected

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mse": F.mse_loss, "l1": F.l1_loss, "huber": F.huber_loss}


class LitRegressor(Task):
    """A backbone and a head that predict numbers; logs the loss, mean errors, and R2.

    The network predicts standardised numbers: how many standard deviations of the training images' numbers each lies
    above their mean. Errors and predictions are in the numbers' own units.

    Batches are `(images, numbers)`: normalised float (N, C, H, W) and float (N, K).

    Args:
        class_names: the name of each output.
        in_channels: channels of the images.
        image_size: (H, W) of the images in pixels.
        mean: mean of each channel, of values in 0..1, that was subtracted from the images.
        std: standard deviation of each channel, by which the images were divided.
        backbone: `name` of a backbone and its options.
        head: `name` of a head and its options.
        optim: `name` of an optimiser, its options, and those of `training_options`.
        loss: error that is minimised: mse (squared), l1 (absolute), or huber (squared up to a standard deviation and
            linear beyond, so that outliers count less).
        target_mean: mean of each output. By default that of the training images, which the checkpoint keeps.
        target_std: standard deviation of each output, likewise.
    """

    task_name = "regress"
    takes = "regress"
    head_kind = ClassHead
    best_metric = "val/r2"
    best_is_highest = True
    unmeasured = "the images are fewer than two, or have the same numbers, or some number is not finite"
    names_are = "Outputs"

    def __init__(
        self,
        class_names: Sequence[str],
        in_channels: int = 3,
        image_size: Sequence[int] = (224, 224),
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
        backbone: Mapping[str, Any] | None = None,
        head: Mapping[str, Any] | None = None,
        optim: Mapping[str, Any] | None = None,
        loss: Literal["mse", "l1", "huber"] = "mse",
        target_mean: Sequence[float] | None = None,
        target_std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if loss not in LOSSES:
            raise UserError(f"loss is one of {', '.join(LOSSES)}, got {loss!r}")
        self._measures_targets = target_mean is None and target_std is None
        if not self._measures_targets:
            check_statistics(target_mean, target_std, len(class_names))
        self.set_up(
            class_names=class_names,
            in_channels=in_channels,
            image_size=image_size,
            mean=mean,
            std=std,
            backbone=backbone,
            head=head,
            optim=optim,
            loss=loss,
            target_mean=None if target_mean is None else list(target_mean),
            target_std=None if target_std is None else list(target_std),
        )
        self.criterion = LOSSES[loss]
        self.collected = Collected(len(class_names))
        self.loss = Mean()

    def setup(self, stage: str) -> None:
        super().setup(stage)
        data = getattr(self.trainer, "datamodule", None)
        if stage == "fit" and self._measures_targets and isinstance(data, DataModule):
            self.hparams["target_mean"], self.hparams["target_std"] = data.target_statistics()

    def take_choices(self, hparams: Mapping[str, Any]) -> None:
        if self._measures_targets:
            self.hparams.update({name: hparams[name] for name in ("target_mean", "target_std")})

    @property
    def columns(self) -> dict[str, str]:  # type: ignore[override]
        return dict.fromkeys(self.hparams["class_names"], "number")

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Return the mean and the standard deviation of each output (K,); 0 and 1 if they were not measured."""
        num = len(self.hparams["class_names"])
        mean, std = self.hparams["target_mean"] or [0.0] * num, self.hparams["target_std"] or [1.0] * num
        return as_tensor(tuple(mean), self.device), as_tensor(tuple(std), self.device)

    def predict(self, images: Tensor) -> Tensor:
        """Return the numbers (N, K) for normalised images (N, C, H, W)."""
        mean, std = self.statistics()
        return self(images).float() * std + mean

    def standardised(self, numbers: Tensor) -> Tensor:
        mean, std = self.statistics()
        return (numbers - mean) / std

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, numbers = batch
        loss = self.criterion(self(images), self.standardised(numbers))
        self.log("train/loss", loss, on_step=False, on_epoch=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        self.collected.reset()
        self.loss.reset()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, numbers = batch
        predicted, true = self(images).float(), self.standardised(numbers)
        self.loss.update(self.criterion(predicted, true), len(images))
        rows = torch.stack([predicted, true], dim=1)
        self.collected.update(rows)
        if self.each is not None:
            self.each.append(rows)

    def on_validation_epoch_end(self) -> None:
        rows = self.collected.compute()
        each = self.errors_of(rows, torch.ones(len(rows)))
        self.log_dict({"val/loss": self.loss, **{f"val/{name}": float(v.nanmean()) for name, v in each.items()}})
        names = self.hparams["class_names"]
        if len(names) > 1:
            self.log_details(
                lambda: {
                    f"{measure}/{name}": value
                    for measure, values in each.items()
                    for name, value in zip(names, values.tolist(), strict=True)
                    if value == value  # not nan
                }
            )

    def errors_of(self, rows: Tensor, times: Tensor) -> dict[str, Tensor]:
        """Return the measures of each output (K,), in its own unit, for standardised numbers: see `errors`."""
        std = self.statistics()[1].cpu()
        found = errors(rows[:, 0], rows[:, 1], times)
        return {name: value if name == "r2" else value * std for name, value in found.items()}

    def measured_with(self, each: Tensor, times: Tensor) -> dict[str, float]:
        return {name: float(values.nanmean()) for name, values in self.errors_of(each, times).items()}

    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        """Return the `numbers` (N, K)."""
        return {"numbers": self.predict(images)}

    def mirrored(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(outputs)

    def raw_of(self, outputs: Mapping[str, Tensor]) -> Tensor:
        return self.standardised(outputs["numbers"])

    def answers(self, outputs: Mapping[str, Tensor], sizes: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
        """Return the number of each output, by name, with the digits that single precision has."""
        names = self.hparams["class_names"]
        return [
            {name: float(f"{value:.7g}") for name, value in zip(names, row, strict=True)}
            for row in outputs["numbers"].tolist()
        ]

    def rows(self, answer: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [dict(answer)]

    def target_text(self, target: Tensor) -> str:
        return named(dict(zip(self.hparams["class_names"], target.tolist(), strict=True)))

    def draw(self, image: Tensor, answer: Mapping[str, Any]) -> Tensor:
        return draw_caption(image, named(answer))

    def pictures(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        names = self.hparams["class_names"]
        texts = [
            ", ".join(f"{name} {t:.4g} -> {p:.4g}" for name, t, p in zip(names, true, predicted, strict=True))
            for true, predicted in zip(targets.tolist(), self.predict(images).tolist(), strict=True)
        ]
        return {"true -> predicted": captioned(self.input.seen(images), texts)}


def named(numbers: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())


def check_statistics(mean: Sequence[float] | None, std: Sequence[float] | None, num_outputs: int) -> None:
    """Refuse means and standard deviations that do not fit the outputs.

    Raises:
        UserError: names what was expected.
    """
    if mean is None or std is None or not len(mean) == len(std) == num_outputs:
        raise UserError(
            f"target_mean and target_std have a number for each of {num_outputs} outputs, got {mean} and {std}"
        )
    if not all(math.isfinite(m) and 0 < s < math.inf for m, s in zip(mean, std, strict=True)):
        raise UserError(f"target_mean is finite and target_std is above 0, got {list(mean)} and {list(std)}")
