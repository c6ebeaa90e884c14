"""An augmentation of a project's own, as in project/augmentations.py, and the check of what it returns.

(H, W) is a size in pixels; M boxes are xyxy in pixels.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors

from engine.contract.errors import UserError
from engine.inputs.letterbox import IGNORE

BOX_FORMAT = tv_tensors.BoundingBoxFormat.XYXY


class OwnAugmentation:
    """Applies an augmentation to copies, since a sample may be a view of the cache, and refuses an impossible result.

    An error of the augmentation itself is passed on, with its name.

    Args:
        name: its name in project/augmentations.py.
        augment: takes an image and its target, and returns both.
        num_classes: class numbers are below it.
    """

    def __init__(self, name: str, augment: Callable[[Any, Any], Any], num_classes: int) -> None:
        self.name = name
        self.augment = augment
        self.num_classes = num_classes

    def __call__(self, image: Any, target: Any) -> Any:
        copies = _copied(image), _copied(target)
        try:
            varied = self.augment(*copies)
        except (UserError, OSError):
            raise
        except Exception as error:
            error.add_note(f"raised by augmentation {self.name} of project/augmentations.py")
            raise
        if not isinstance(varied, (tuple, list)) or len(varied) != 2:
            raise self._wrong("an image and its target", varied)
        self._check_like("an image", varied[0], image)
        if isinstance(target, Mapping):
            self._check_objects(varied[1])
        elif isinstance(target, Tensor):
            self._check_like("a target", varied[1], target)
            if isinstance(target, tv_tensors.Mask):
                self._check_classes(varied[1][varied[1] != IGNORE])
            if not varied[1].isfinite().all():
                raise self._wrong("finite numbers", str(varied[1].tolist()))
        elif type(varied[1]) is not type(target):
            raise self._wrong(f"a target of type {type(target).__name__}", varied[1])
        elif isinstance(target, int):
            self._check_classes(torch.tensor([varied[1]]))
        return tuple(varied)

    def _check_like(self, what: str, own: Any, before: Tensor) -> None:
        if not isinstance(own, Tensor) or own.dtype != before.dtype or own.shape != before.shape:
            raise self._wrong(f"{what} of {_described(before)}", own)

    def _check_objects(self, own: Any) -> None:
        if not isinstance(own, Mapping) or not {"boxes", "labels"} <= own.keys():
            raise self._wrong("a target with boxes and labels", own)
        boxes, labels = own["boxes"], own["labels"]
        if not isinstance(boxes, Tensor) or boxes.ndim != 2 or boxes.shape[1] != 4 or not boxes.is_floating_point():
            raise self._wrong("boxes of torch.float32 (M, 4)", boxes)
        form = getattr(boxes, "format", BOX_FORMAT)  # a plain tensor has none
        if form is not BOX_FORMAT:
            raise self._wrong("boxes xyxy", f"boxes {form.name}")
        if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
            raise self._wrong("labels of torch.int64 (M,)", labels)
        if labels.shape != boxes.shape[:1]:
            raise self._wrong("a label for each box", f"{len(boxes)} boxes and labels of {tuple(labels.shape)}")
        if not boxes.isfinite().all():
            raise self._wrong("finite boxes", f"{int((~boxes.isfinite().all(dim=1)).sum())} that are not")
        corners = boxes.as_subclass(Tensor)
        turned = (corners[:, 2:] < corners[:, :2]).any(dim=1)
        if turned.any():
            raise self._wrong("boxes with x0 <= x1 and y0 <= y1", corners[turned][0])
        self._check_classes(labels)

    def _check_classes(self, classes: Tensor) -> None:
        if classes.numel() and not 0 <= int(classes.min()) <= int(classes.max()) < self.num_classes:
            wrong = int(classes.max()) if int(classes.max()) >= self.num_classes else int(classes.min())
            raise self._wrong(f"classes from 0 to {self.num_classes - 1}", f"class {wrong}")

    def _wrong(self, expected: str, got: Any) -> UserError:
        return UserError(f"augmentation {self.name}: expected {expected}, got {_described(got)}")


def _copied(part: Any) -> Any:
    if isinstance(part, Mapping):
        return {key: _copied(value) for key, value in part.items()}
    return part.clone(memory_format=torch.contiguous_format) if isinstance(part, Tensor) else part


def _described(value: Any) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, Tensor):
        return type(value).__name__
    return str(value.tolist()) if value.shape == (4,) else f"{value.dtype} {tuple(value.shape)}"
