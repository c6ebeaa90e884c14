"""Classification: one class for each image.

N images, C channels, (H, W) size in pixels, K classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from project.backbones import build_backbone
from project.heads import build_head
from project.tasks.base import Task
from project.tasks.optim import build_optimiser


class LitClassifier(Task):
    """A backbone and a head under cross-entropy; logs loss and accuracy. By default a small CNN for MNIST.

    Batches are `(images, labels)`: normalised float (N, C, H, W) and int64 (N,) in 0 .. K - 1.

    Args:
        class_names: the name of each class, in the order of the labels.
        in_channels: channels of the images.
        image_size: (H, W) of the images in pixels.
        mean: mean of each channel, of values in 0..1, that was subtracted from the images.
        std: standard deviation of each channel that the images were divided by.
        backbone: `name` of a backbone and its options.
        head: `name` of a head and its options.
        optim: `name` of an optimiser, its options, and those of `training_options`.
        label_smoothing: share of the target that is spread over all classes, in [0, 1).
    """

    task_name = "classify"
    best_metric = "val/acc"
    best_is_highest = True
    recipe: ClassVar[Mapping[str, Any]] = {
        "data.name": "mnist",
        "data.batch_size": 500,
        "data.shift": 1.0,
        "backbone.name": "cnn",
        "backbone.padding": "valid",  # a third of the work of 'same' for the same accuracy on 28 x 28 pixels
        "head.name": "dense",
        "head.grid": 4,
        "head.hidden": 64,
        "optim.name": "adamw",
        "optim.lr": 0.015,
        "max_epochs": 5,
    }

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
    ) -> None:
        super().__init__()
        if backbone is None and head is None:
            backbone, head = self.default_parts()
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing is a share in [0, 1), got {label_smoothing}")
        # Plain values only, so that a checkpoint can be read without running anything it contains.
        plain: dict[str, Any] = {
            "class_names": list(class_names),
            "in_channels": in_channels,
            "image_size": list(image_size),
            "mean": list(mean),
            "std": list(std),
            "backbone": {"name": "cnn", **(backbone or {})},
            "head": {"name": "dense", **(head or {})},
            "optim": {"name": "adamw", **(optim or {})},
            "label_smoothing": label_smoothing,
        }
        self.save_hyperparameters(plain, logger=False)
        body = build_backbone(in_channels=in_channels, image_size=image_size, **plain["backbone"])
        top = build_head(channels=body.channels, strides=body.strides, num_outputs=len(class_names), **plain["head"])
        # Pixel by pixel with all channels together: what convolutions run fastest on.
        self.backbone = body.to(memory_format=torch.channels_last)
        self.head = top.to(memory_format=torch.channels_last)
        build_optimiser(self, **plain["optim"])  # a wrong option is refused now, not after the data was fetched
        self.label_smoothing = label_smoothing
        # Without their own checks of each batch, for which they would wait for the device.
        self.accuracy = MulticlassAccuracy(len(class_names), average="micro", validate_args=False)
        self.loss = MeanMetric(nan_strategy="disable")

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, K) for normalised images (N, C, H, W)."""
        images = images.to(memory_format=torch.channels_last)
        return self.head(self.backbone(images), (images.shape[-2], images.shape[-1]))

    def predict(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return class (N,) and probabilities (N, K) for normalised images (N, C, H, W)."""
        return self.head.decode(self(images))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        logits = self(images)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        self.track(len(labels), loss=loss, acc=(logits.detach().argmax(dim=1) == labels).float().mean())
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._measure(*batch)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._measure(*batch)
        self.images_tested += len(batch[1])

    def _measure(self, images: Tensor, labels: Tensor) -> None:
        logits = self(images)
        self.accuracy.update(logits, labels)
        self.loss.update(F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing, reduction="none"))

    # Metrics are logged once, when they are whole: to log them at each batch takes longer than to update them.

    def on_validation_epoch_start(self) -> None:
        self._reset()

    def on_test_epoch_start(self) -> None:
        self._reset()

    def on_validation_epoch_end(self) -> None:
        self.log_dict({"val/acc": self.accuracy, "val/loss": self.loss})

    def on_test_epoch_end(self) -> None:
        self.log_dict({"test/acc": self.accuracy, "test/loss": self.loss})

    def _reset(self) -> None:
        self.accuracy.reset()
        self.loss.reset()
