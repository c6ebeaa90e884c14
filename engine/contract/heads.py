"""The contract of heads, and the three kinds that tasks use: a task's `head_kind` is one of these classes.

N images, K outputs, M boxes, (H, W) size in pixels.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from engine.contract.errors import UserError


class Head(nn.Module):
    """Turns a backbone's maps into the task's output, knowing only their channels and strides."""

    def forward(self, features: Sequence[Tensor], image_size: tuple[int, int]) -> Any:
        """Return raw outputs for the maps, fine to coarse, of images of `image_size` = (H, W) pixels."""
        raise NotImplementedError

    def decode(self, raw: Any) -> Any:
        """Turn raw outputs into the answer, such as classes or boxes."""
        raise NotImplementedError


class ClassHead(Head):
    """A head whose raw output has one number per class or output (N, K): logits, or what else a task makes of them."""

    def decode(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Turn logits (N, K) into the likeliest class (N,) int64 and the probabilities (N, K), which sum to 1."""
        probabilities = raw.float().softmax(dim=1)
        return probabilities.argmax(dim=1), probabilities


class MapHead(Head):
    """A head whose raw output is a map (N, K, H, W) of the image's size: logits of each pixel, or an image."""

    def decode(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Turn logits into the likeliest class of each pixel (N, H, W) int64 and its probability (N, H, W)."""
        probability, classes = raw.float().softmax(dim=1).max(dim=1)
        return classes, probability


class BoxHead(Head):
    """A head that detects objects; it defines its own raw output and loss."""

    def loss(
        self, raw: Any, targets: list[dict[str, Tensor]], class_weights: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the terms of the loss by name, each a scalar; the loss is their sum.

        Args:
            raw: the result of `forward` for N images.
            targets: for each image `boxes` (M, 4) xyxy in pixels and `labels` (M,) int64; M may be 0.
            class_weights: (K,) weight of each class in the classification term; None for equal weights.
        """
        raise NotImplementedError

    def decode(self, raw: Any, score_threshold: float = 0.3) -> dict[str, Tensor]:
        """Return `boxes` (N, M, 4) xyxy in pixels, `scores` (N, M) in [0, 1] and `labels` (N, M) int64.

        M is the same for all images: the likeliest objects come first, and unused rows have a score of 0. To be
        exportable, no shape may depend on a tensor's values.

        Args:
            raw: the result of `forward`.
            score_threshold: objects with lower scores are left out.
        """
        raise NotImplementedError

    def joined(self, raws: Sequence[Any], backs: Sequence[Callable[[Tensor], Tensor]]) -> Any:
        """Return a raw output from which `decode` finds the objects of several views, each once.

        `--tta` calls this; without this method the flag is refused.

        Args:
            raws: the result of `forward` for each view.
            backs: for each view, the function from its boxes (..., 4) to boxes on the images.
        """
        raise UserError("its head cannot join views")


def check_grid(maps: Sequence[Tensor], strides: Sequence[int], image_size: tuple[int, int]) -> None:
    """Refuse maps that do not cover an image of `image_size` = (H, W) evenly, for heads that draw on its grid.

    Raises:
        UserError: a map has another size than ceil(H / stride), ceil(W / stride).
    """
    if torch.compiler.is_exporting():
        return  # sizes may be unknown then, and were checked before
    for feature, stride in zip(maps, strides, strict=True):
        height, width = (math.ceil(side / stride) for side in image_size)
        if feature.shape[-2:] != (height, width):
            got = "x".join(map(str, feature.shape[-2:]))
            raise UserError(
                f"this head draws on the image's grid and needs a map of {height}x{width} at stride {stride}, got "
                f"{got}: use a backbone with padding, such as the cnn with --backbone.padding same"
            )
