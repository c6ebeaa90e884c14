"""Anchor-free detection after YOLOX: a feature pyramid that predicts a box, objectness and a class at each cell.

N images, K classes, A cells in all maps together, M boxes, (h, w) a map's size. Boxes are xyxy in pixels.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

from engine.contract.errors import UserError
from engine.contract.heads import BoxHead, check_grid
from engine.inputs.boxes import cell_centres, offsets_to_boxes, paired_iou
from project.layers import MAX_LAYERS, ConvBlock, check_positive
from project.ops.assignment import assign_cells, pad_objects
from project.ops.suppression import likeliest_of_each

BOX_WEIGHT = 5.0  # of the IoU term in the loss, relative to objectness and class
PRIOR = 0.01  # initial probability of an object at each cell
MAX_CANDIDATES = 1000  # boxes of highest score per image that enter non-maximum suppression


class Cells(NamedTuple):
    """The predictions at each cell."""

    boxes: Tensor  # (N, A, 4) xyxy in pixels
    objectness: Tensor  # (N, A) logits
    classes: Tensor  # (N, A, K) logits
    centres: Tensor  # (A, 2) x, y in pixels
    strides: Tensor  # (A,) in pixels


class YOLOXHead(BoxHead):
    """Find objects with a decoupled head on a feature pyramid.

    Class and box have separate branches; in training, SimOTA assigns objects to cells.
    Source: Ge et al. 2021, arXiv:2107.08430; the pyramid is that of Lin et al. 2017, arXiv:1612.03144.

    Args:
        channels: channels of the backbone's maps.
        strides: strides of the backbone's maps in pixels.
        num_outputs: number of classes.
        levels: how many of the coarsest maps are used.
        width: channels of the pyramid and of the branches.
        convs: 3 x 3 convolutions in each branch.
        activation: activation of the branches, by name.
        nms_iou: if two boxes of a class overlap by more than this IoU, only the one of higher score is kept.
        max_detections: largest number of objects per image.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        num_outputs: int,
        levels: int = 3,
        width: int = 64,
        convs: int = 2,
        activation: str = "silu",
        nms_iou: float = 0.65,
        max_detections: int = 100,
    ) -> None:
        super().__init__()
        for name, value in {
            "num_outputs": num_outputs,
            "levels": levels,
            "width": width,
            "max_detections": max_detections,
        }.items():
            check_positive(name, value)
        if not 0 <= convs <= MAX_LAYERS:
            raise UserError(f"convs is a number of convolutions, 0 to {MAX_LAYERS}, got {convs}")
        if not 0 < nms_iou <= 1:
            raise UserError(f"nms_iou is an overlap in (0, 1], got {nms_iou}")
        self.strides = list(strides)[-levels:]
        self.nms_iou, self.max_detections = nms_iou, max_detections
        self.pyramid = FeaturePyramidNetwork(list(channels)[-levels:], width)
        self.branches = nn.ModuleList(Branches(width, num_outputs, convs, activation) for _ in self.strides)

    def forward(self, features: Sequence[Tensor], image_size: tuple[int, int]) -> Cells:
        """Return the predictions at each cell, for maps of images of `image_size` = (H, W) pixels."""
        maps = list(features)[-len(self.strides) :]
        check_grid(maps, self.strides, image_size)
        outputs = [branches(m) for branches, m in zip(self.branches, self.merge(maps), strict=True)]  # (N, 5 + K, h, w)
        # Full precision from here on: half precision cannot resolve single pixels in a large image.
        values = torch.cat([output.flatten(2) for output in outputs], dim=2).transpose(1, 2).float()  # (N, A, 5 + K)
        centres, strides = cell_centres([(m.shape[-2], m.shape[-1]) for m in maps], self.strides, values)
        boxes = offsets_to_boxes(values[..., :4], centres, strides)
        return Cells(boxes, values[..., 4], values[..., 5:], centres, strides)

    def merge(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return a map (N, width, h, w) for each of the backbone's (N, C, h, w), with what the others see in it."""
        return list(self.pyramid({str(i): m for i, m in enumerate(maps)}).values())

    def loss(
        self, raw: Cells, targets: list[dict[str, Tensor]], class_weights: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return loss_box, loss_object and loss_class, each a sum over cells divided by the cells with an object."""
        objects = pad_objects(targets, raw.boxes)
        number, overlap = assign_cells(raw.boxes, raw.objectness, raw.classes, raw.centres, raw.strides, objects)
        has_object = number >= 0
        image, cell = has_object.nonzero(as_tuple=True)  # (P,) cells with an object
        chosen = number[image, cell]
        count = has_object.sum().clamp(min=1)
        iou = paired_iou(raw.boxes[image, cell], objects.boxes[image, chosen])
        # The target probability of the class is the IoU of the box.
        labels = objects.labels[image, chosen]
        wanted = F.one_hot(labels, raw.classes.shape[-1]) * overlap[image, cell, None]
        weights = None if class_weights is None else class_weights.to(raw.classes)[labels, None]
        entropy = F.binary_cross_entropy_with_logits
        return {
            "loss_box": BOX_WEIGHT * (1 - iou**2).sum() / count,
            "loss_object": entropy(raw.objectness, has_object.float(), reduction="sum") / count,
            "loss_class": entropy(raw.classes[image, cell], wanted, weights, reduction="sum") / count,
        }

    def decode(self, raw: Cells, score_threshold: float = 0.3) -> dict[str, Tensor]:
        """Return `boxes` (N, M, 4), `scores` (N, M) and `labels` (N, M); M is `max_detections`."""
        scores, labels = (raw.classes.sigmoid() * raw.objectness.sigmoid()[..., None]).max(dim=-1)  # (N, A)
        scores, cells = scores.topk(min(MAX_CANDIDATES, scores.shape[1]), dim=1)
        boxes, labels = raw.boxes.gather(1, cells[..., None].expand(-1, -1, 4)), labels.gather(1, cells)
        scores = scores.where(scores >= score_threshold, 0.0)
        kept = likeliest_of_each(boxes, scores, labels, self.nms_iou, self.max_detections)  # (N, M)
        is_object, kept = kept >= 0, kept.clamp(min=0)
        return {
            "boxes": boxes.gather(1, kept[..., None].expand(-1, -1, 4)) * is_object[..., None],
            "scores": scores.gather(1, kept) * is_object,
            "labels": labels.gather(1, kept) * is_object,
        }

    def joined(self, raws: Sequence[Cells], backs: Sequence[Callable[[Tensor], Tensor]]) -> Cells:
        pairs = list(zip(raws, backs, strict=True))
        return Cells(
            torch.cat([back(raw.boxes) for raw, back in pairs], dim=1),
            torch.cat([raw.objectness for raw in raws], dim=1),
            torch.cat([raw.classes for raw in raws], dim=1),
            torch.cat([back(raw.centres.repeat(1, 2))[:, :2] for raw, back in pairs]),
            torch.cat([raw.strides for raw in raws]),
        )


class Branches(nn.Module):
    """From a map (N, width, h, w) to (N, 5 + K, h, w): the box's offsets, objectness, and K class scores."""

    def __init__(self, width: int, num_classes: int, convs: int, activation: str) -> None:
        super().__init__()

        def branch() -> nn.Sequential:
            return nn.Sequential(*(ConvBlock(width, width, 3, activation=activation) for _ in range(convs)))

        self.box_branch, self.class_branch = branch(), branch()
        self.box = nn.Conv2d(width, 5, kernel_size=1)
        self.classes = nn.Conv2d(width, num_classes, kernel_size=1)
        with torch.no_grad():  # most cells have no object, so start from PRIOR instead of one half
            self.box.bias[4] = self.classes.bias[:] = -math.log((1 - PRIOR) / PRIOR)  # type: ignore[index]

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.box(self.box_branch(x)), self.classes(self.class_branch(x))], dim=1)
