"""Which objects that a detector found are there, and from which score on it is best believed.

M objects found in an image, T true ones. Boxes are xyxy in pixels.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from engine.inputs.boxes import paired_iou

MIN_IOU = 0.5  # overlap from which on a box is that of an object


class Curve(NamedTuple):
    """All objects found, the likeliest first, and how many true ones there are."""

    scores: Tensor  # (M,)
    is_hit: Tensor  # (M,) bool
    num_true: int

    def from_score(self, score_threshold: float) -> tuple[float, float]:
        """Return precision and recall of the objects from this score on: 0 if nothing is found, nan without objects."""
        believed = self.scores >= score_threshold
        found = int((self.is_hit & believed).sum())
        return found / max(1, int(believed.sum())), found / self.num_true if self.num_true else float("nan")

    def best_score(self) -> float | None:
        """Return the score from which on precision and recall have the highest harmonic mean; None without any hit.

        It lies halfway between the last object that is believed and the next one.
        """
        if not self.is_hit.any():
            return None
        believed = torch.arange(1, len(self.scores) + 1)
        f1 = 2 * self.is_hit.cumsum(0) / (believed + self.num_true)
        following = torch.cat([self.scores[1:], self.scores.new_zeros(1)])
        last = int(f1.masked_fill(self.scores == following, 0.0).argmax())  # of equal scores, all are believed
        return float(self.scores[last] + following[last]) / 2


class Hits(Metric):
    """Objects found, each with its score and whether it is there: of its class, and overlapping by MIN_IOU."""

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
    """Return which of the objects found (M,), the likeliest first, are there: each true one counts once."""
    is_same = found["labels"][:, None] == target["labels"]
    overlap = (paired_iou(found["boxes"][:, None].float(), target["boxes"].float()) * is_same).cpu()  # (M, T)
    is_hit = torch.zeros(len(overlap), dtype=torch.bool)
    for i in (overlap >= MIN_IOU).any(dim=1).nonzero()[:, 0].tolist():
        best, which = overlap[i].max(dim=0)
        if best >= MIN_IOU:
            is_hit[i] = True
            overlap[:, which] = 0.0
    return is_hit
