"""What a classifier confuses: how often which class was taken for which, how far its probabilities can be believed,
and the images it was surest and wrong about.

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
    """An image that was given a wrong class: uint8 (3, H, W), the names of two classes, and how sure it was."""

    image: Tensor
    true: str
    predicted: str
    probability: float


def caption(true: str, predicted: str, probability: float) -> str:
    """Return what is written under an image: its class, the one it was given, and how sure the network was."""
    return f"{true} -> {predicted}, {100 * probability:.0f} %"


class ClassScores(NamedTuple):
    """Precision, recall and their harmonic mean of each class, (K,) in 0..1; nan for a class that does not occur."""

    precision: Tensor
    recall: Tensor
    f1: Tensor


def class_scores(counts: Tensor) -> ClassScores:
    """Return the scores of each class, from counts (K, K) of true classes (rows) given which class (columns).

    A class that occurs and is never predicted has precision 0; one that is predicted and does not occur, recall 0.
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
    """Return the expected calibration error, in 0..1: how far probability and accuracy of a bin are apart, on average.

    The `bins` (B, 3) have the number of images, of right answers among them, and the sum of their probabilities.
    Source: Guo et al. 2017, arXiv:1706.04599, equation 3.
    """
    images, right, probability = bins.cpu().double().unbind(dim=1)
    return float((right - probability).abs().sum() / images.sum())


class Mistakes(Metric):
    """Counts of each true class (rows) that was given which class (columns), the calibration, and the worst mistakes.

    Its memory does not grow with the number of images, and no batch waits for its device. Of more than MAX_CLASSES
    classes there are no counts.

    Args:
        num_classes: K.
        shape: (C, H, W) of the images.
    """

    full_state_update = False
    counts: Tensor  # (K * K,)
    bins: Tensor  # (B, 3): images, right ones, and the sum of their probabilities
    surest: Tensor  # (M,) probability of the wrong class, -1 for a place that is free
    classes: Tensor  # (M, 2): the true one and the one predicted
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

    def update(self, logits: Tensor, labels: Tensor, images: Tensor) -> None:
        """Take a batch: logits (N, K), classes (N,), and the images (N, C, H, W) as they are to be kept."""
        probabilities, predicted = logits.float().softmax(dim=1).max(dim=1)
        if len(self.counts):
            # Not bincount: on a GPU that waits for the largest number.
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
        """Return the counts (K, K); image, true class, class predicted and its probability, the surest first; the bins.

        The bins (B, 3) are those of `calibration_error`.
        """
        counts = self.counts.view(self.num_classes, self.num_classes) if len(self.counts) else None
        # Joined over processes, each is stacked: (P, M, ...).
        surest, classes, images = self.surest.flatten(), self.classes.view(-1, 2), self.images.flatten(0, -4)
        order = surest.argsort(descending=True)[:KEPT].tolist()
        sure, pairs = surest.tolist(), classes.tolist()
        return counts, [(images[i], *pairs[i], sure[i]) for i in order if sure[i] >= 0], self.bins
