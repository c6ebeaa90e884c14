"""Non-maximum suppression: keep one of the boxes of the same object.

N images, P boxes per image, at most M of them kept. Boxes are xyxy in pixels.
"""

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from engine.inputs.boxes import paired_iou


def likeliest_of_each(boxes: Tensor, scores: Tensor, labels: Tensor, iou: float, max_boxes: int) -> Tensor:
    """Return the indices (N, M) of the boxes kept in each image, by falling score, padded with -1.

    From the highest score down, a box is kept unless it overlaps a kept box of its label by more than `iou`.

    Args:
        boxes: (N, P, 4).
        scores: (N, P), 0 for boxes to ignore.
        labels: (N, P) int64.
        iou: largest IoU with a kept box.
        max_boxes: largest number of boxes kept, M.
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
    """Do the same for all images at once, with shapes that do not depend on the values.

    It is for exported graphs, in which torchvision's function cannot handle any batch size. It is slower: one step per
    kept object. Relies on torch's `while_loop`, which is not public yet.
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
