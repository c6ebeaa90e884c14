"""Losses and measures of class maps.

N images, K classes, (H, W) size in pixels. A mask holds the class of each pixel, or `IGNORE`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.inputs.letterbox import IGNORE


def dice_loss(logits: Tensor, masks: Tensor, smooth: float = 1.0) -> Tensor:
    """Return 1 - the Dice coefficient, in [0, 1], averaged over the classes in the batch.

    A class's coefficient is 2 |A and B| / (|A| + |B|), for its probabilities A and its pixels B over the whole batch.
    `smooth`, in pixels, is added to numerator and denominator. If every pixel is ignored, the loss is 0.
    Source: Milletari et al. 2016, arXiv:1606.04797; computed per class.

    Args:
        logits: (N, K, H, W).
        masks: (N, H, W) int64 in 0 .. K - 1, or IGNORE.
        smooth: steadies the coefficient of classes with few pixels.
    """
    known = masks != IGNORE
    truth = F.one_hot(masks.masked_fill(~known, 0), logits.shape[1]).movedim(-1, 1) * known[:, None]  # (N, K, H, W)
    probabilities = logits.float().softmax(dim=1) * known[:, None]
    both = (probabilities * truth).sum(dim=(0, 2, 3))  # (K,)
    pixels = truth.sum(dim=(0, 2, 3))
    dice = (2 * both + smooth) / (probabilities.sum(dim=(0, 2, 3)) + pixels + smooth)
    shown = (pixels > 0).float()
    return ((1 - dice) * shown).sum() / shown.sum().clamp(min=1)


def iou_of_counts(counts: Tensor) -> Tensor:
    """Return each class's intersection over union (K,), in [0, 1]; nan for a class neither present nor predicted.

    `counts` (K, K) is the confusion matrix in pixels: rows are true classes, columns predicted ones.
    """
    both = counts.diagonal().double()
    return both / (counts.sum(dim=0) + counts.sum(dim=1) - both)


def pixels_by_class(predicted: Tensor, masks: Tensor, num_classes: int) -> Tensor:
    """Return the pixels of each class in each image (N, 3, K), int64: correctly predicted, true, and predicted ones.

    Both maps are (N, H, W) int64 in 0 .. K - 1; pixels that are IGNORE in `masks` are ignored.
    """
    return torch.stack(
        [
            torch.stack([pixels.bincount(minlength=num_classes) for pixels in (true[found == true], true, found)])
            for true, found in (
                (mask[mask != IGNORE], own[mask != IGNORE]) for mask, own in zip(masks, predicted, strict=True)
            )
        ]
    )
