"""Segmentation: a class per pixel.

N images, C channels, (H, W) size in pixels, K classes.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from engine.contract.class_weights import ClassWeights
from engine.contract.errors import UserError
from engine.contract.heads import MapHead
from engine.contract.mean import Mean
from engine.contract.task import Task
from engine.inputs.drawing import class_colour, draw_masks
from engine.inputs.letterbox import IGNORE, unletterbox_map
from engine.inputs.tiles import Tile, blended
from project.ops.cross_entropy import check_focal, cross_entropy, log_probabilities, total_weight
from project.ops.segmentation import dice_loss, iou_of_counts, pixels_by_class

GROUND = ("ground", "background", "bg", "void", "unlabelled", "unlabeled", "other", "none")


class LitSegmenter(Task):
    """A backbone and a head that scores each pixel, under cross-entropy; logs loss, accuracy, and mean IoU.

    Batches are `(images, masks)`: normalised float (N, C, H, W) and int64 (N, H, W) in 0 .. K - 1, or 255 for pixels
    that the loss and all measures ignore. IoU is computed over all pixels of a data set, and averaged over the classes
    that occur in it or are predicted.

    Args:
        class_names: the name of each class, in the order of the numbers in masks.
        in_channels: channels of the images.
        image_size: (H, W) of the images in pixels.
        mean: mean of each channel, of values in 0..1, that was subtracted from the images.
        std: standard deviation of each channel, by which the images were divided.
        backbone: `name` of a backbone and its options.
        head: `name` of a head and its options.
        optim: `name` of an optimiser, its options, and those of `training_options`.
        dice: weight of the Dice loss, which is added to cross-entropy; it helps small classes.
        class_weights: weight of each class in the loss: a list of numbers, or balanced, which weighs classes by their
            inverse frequency; training replaces it by the numbers.
        focal: gamma of the focal loss, which down-weights pixels that are already right: 0 for none, 2 is common.
    """

    task_name = "segment"
    takes = "segment"
    head_kind = MapHead
    best_metric = "val/miou"
    best_is_highest = True
    unmeasured = "no pixel of their masks has a class"
    columns: ClassVar[Mapping[str, str]] = {"class": "text", "share": "percent"}

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
        dice: float = 0.0,
        class_weights: ClassWeights = None,
        focal: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= dice < float("inf"):
            raise UserError(f"dice is a weight, 0 or more, got {dice}")
        check_focal(focal)
        self.set_up(
            class_names=class_names,
            in_channels=in_channels,
            image_size=image_size,
            mean=mean,
            std=std,
            backbone=backbone,
            head=head,
            optim=optim,
            dice=dice,
            class_weights=class_weights,
            focal=focal,
        )
        self.dice = dice
        self.counts = MulticlassConfusionMatrix(len(class_names), ignore_index=IGNORE, validate_args=False)
        self.loss = Mean()
        self._labelled: Tensor | None = None  # pixels with a class in this epoch; None if it began before a resume

    def predict(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return class (N, H, W) and probability (N, H, W) of each pixel, for normalised images (N, C, H, W)."""
        return self.head.decode(self(images))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, masks = batch
        logits = self(images)
        loss = self._loss(logits, masks)
        known = masks != IGNORE
        if self._labelled is not None:
            self._labelled += known.sum()
        right = ((logits.detach().argmax(dim=1) == masks) & known).sum() / known.sum().clamp(min=1)
        self.log_dict({"train/loss": loss, "train/acc": right}, on_step=False, on_epoch=True)
        return loss

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self._labelled = torch.zeros((), dtype=torch.int64, device=self.device)

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        if self._labelled is not None and not self.trainer.strategy.reduce(self._labelled, reduce_op="sum"):
            raise UserError("no pixel of the training images' masks has a class: there is nothing to learn")

    def _loss(self, logits: Tensor, masks: Tensor) -> Tensor:
        loss = cross_entropy(logits, masks, self.class_weights, self.hparams["focal"], ignore=IGNORE)
        return loss + self.dice * dice_loss(logits, masks) if self.dice else loss

    def on_validation_epoch_start(self) -> None:
        self.counts.reset()
        self.loss.reset()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, masks = batch
        logits = self(images)
        self.counts.update(logits.argmax(dim=1), masks)
        counted = len(images) if self.class_weights is None else total_weight(masks, self.class_weights, IGNORE)
        self.loss.update(self._loss(logits, masks), counted)
        if self.each is not None:
            self.each.append(pixels_by_class(logits.argmax(dim=1), masks, logits.shape[1]))

    def on_validation_epoch_end(self) -> None:
        self.log_dict({f"val/{name}": value for name, value in self.measured().items()})
        self.log_details(self.measured_by_class)

    def measured(self) -> dict[str, Any]:
        """Return the metrics since the epoch's start: torchmetrics objects, or values already merged over processes."""
        counts = self.counts.compute()
        return {
            "miou": iou_of_counts(counts).nanmean(),
            "acc": counts.diagonal().sum() / counts.sum().clamp(min=1),
            "loss": self.loss,
        }

    def measured_by_class(self) -> dict[str, float]:
        """Return the IoU of each class that has one."""
        names = self.hparams["class_names"]
        each = iou_of_counts(self.counts.compute()).tolist()
        return {f"iou/{name}": value for name, value in zip(names, each, strict=True) if value == value}  # not nan

    def measured_with(self, each: Tensor, times: Tensor) -> dict[str, float]:
        right, true, predicted = (times @ each.double().flatten(1)).view(each.shape[1:])
        iou = right / (true + predicted - right)
        return {"miou": float(iou.nanmean()), "acc": float(right.sum() / true.sum().clamp(min=1))}

    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        """Return the `probabilities` (N, K, H, W) of all classes at each pixel, which sum to 1."""
        return {"probabilities": self(images).float().softmax(dim=1)}

    def mirrored(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"probabilities": outputs["probabilities"].flip(-1)}

    def rescaled(self, outputs: Mapping[str, Tensor], size: Sequence[int]) -> dict[str, Tensor]:
        return {"probabilities": F.interpolate(outputs["probabilities"], list(size), mode="bilinear", antialias=True)}

    def raw_of(self, outputs: Mapping[str, Tensor]) -> Tensor:
        return log_probabilities(outputs["probabilities"])

    def answers(self, outputs: Mapping[str, Tensor], sizes: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
        """Return the `shares` of the classes in each image, by name, and its `mask` (H, W) at the size of its file."""
        each = zip(outputs["probabilities"], sizes, strict=True)
        return [self._answer(at_size(probabilities, size).argmax(dim=0)) for probabilities, size in each]

    def answer_of_tiles(
        self, tiles: Iterable[tuple[Tile, Mapping[str, Tensor]]], size: tuple[int, int]
    ) -> dict[str, Any]:
        scaled = ((tile, at_size(outputs["probabilities"], (tile.high, tile.wide))) for tile, outputs in tiles)
        bands = (probabilities.argmax(dim=0).to(torch.uint8) for probabilities in blended(scaled, size[1]))
        return self._answer(torch.cat(list(bands)))

    def _answer(self, classes: Tensor) -> dict[str, Any]:
        """Return the answer of an image with these classes (H, W)."""
        names = self.hparams["class_names"]
        mask = classes.to(torch.uint8).cpu()
        shares = torch.bincount(mask.flatten(), minlength=len(names)) / mask.numel()
        return {
            "shares": {names[k]: round(share, 6) for k, share in enumerate(shares.tolist()) if share},
            "mask": mask,
        }

    def rows(self, answer: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [{"class": name, "share": share} for name, share in answer["shares"].items()]

    def draw(self, image: Tensor, answer: Mapping[str, Any]) -> Tensor:
        return draw_masks(image, answer["mask"], self._colours())

    def pictures(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        seen = self.input.seen(images)
        masks = {"truth": targets.cpu(), "output": self(images).argmax(dim=1).cpu()}
        colours = self._colours()
        drawn = {
            title: torch.stack([draw_masks(image, mask, colours) for image, mask in zip(seen, each, strict=True)])
            for title, each in masks.items()
        }
        return {"image": seen, **drawn}

    def legend(self) -> dict[str, tuple[int, int, int]]:
        names = self.hparams["class_names"]
        return {names[number]: colour for number, colour in self._colours().items()}

    def _colours(self) -> dict[int, tuple[int, int, int]]:
        """Return the colour of each class; the first one has none if it is the background or its name is a number."""
        names = self.hparams["class_names"]
        colours = {number: class_colour(number - 1) for number in range(1, len(names))}
        if not names[0].isdecimal() and names[0].lower() not in GROUND:
            colours[0] = class_colour(len(names) - 1)
        return colours

    def confusion(self) -> Tensor | None:
        counts: Tensor = self.counts.compute()
        return counts


def at_size(probabilities: Tensor, size: tuple[int, int]) -> Tensor:
    """Return probabilities (K, h, w) of a letterboxed image at the size (H, W) of its file: (K, H, W).

    Scaling probabilities instead of classes gives edges as fine as the image.
    """
    own = unletterbox_map(probabilities, size)
    return own if own.shape[1:] == size else F.interpolate(own[None], size, mode="bilinear", align_corners=False)[0]
