"""Classification: one class per image.

N images, C channels, (H, W) size in pixels, K classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torchmetrics.classification import BinaryPrecisionRecallCurve, MulticlassAccuracy

from engine.contract.class_weights import ClassWeights
from engine.contract.data import DataModule
from engine.contract.errors import UserError
from engine.contract.heads import ClassHead
from engine.contract.mean import Mean
from engine.contract.mistakes import (
    BINS,
    MAX_CLASSES,
    Mistake,
    Mistakes,
    bin_of,
    calibration_error,
    caption,
    class_scores,
    macro,
)
from engine.contract.task import Task
from engine.inputs.drawing import captioned, draw_caption
from project.ops.cross_entropy import check_focal, cross_entropy, log_probabilities, total_weight

AUTO = "auto"  # the threshold that validations choose
MIN_THRESHOLD = 1e-6  # and 1 minus it is the highest one


class LitClassifier(Task):
    """A backbone and a head under cross-entropy; logs loss and accuracy. By default a small CNN for MNIST.

    The test also logs F1, precision and recall (means over classes), the F1 of each class, and the calibration error.

    Batches are `(images, labels)`: normalised float (N, C, H, W) and int64 (N,) in 0 .. K - 1.

    Args:
        class_names: the name of each class, in the order of the labels.
        in_channels: channels of the images.
        image_size: (H, W) of the images in pixels.
        mean: mean of each channel, of values in 0..1, that was subtracted from the images.
        std: standard deviation of each channel, by which the images were divided.
        backbone: `name` of a backbone and its options.
        head: `name` of a head and its options.
        optim: `name` of an optimiser, its options, and those of `training_options`.
        label_smoothing: share of the target spread over all classes, in [0, 1).
        class_weights: weight of each class in the loss: a list of numbers, or balanced, which weighs classes by their
            inverse frequency; training replaces it by the numbers.
        focal: gamma of the focal loss, which down-weights samples that are already right: 0 for none, 2 is common.
        threshold: lowest probability at which an image counts as the second of two classes; auto takes the one of the
            highest F1 in each validation, and the checkpoint keeps it. By default the likelier class counts.
    """

    task_name = "classify"
    takes = "classify"
    head_kind = ClassHead
    best_metric = "val/acc"
    best_is_highest = True
    columns: ClassVar[Mapping[str, str]] = {"class": "text", "probability": "percent"}

    def __init__(
        self,
        class_names: Sequence[str] = tuple("0123456789"),
        in_channels: int = 1,
        image_size: Sequence[int] = (28, 28),
        mean: Sequence[float] = (0.1307,),
        std: Sequence[float] = (0.3081,),
        backbone: Mapping[str, Any] | None = None,
        head: Mapping[str, Any] | None = None,
        optim: Mapping[str, Any] | None = None,
        label_smoothing: float = 0.1,
        class_weights: ClassWeights = None,
        focal: float = 0.0,
        threshold: float | Literal["auto"] | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise UserError(f"label_smoothing is a share in [0, 1), got {label_smoothing}")
        check_focal(focal)
        if threshold is not None and len(class_names) != 2:
            raise UserError(f"threshold is for two classes, and there are {len(class_names)}: leave it out")
        if threshold not in (None, AUTO) and not (isinstance(threshold, float) and 0 < threshold < 1):
            raise UserError(f"threshold is a probability in (0, 1), or {AUTO}, got {threshold}")
        self.set_up(
            class_names=class_names,
            in_channels=in_channels,
            image_size=image_size,
            mean=mean,
            std=std,
            backbone=backbone,
            head=head,
            optim=optim,
            label_smoothing=label_smoothing,
            class_weights=class_weights,
            focal=focal,
            threshold=threshold,
        )
        self.label_smoothing, self.focal = label_smoothing, focal
        # Without torchmetrics' checks of each batch, which would wait for the device.
        self.accuracy = MulticlassAccuracy(len(class_names), average="micro", validate_args=False)
        self.loss = Mean()
        # Collects a validation's probabilities of the second class, to choose the threshold.
        self.curve = BinaryPrecisionRecallCurve(validate_args=False) if threshold == AUTO else None
        self.mistakes = Mistakes(len(class_names), (in_channels, *image_size))

    def predict(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return class (N,) and probabilities (N, K) for normalised images (N, C, H, W)."""
        likeliest, probabilities = self.head.decode(self(images))
        return likeliest if self.threshold is None else self.decided(probabilities), probabilities

    @property
    def threshold(self) -> float | None:
        """The lowest probability of the second of two classes, if there is one: given, or chosen by a validation."""
        value = self.hparams.get("threshold")
        return None if value in (None, AUTO) else float(value)

    def decided(self, probabilities: Tensor) -> Tensor:
        """Return the class (N,) of each image by the threshold, or the likeliest one without it."""
        return probabilities.argmax(dim=1) if self.threshold is None else (probabilities[:, 1] >= self.threshold).long()

    @property
    def _choosing(self) -> Any:
        """The probabilities from which this validation will choose the threshold, if it does."""
        curve = getattr(self, "curve", None)
        return curve if curve is not None and self.trainer.state.fn == TrainerFn.FITTING else None

    def check_data(self, data: DataModule) -> None:
        if self.focal and (data.mixup or data.cutmix):
            raise UserError("focal is for images of one class each: leave it out, or --data.mixup and --data.cutmix")

    def criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of a batch, a scalar, for logits (N, K) and labels (N,), or soft targets (N, K)."""
        return cross_entropy(logits, labels, self.class_weights, self.focal, self.label_smoothing)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        logits = self(images)
        loss = self.criterion(logits, labels)
        likeliest = labels.argmax(dim=1) if labels.ndim == 2 else labels  # mixed images have soft targets
        acc = (logits.detach().argmax(dim=1) == likeliest).float().mean()
        self.log_dict({"train/loss": loss, "train/acc": acc}, on_step=False, on_epoch=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        for metric in (self.accuracy, self.loss, self.mistakes):
            metric.reset()
        if self._choosing is not None:
            self._choosing.reset()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch
        logits = self(images)
        predicted = None
        if self._choosing is not None:  # the threshold, which is not known yet
            self._choosing.update(logits.float().softmax(dim=1)[:, 1], labels)
        elif self.threshold is not None:
            predicted = self.decided(logits.float().softmax(dim=1))
        self.accuracy.update(logits if predicted is None else predicted, labels)
        loss = self.criterion(logits, labels)
        if self.class_weights is None:
            self.loss.update(loss.expand(len(labels)))
        else:  # a mean over all images, and not one of means over batches
            self.loss.update(loss, total_weight(labels, self.class_weights))
        self.mistakes.update(logits, labels, images, predicted)
        if self.each is not None:
            probabilities = logits.float().softmax(dim=1)
            classes = self.decided(probabilities)
            of_class = probabilities.gather(1, classes[:, None])[:, 0]
            self.each.append(torch.stack([labels, classes, of_class], dim=1))

    def on_validation_epoch_end(self) -> None:
        self.log_dict({"val/acc": self.accuracy, "val/loss": self.loss})
        if self._choosing is not None and not self.trainer.sanity_checking:
            counts = self.mistakes.compute()[0]
            assert counts is not None
            self.hparams["threshold"] = best_threshold(*self._choosing.compute()) if counts[1].any() else 0.5
        if self.threshold is not None:
            self.log("val/threshold", self.threshold)
        self.log_details(self.measured_by_class)

    def take_choices(self, hparams: Mapping[str, Any]) -> None:
        if getattr(self, "curve", None) is not None:
            self.hparams["threshold"] = hparams["threshold"]

    def measured_by_class(self) -> dict[str, float]:
        """Return the means over classes of F1, precision and recall, the calibration error, and the F1 of each class.

        Classes that neither occur nor are predicted are left out.
        """
        counts, _, bins = self.mistakes.compute()
        measured = {"ece": calibration_error(bins)}
        if counts is None:  # too many classes
            return measured
        each = zip(self.hparams["class_names"], class_scores(counts).f1.tolist(), strict=True)
        return {
            **macro(counts),
            **measured,
            **{f"f1/{name}": value for name, value in each if value == value},
        }  # not nan

    def measured_with(self, each: Tensor, times: Tensor) -> dict[str, float]:
        labels, predicted, probabilities = each.unbind(dim=1)
        right = (labels == predicted).double()
        bins = [bin_of(probabilities).bincount(times * part, BINS) for part in (1, right, probabilities)]
        num = len(self.hparams["class_names"])
        measured = {"acc": float(times @ right / times.sum()), "ece": calibration_error(torch.stack(bins, dim=1))}
        if num > MAX_CLASSES:
            return measured
        counts = (num * labels + predicted).long().bincount(times, num * num).view(num, num)
        return {**measured, **macro(counts)}

    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        """Return the `probabilities` (N, K) of all classes, which sum to 1."""
        return {"probabilities": self.predict(images)[1]}

    def mirrored(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(outputs)

    def rescaled(self, outputs: Mapping[str, Tensor], size: Sequence[int]) -> dict[str, Tensor]:
        return dict(outputs)

    def raw_of(self, outputs: Mapping[str, Tensor]) -> Tensor:
        return log_probabilities(outputs["probabilities"])

    def answers(self, outputs: Mapping[str, Tensor], sizes: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
        """Return the `class` of each image, its `probability`, and the `probabilities` of all classes by name."""
        names = self.hparams["class_names"]
        probabilities = outputs["probabilities"].cpu()
        classes = self.decided(probabilities)
        return [
            {
                "class": names[k],
                "probability": round(p[k], 6),
                "probabilities": {name: round(value, 6) for name, value in zip(names, p, strict=True)},
            }
            for k, p in zip(classes.tolist(), probabilities.tolist(), strict=True)
        ]

    def rows(self, answer: Mapping[str, Any]) -> list[dict[str, Any]]:
        each = {f"p_{name}": value for name, value in answer["probabilities"].items()}
        return [{**{key: value for key, value in answer.items() if key != "probabilities"}, **each}]

    def draw(self, image: Tensor, answer: Mapping[str, Any]) -> Tensor:
        return draw_caption(image, f"{answer['class']} {answer['probability']:.0%}")

    def pictures(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        names = self.hparams["class_names"]
        classes, probabilities = self.predict(images)
        texts = [
            caption(names[true], names[k], probability)
            for true, k, probability in zip(
                targets.tolist(), classes.tolist(), probabilities.amax(dim=1).tolist(), strict=True
            )
        ]
        return {"true -> predicted": captioned(self.input.seen(images), texts)}

    def confusion(self) -> Tensor | None:
        counts: Tensor | None = self.mistakes.compute()[0]
        return counts

    def worst_mistakes(self) -> list[Mistake]:
        names = self.hparams["class_names"]
        return [
            Mistake(self.input.seen(image[None])[0], names[true], names[predicted], probability)
            for image, true, predicted, probability in self.mistakes.compute()[1]
        ]


def best_threshold(precision: Tensor, recall: Tensor, thresholds: Tensor) -> float:
    """Return the threshold with the highest F1, halfway to the next lower one, which separates the same images.

    Args:
        precision: (T + 1,) that of each threshold, and 1.
        recall: (T + 1,) that of each threshold, and 0.
        thresholds: (T,) the probabilities that occur, rising.
    """
    precision, recall = precision[:-1].double(), recall[:-1].double()
    thresholds = thresholds.reshape(-1)  # torchmetrics gives a scalar if there is one
    best = int((2 * precision * recall / (precision + recall)).nan_to_num(0.0).argmax())
    lower = float(thresholds[best - 1]) if best else 0.0
    return min(max((float(thresholds[best]) + lower) / 2, MIN_THRESHOLD), 1 - MIN_THRESHOLD)
