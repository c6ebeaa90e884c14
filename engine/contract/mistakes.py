"""A classifier's mistakes: its confusion matrix, the calibration of its probabilities, and the images on which it was
wrong with the highest probability.

N images, C channels, (H, W) size in pixels, K classes, M images kept, B bins of probabilities.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

KEPT = 12  # images
MAX_CLASSES = 1000  # the counts grow with their square
BINS = 15  # of equal width, for the calibration error


class Mistake(NamedTuple):
    """A misclassified image, its true and predicted class by name, and the probability of the predicted one."""

    image: Tensor
    true: str
    predicted: str
    probability: float


def caption(true: str, predicted: str, probability: float) -> str:
    """Return an image's caption: its true class, its predicted class and that one's probability."""
    return f"{true} -> {predicted}, {100 * probability:.0f} %"


class ClassScores(NamedTuple):
    """Precision, recall and their harmonic mean of each class, (K,) in 0..1; nan for a class that does not occur."""

    precision: Tensor
    recall: Tensor
    f1: Tensor


def class_scores(counts: Tensor) -> ClassScores:
    """Return the scores of each class from a confusion matrix (K, K), true classes in rows, predicted in columns.

    A class that occurs but is never predicted has precision 0; a class predicted but absent has recall 0.
    """
    counts = counts.cpu().double()
    right, true, predicted = counts.diagonal(), counts.sum(dim=1), counts.sum(dim=0)
    sums = {"precision": (right, predicted), "recall": (right, true), "f1": (2 * right, true + predicted)}
    nowhere = true + predicted == 0
    scores = {name: (part / whole).nan_to_num(0.0).where(~nowhere, torch.nan) for name, (part, whole) in sums.items()}
    return ClassScores(**scores)


def bin_of(probabilities: Tensor) -> Tensor:
    """Return the bin of each probability, int64 (N,): the first holds 0 < p <= 1 / B."""
    return ((probabilities * BINS).ceil().long() - 1).clamp(0, BINS - 1)


def calibration_error(bins: Tensor) -> float:
    """Return the expected calibration error, in 0..1: the mean gap between a bin's accuracy and its probability.

    `bins` (B, 3) holds the number of images, the number of right answers, and the sum of probabilities of each bin.
    Source: Guo et al. 2017, arXiv:1706.04599, equation 3.
    """
    images, right, probability = bins.cpu().double().unbind(dim=1)
    return float((right - probability).abs().sum() / images.sum())


def macro(counts: Tensor) -> dict[str, float]:
    """Return the means of `f1`, `precision` and `recall` over all classes that occur or are predicted.

    `counts` is the confusion matrix (K, K).
    """
    scores = class_scores(counts)
    return {name: float(getattr(scores, name).nanmean()) for name in ("f1", "precision", "recall")}


class Mistakes(Metric):
    """The confusion matrix (true classes in rows, predicted in columns), the calibration, and the worst mistakes.

    Its memory does not grow with the number of images, and no batch waits for the device. With more than MAX_CLASSES
    classes there is no confusion matrix.

    Args:
        num_classes: K.
        shape: (C, H, W) of the images.
    """

    full_state_update = False
    counts: Tensor  # (K * K,)
    bins: Tensor  # (B, 3): numbers of images and of right answers, and the sum of probabilities
    surest: Tensor  # (M,) probability of the wrong class, -1 for an unused place
    classes: Tensor  # (M, 2), true and predicted
    images: Tensor  # (M, C, H, W)

    def __init__(self, num_classes: int, shape: Sequence[int]) -> None:
        super().__init__()
        self.num_classes = num_classes
        counted = num_classes if num_classes <= MAX_CLASSES else 0
        self.add_state("counts", torch.zeros(counted * counted, dtype=torch.int32), dist_reduce_fx="sum")
        self.add_state("bins", torch.zeros(BINS, 3), dist_reduce_fx="sum")
        self.add_state("surest", torch.full((KEPT,), -1.0), dist_reduce_fx="cat")
        self.add_state("classes", torch.zeros(KEPT, 2, dtype=torch.int64), dist_reduce_fx="cat")
        self.add_state("images", torch.zeros(KEPT, *shape), dist_reduce_fx="cat")

    def update(self, logits: Tensor, labels: Tensor, images: Tensor, predicted: Tensor | None = None) -> None:
        """Take a batch: logits (N, K), labels (N,), and images (N, C, H, W) in the form to keep.

        `predicted` (N,) are the classes if they are not the likeliest ones.
        """
        probabilities, likeliest = logits.float().softmax(dim=1).max(dim=1)
        if predicted is None:
            predicted = likeliest
        else:
            probabilities = logits.float().softmax(dim=1).gather(1, predicted[:, None])[:, 0]
        if len(self.counts):
            # Not bincount: on a GPU it waits to learn the largest number.
            one = torch.ones_like(labels, dtype=self.counts.dtype)
            self.counts.index_add_(0, labels * self.num_classes + predicted, one)
        of_each = torch.stack([torch.ones_like(probabilities), predicted == labels, probabilities], dim=1)
        self.bins.index_add_(0, bin_of(probabilities), of_each.to(self.bins.dtype))
        wrong = probabilities.where(predicted != labels, -1.0)
        of_batch = wrong.topk(min(KEPT, len(wrong))).indices
        surest = torch.cat([self.surest, wrong[of_batch]])
        classes = torch.cat([self.classes, torch.stack([labels, predicted], dim=1)[of_batch]])
        kept = torch.cat([self.images, images[of_batch].to(self.images.dtype)])
        chosen = surest.topk(KEPT).indices
        self.surest, self.classes, self.images = surest[chosen], classes[chosen], kept[chosen]

    def compute(self) -> tuple[Tensor | None, list[tuple[Tensor, int, int, float]], Tensor]:
        """Return the confusion matrix (K, K), (image, true, predicted, probability) per mistake, and the bins (B, 3).

        Mistakes come surest first; `calibration_error` describes the bins.
        """
        counts = self.counts.view(self.num_classes, self.num_classes) if len(self.counts) else None
        # Gathered from P processes, each state is stacked: (P, M, ...).
        surest, classes, images = self.surest.flatten(), self.classes.view(-1, 2), self.images.flatten(0, -4)
        order = surest.argsort(descending=True)[:KEPT].tolist()
        sure, pairs = surest.tolist(), classes.tolist()
        return counts, [(images[i], *pairs[i], sure[i]) for i in order if sure[i] >= 0], self.bins
