"""Precision and recall of a detector, and the score threshold with the best F1.

M detections in an image, T true objects. Boxes are xyxy in pixels.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from engine.inputs.boxes import paired_iou

MIN_IOU = 0.5  # smallest IoU of a true positive


class Curve(NamedTuple):
    """All detections, by falling score, and the number of true objects."""

    scores: Tensor  # (M,)
    is_hit: Tensor  # (M,) bool, True for true positives
    num_true: int

    def from_score(self, score_threshold: float) -> tuple[float, float]:
        """Return precision and recall at a threshold; precision is 0 without detections, recall nan without objects."""
        believed = self.scores >= score_threshold
        found = int((self.is_hit & believed).sum())
        return found / max(1, int(believed.sum())), found / self.num_true if self.num_true else float("nan")

    def best_score(self) -> float | None:
        """Return the score threshold with the highest F1; None without a true positive.

        It lies halfway between the last detection above it and the next one.
        """
        if not self.is_hit.any():
            return None
        believed = torch.arange(1, len(self.scores) + 1)
        f1 = 2 * self.is_hit.cumsum(0) / (believed + self.num_true)
        following = torch.cat([self.scores[1:], self.scores.new_zeros(1)])
        last = int(f1.masked_fill(self.scores == following, 0.0).argmax())  # no threshold separates equal scores
        return float(self.scores[last] + following[last]) / 2


class Hits(Metric):
    """Collects detections: the score of each, and whether it has the class of a true object and an IoU of MIN_IOU."""

    full_state_update = False
    scores: list[Tensor]
    is_hit: list[Tensor]
    num_true: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("scores", [], dist_reduce_fx="cat")
        self.add_state("is_hit", [], dist_reduce_fx="cat")
        self.add_state("num_true", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, found: Sequence[Mapping[str, Tensor]], targets: Sequence[Mapping[str, Tensor]]) -> None:
        for image, target in zip(found, targets, strict=True):
            self.scores.append(image["scores"].float())
            self.is_hit.append(hits(image, target).to(image["scores"].device))
            self.num_true += len(target["labels"])

    def compute(self) -> Curve:
        none = [torch.zeros(0)]
        scores, is_hit = (dim_zero_cat(state if len(state) else none).cpu() for state in (self.scores, self.is_hit))
        order = scores.argsort(descending=True, stable=True)
        return Curve(scores[order], is_hit[order].bool(), int(self.num_true))


def hits(found: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor:
    """Return which detections (M,), given by falling score, are true positives: each true object matches once."""
    is_same = found["labels"][:, None] == target["labels"]
    overlap = (paired_iou(found["boxes"][:, None].float(), target["boxes"].float()) * is_same).cpu()  # (M, T)
    is_hit = torch.zeros(len(overlap), dtype=torch.bool)
    for i in (overlap >= MIN_IOU).any(dim=1).nonzero()[:, 0].tolist():
        best, which = overlap[i].max(dim=0)
        if best >= MIN_IOU:
            is_hit[i] = True
            overlap[:, which] = 0.0
    return is_hit
