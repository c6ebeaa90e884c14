"""Multi-label classification: which of the classes an image shows, any number of them.

N images, C channels, (H, W) size in pixels, K classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torchmetrics.functional.classification import multilabel_average_precision

from engine.contract.errors import UserError
from engine.contract.heads import ClassHead
from engine.contract.mean import Mean
from engine.contract.task import Task
from engine.inputs.drawing import captioned, draw_caption
from project.tasks.collected import Collected
from project.tasks.hits import Curve

UNTRAINED = 0.5  # threshold of a class before a validation has chosen one, or whose images it does not show


class LitMultiLabel(Task):
    """A backbone and a head under binary cross-entropy; logs mean average precision and F1.

    Batches are `(images, flags)`: normalised float (N, C, H, W), and float (N, K), 1 for each class that is there.

    Args:
        class_names: the name of each class.
        in_channels: channels of the images.
        image_size: (H, W) of the images in pixels.
        mean: mean of each channel, of values in 0..1, that was subtracted from the images.
        std: standard deviation of each channel, by which the images were divided.
        backbone: `name` of a backbone and its options.
        head: `name` of a head and its options.
        optim: `name` of an optimiser, its options, and those of `training_options`.
        thresholds: lowest probability, in (0, 1), at which an image counts as showing each class. By default each
            validation chooses those of the highest F1, and the checkpoint keeps them.
    """

    task_name = "multilabel"
    takes = "multilabel"
    head_kind = ClassHead
    best_metric = "val/map"
    best_is_highest = True
    unmeasured = "none of them shows a class"
    columns: ClassVar[Mapping[str, str]] = {"class": "text", "probability": "percent"}

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
        thresholds: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self._chooses_thresholds = thresholds is None
        thresholds = [UNTRAINED] * len(class_names) if thresholds is None else list(thresholds)
        check_thresholds(thresholds, class_names)
        self.set_up(
            class_names=class_names,
            in_channels=in_channels,
            image_size=image_size,
            mean=mean,
            std=std,
            backbone=backbone,
            head=head,
            optim=optim,
            thresholds=thresholds,
        )
        self.collected = Collected(len(class_names))
        self.loss = Mean()

    @classmethod
    def checked(cls, hparams: Any) -> dict[str, Any]:
        complete = super().checked(hparams)
        check_thresholds(complete["thresholds"] or (), complete["class_names"])  # an exported file may hold anything
        return complete

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, flags = batch
        loss = F.binary_cross_entropy_with_logits(self(images), flags)
        self.log("train/loss", loss, on_step=False, on_epoch=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        self.collected.reset()
        self.loss.reset()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, flags = batch
        logits = self(images).float()
        self.loss.update(F.binary_cross_entropy_with_logits(logits, flags.float()), len(images))
        rows = torch.stack([logits.sigmoid(), flags.float()], dim=1)
        self.collected.update(rows)
        if self.each is not None:
            self.each.append(rows)

    def on_validation_epoch_end(self) -> None:
        rows = self.collected.compute()
        is_fitting = self.trainer.state.fn == TrainerFn.FITTING
        if self._chooses_thresholds and is_fitting and not self.trainer.sanity_checking:
            self.hparams["thresholds"] = best_thresholds(rows[:, 0], rows[:, 1])
        each = self.measured_by_class(rows)
        self.log_dict({"val/loss": self.loss, **{f"val/{name}": float(v.nanmean()) for name, v in each.items()}})
        if not is_fitting:
            for measure, values in each.items():
                named = zip(self.hparams["class_names"], values.tolist(), strict=True)
                self.log_dict({f"val/{measure}/{name}": value for name, value in named if value == value})  # not nan

    def take_choices(self, hparams: Mapping[str, Any]) -> None:
        if self._chooses_thresholds:
            self.hparams["thresholds"] = list(hparams["thresholds"])

    def measured_by_class(self, rows: Tensor) -> dict[str, Tensor]:
        """Return each class's average precision `map` and its `f1` at its threshold (K,); nan for an absent class."""
        probabilities, flags = rows[:, 0], rows[:, 1]
        occurs = flags.any(dim=0)
        precision = torch.full((rows.shape[2],), torch.nan)
        if occurs.any():
            num = int(occurs.sum())
            found = multilabel_average_precision(
                probabilities[:, occurs], flags[:, occurs].long(), num, average="none", validate_args=False
            )
            precision[occurs] = found.view(num)
        predicted = (probabilities >= torch.tensor(self.hparams["thresholds"])).float()
        right, counted = (predicted * flags).sum(dim=0), (predicted + flags).sum(dim=0)
        return {"map": precision, "f1": torch.where(counted > 0, 2 * right / counted, torch.nan)}

    def measured_with(self, each: Tensor, times: Tensor) -> dict[str, float]:
        drawn = each.repeat_interleave(times.long(), dim=0)
        return {name: float(values.nanmean()) for name, values in self.measured_by_class(drawn).items()}

    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        """Return the `probabilities` (N, K) of all classes, each in 0..1 by itself."""
        return {"probabilities": self(images).float().sigmoid()}

    def mirrored(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(outputs)

    def raw_of(self, outputs: Mapping[str, Tensor]) -> Tensor:
        return outputs["probabilities"].logit(eps=1e-7)

    def answers(self, outputs: Mapping[str, Tensor], sizes: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
        """Return the `classes` of each image, each with its `probability`, and the `probabilities` of all by name.

        Classes come by falling probability, those below their threshold left out.
        """
        names, thresholds = self.hparams["class_names"], self.hparams["thresholds"]
        found = []
        for row in outputs["probabilities"].tolist():
            above = sorted(((p, k) for k, p in enumerate(row) if p >= thresholds[k]), key=lambda one: -one[0])
            found.append(
                {
                    "classes": [{"class": names[k], "probability": round(p, 6)} for p, k in above],
                    "probabilities": {name: round(p, 6) for name, p in zip(names, row, strict=True)},
                }
            )
        return found

    def rows(self, answer: Mapping[str, Any]) -> list[dict[str, Any]]:
        return list(answer["classes"]) or [dict.fromkeys(self.columns)]  # an image without classes gets an empty row

    def draw(self, image: Tensor, answer: Mapping[str, Any]) -> Tensor:
        return draw_caption(image, listed(answer))

    def target_text(self, target: Tensor) -> str:
        names = self.hparams["class_names"]
        return ", ".join(name for name, flag in zip(names, target.tolist(), strict=True) if flag) or "nothing"

    def pictures(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        answers = self.answers(self.outputs(images), [(images.shape[2], images.shape[3])] * len(images))
        texts = [
            f"{self.target_text(target)} -> {listed(answer)}" for target, answer in zip(targets, answers, strict=True)
        ]
        return {"true -> predicted": captioned(self.input.seen(images), texts)}


def listed(answer: Mapping[str, Any]) -> str:
    """Return the classes of an answer as text."""
    return ", ".join(f"{one['class']} {one['probability']:.0%}" for one in answer["classes"]) or "nothing"


def check_thresholds(thresholds: Sequence[float], class_names: Sequence[str]) -> None:
    """Refuse thresholds that do not fit the classes.

    Raises:
        UserError: names what was expected.
    """
    if len(thresholds) != len(class_names) or not all(0 < threshold < 1 for threshold in thresholds):
        raise UserError(
            f"thresholds are a probability in (0, 1) for each of {len(class_names)} classes, got {list(thresholds)}"
        )


def best_thresholds(probabilities: Tensor, flags: Tensor) -> list[float]:
    """Return each class's threshold of the highest F1, for probabilities and truth (N, K)."""
    found = []
    for scores, shown in zip(probabilities.unbind(dim=1), flags.unbind(dim=1), strict=True):
        order = scores.argsort(descending=True, stable=True)
        best = Curve(scores[order], shown[order] > 0, int(shown.sum())).best_score()
        found.append(UNTRAINED if best is None or not 0 < best < 1 else best)
    return found
