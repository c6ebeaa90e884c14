"""Augmentation by a pipeline on NumPy arrays with albumentations' interface; nothing of that library is imported here.

C channels, (H, W) size in pixels, M boxes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors

from engine.contract.errors import UserError
from engine.data.augment import objects


class NumpyPipeline:
    """An augmentation for project/augmentations.py, made of a pipeline that is called with arrays by name.

    It gets `image` (H, W, C) uint8, and the target: `mask` (H, W) uint8, `bboxes` (M, 4) xyxy in pixels and their
    `labels` (M,), or `target`, another image. Masks hold each class plus 1, so that pixels filled with 0 have no class.
    Each sample seeds the pipeline from torch's random numbers, so that a resumed run draws the same.

    Args:
        pipeline: an `albumentations.Compose`, with `bbox_params=BboxParams("pascal_voc", label_fields=["labels"])` for
            boxes, and `additional_targets={"target": "image"}` for pairs of images.
    """

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline

    def __call__(self, image: Tensor, target: Any) -> tuple[Any, Any]:
        given: dict[str, Any] = {"image": _to_array(image)}
        moves_boxes = "bboxes" in self.pipeline.processors
        if moves_boxes:  # which has to be called with some, even none
            given |= {"bboxes": np.zeros((0, 4), np.float32), "labels": np.zeros(0, np.int64)}
        if isinstance(target, Mapping):
            if not moves_boxes:
                raise UserError('the pipeline leaves boxes as they are: give it bbox_params for "pascal_voc"')
            given |= {"bboxes": target["boxes"].numpy(), "labels": target["labels"].numpy()}
        elif isinstance(target, tv_tensors.Mask):
            given["mask"] = target.numpy() + np.uint8(1)  # 255, no class, becomes 0
        elif isinstance(target, Tensor):
            given["target"] = _to_array(target)
        self.pipeline.set_random_seed(int(torch.randint(2**31, ())))
        done = self.pipeline(**given)
        varied = _to_image(done["image"])
        if isinstance(target, Mapping):
            boxes = torch.tensor(np.asarray(done["bboxes"], np.float32).reshape(-1, 4))
            labels = torch.tensor(np.asarray(done["labels"], np.int64))
            return varied, objects(boxes, labels, varied.shape[-2:])
        if isinstance(target, tv_tensors.Mask):
            return varied, tv_tensors.Mask(torch.from_numpy(done["mask"] - np.uint8(1)))
        return varied, _to_image(done["target"]) if isinstance(target, Tensor) else target


def _to_array(image: Tensor) -> np.ndarray:
    """Return an image (C, H, W) as an array (H, W, C)."""
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def _to_image(pixels: np.ndarray) -> tv_tensors.Image:
    """Return an array (H, W, C), or (H, W) of a single channel, as an image (C, H, W)."""
    pixels = pixels if pixels.ndim == 3 else pixels[:, :, None]
    return tv_tensors.Image(torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))))
