"""SimOTA, for a whole batch at once: which cells of a detector are assigned to which object.

N images, M objects per image (padded to the largest number), A cells, K classes. Boxes are xyxy in pixels.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.inputs.boxes import paired_iou

CENTRE_RADIUS = 1.5  # in strides: largest distance from an object's centre to a cell near it
IOU_WEIGHT = 3.0  # of the IoU term in the cost, relative to the class term
FAR = 1e6  # extra cost of a cell that is near another object only
MAX_CELLS = 10  # per object
MAX_PAIRS = 2**26  # of objects and cells compared at once: 256 MiB in each of several tensors


class Objects(NamedTuple):
    """The objects of a batch, padded to the same number per image."""

    boxes: Tensor  # (N, M, 4)
    labels: Tensor  # (N, M) int64, 0 for padding
    real: Tensor  # (N, M) bool, False for padding


def pad_objects(targets: list[dict[str, Tensor]], like: Tensor) -> Objects:
    """Pad the `boxes` (m, 4) and `labels` (m,) of each image and stack them, on the device of `like`."""
    max_objects = max([1, *(len(target["labels"]) for target in targets)])
    boxes = like.new_zeros(len(targets), max_objects, 4, dtype=torch.float32)
    labels = like.new_zeros(len(targets), max_objects, dtype=torch.int64)
    real = like.new_zeros(len(targets), max_objects, dtype=torch.bool)
    for i, target in enumerate(targets):
        count = len(target["labels"])
        boxes[i, :count], labels[i, :count], real[i, :count] = target["boxes"], target["labels"], True
    return Objects(boxes, labels, real)


@torch.no_grad()
def assign_cells(
    boxes: Tensor, objectness: Tensor, classes: Tensor, centres: Tensor, strides: Tensor, objects: Objects
) -> tuple[Tensor, Tensor]:
    """Assign an object, or none, to each cell.

    Each object gets its cells of lowest cost: near its centre, with its class and a similar box. Their number is the
    sum of its ten best IoUs, rounded down, at least one. A cell chosen by several objects goes to that of lowest cost.
    Source: Ge et al. 2021, arXiv:2107.08430, section 2.1, with the constants of the authors' released code.

    Args:
        boxes: (N, A, 4) predicted.
        objectness: (N, A) logits that there is an object.
        classes: (N, A, K) logits of its class.
        centres: (A, 2) x, y of each cell in pixels.
        strides: (A,) in pixels.
        objects: the true ones.

    Returns:
        The index of each cell's object (N, A) int64, -1 for none; and the IoU of both boxes (N, A), in [0, 1].
    """
    if len(boxes) > 1 and objects.real.numel() * len(centres) > MAX_PAIRS:
        # Otherwise one image with thousands of objects would pad all others to as many.
        each = []
        for i, count in enumerate(objects.real.sum(dim=1).clamp(min=1).tolist()):
            own = Objects(*(part[i : i + 1, :count] for part in objects))
            one = slice(i, i + 1)
            each.append(assign_cells(boxes[one], objectness[one], classes[one], centres, strides, own))
        numbers, overlaps = zip(*each, strict=True)
        return torch.cat(numbers), torch.cat(overlaps)
    middles = (objects.boxes[..., :2] + objects.boxes[..., 2:]) / 2
    distance = (centres - middles[:, :, None]).abs().amax(dim=-1)  # (N, M, A)
    near = (distance < CENTRE_RADIUS * strides) & objects.real[..., None]
    candidate = near.any(dim=1, keepdim=True) & objects.real[..., None]  # (N, M, A)
    overlap = paired_iou(objects.boxes[:, :, None], boxes.float()[:, None]) * candidate
    cost = _class_cost(objectness, classes, objects.labels) - IOU_WEIGHT * (overlap + 1e-8).log() + FAR * ~near
    cost = cost.masked_fill(~candidate, torch.inf)

    num_cells = min(MAX_CELLS, cost.shape[-1])
    wanted = overlap.topk(num_cells, dim=-1).values.sum(dim=-1).int().clamp(min=1)  # (N, M)
    cheapest = cost.topk(num_cells, dim=-1, largest=False)
    chosen = (torch.arange(num_cells, device=cost.device) < wanted[..., None]) & cheapest.values.isfinite()
    match = torch.zeros_like(near).scatter_(-1, cheapest.indices, chosen)  # (N, M, A)

    several = match.sum(dim=1) > 1
    number = torch.where(several, cost.argmin(dim=1), match.int().argmax(dim=1))  # (N, A)
    number = number.masked_fill(~match.any(dim=1), -1)
    return number, overlap.gather(1, number.clamp(min=0)[:, None])[:, 0] * (number >= 0)


def _class_cost(objectness: Tensor, classes: Tensor, labels: Tensor) -> Tensor:
    """Return the binary cross-entropy of each cell's scores with each object's class: (N, M, A).

    A score is the square root of the probabilities of objectness times class.
    """
    scores = (F.logsigmoid(classes.float()) + F.logsigmoid(objectness.float())[..., None]).mul(0.5)  # log, (N, A, K)
    absent = torch.log1p(-scores.exp().clamp(max=1 - 1e-6))  # log(1 - score)
    number = labels[:, None].expand(-1, scores.shape[1], -1)  # (N, A, M)
    cost = absent.gather(2, number) - scores.gather(2, number) - absent.sum(dim=2, keepdim=True)
    return cost.transpose(1, 2)
