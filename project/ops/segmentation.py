"""Losses and measures of class maps.

N images, K classes, (H, W) size in pixels. A mask holds the class of each pixel, or `IGNORE`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.inputs.letterbox import IGNORE


def dice_loss(logits: Tensor, masks: Tensor, smooth: float = 1.0) -> Tensor:
    """Return one less the Dice coefficient, in [0, 1], averaged over the classes that the batch shows.

    A class's coefficient is 2 |A and B| / (|A| + |B|), of its probabilities A and its pixels B over the whole batch.
    `smooth`, in pixels, is added above and below. Without a pixel that has a class the loss is 0.
    Source: Milletari et al. 2016, arXiv:1606.04797; taken class by class.

    Args:
        logits: (N, K, H, W).
        masks: (N, H, W) int64 in 0 .. K - 1, or IGNORE.
        smooth: keeps the coefficient of a class of few pixels from jumping.
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
    """Return each class's intersection over union (K,), in [0, 1]; nan for a class that is neither there nor predicted.

    `counts` (K, K) is how many pixels of each true class (rows) were given which class (columns).
    """
    both = counts.diagonal().double()
    return both / (counts.sum(dim=0) + counts.sum(dim=1) - both)


def pixels_by_class(predicted: Tensor, masks: Tensor, num_classes: int) -> Tensor:
    """Return pixels of each class in each image (N, 3, K), int64: those that are right, there, and predicted.

    Both maps are (N, H, W) int64 in 0 .. K - 1; a pixel that is IGNORE in `masks` does not count.
    """
    return torch.stack(
        [
            torch.stack([pixels.bincount(minlength=num_classes) for pixels in (true[found == true], true, found)])
            for true, found in (
                (mask[mask != IGNORE], own[mask != IGNORE]) for mask, own in zip(masks, predicted, strict=True)
            )
        ]
    )
