"""Of boxes that show the same object, which one is kept.

N images, P boxes an image, M objects kept at most. Boxes are xyxy in pixels.
"""

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from engine.inputs.boxes import paired_iou


def likeliest_of_each(boxes: Tensor, scores: Tensor, labels: Tensor, iou: float, max_boxes: int) -> Tensor:
    """Return which boxes of each image are left (N, M), the likeliest first; -1 where there are no more.

    From the likeliest on, each box is kept that overlaps with no kept one of its label by more than `iou`.

    Args:
        boxes: (N, P, 4).
        scores: (N, P), 0 for boxes that do not count.
        labels: (N, P) int64.
        iou: largest overlap with a kept box.
        max_boxes: how many boxes are kept at most, M.
    """
    if torch.compiler.is_exporting():
        return _likeliest_in_tensors(boxes, scores, labels, iou, max_boxes)
    kept = labels.new_full((len(labels), max_boxes), -1)
    for i, score in enumerate(scores):
        candidates = score.nonzero()[:, 0]
        box, label = boxes[i, candidates], labels[i, candidates]
        left = candidates[batched_nms(box, score[candidates], label, iou)[:max_boxes]]
        kept[i, : len(left)] = left
    return kept


def _likeliest_in_tensors(boxes: Tensor, scores: Tensor, labels: Tensor, iou: float, max_boxes: int) -> Tensor:
    """Do the same to all images at once, in tensors whose shapes do not depend on what is in them.

    It is for graphs, where torchvision's function does not work on a batch of any number: it takes as many steps as
    objects are kept, and so is the slower one. Relies on torch's `while_loop`, which has no public place yet.
    """
    from torch._higher_order_ops import while_loop

    def unfinished(step: Tensor, left: Tensor, kept: Tensor) -> Tensor:
        return (step < max_boxes) & (left > 0).any()

    def keep_next(step: Tensor, left: Tensor, kept: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        best = left.argmax(dim=1, keepdim=True)  # (N, 1)
        box = boxes.gather(1, best[..., None].expand(-1, -1, 4))  # (N, 1, 4)
        duplicate = (labels == labels.gather(1, best)) & (paired_iou(box, boxes) > iou)
        is_here = (torch.arange(max_boxes, device=left.device) == step) & (left.gather(1, best) > 0)  # (N, M)
        return step + 1, left.masked_fill(duplicate.scatter(1, best, True), 0.0), torch.where(is_here, best, kept)

    step = torch.zeros((), dtype=torch.int64, device=scores.device)
    kept = labels.new_full((labels.shape[0], max_boxes), -1)
    return while_loop(unfinished, keep_next, (step, scores.clone(), kept))[2]
