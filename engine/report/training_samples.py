"""A picture of training samples as a network sees them, with their targets. No random state is changed.

N images, (H, W) size in pixels, K classes.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from engine.contract.data import DataModule
from engine.contract.task import Task
from engine.data.sampler import mix, spread
from engine.data.samples import SampleStore
from engine.inputs.drawing import captioned, contact_sheet, draw_boxes, draw_masks, in_colour

SHOWN = 8
COLUMNS = 4
Colour = tuple[int, int, int]


def training_samples(data: DataModule, task: Task) -> Tensor:
    """Return a picture, uint8 (3, h, w), of samples spread over the training data, augmented as in the first epoch.

    Masks have the colours of the task's legend, as in its other pictures.
    """
    store = data.stores["train"]
    chosen: Any = spread(SHOWN, len(store))
    if isinstance(store, SampleStore) and store.augment is not None:
        chosen = [(0, index) for index in chosen]
    inputs, targets = data.prepare(store.__getitems__(chosen), torch.Generator().manual_seed(mix(data.seed, 0, 0)))
    seen = data.input.seen(inputs)
    if isinstance(targets, Tensor) and targets.ndim == 4:
        return contact_sheet({"source": seen, "target": in_colour(targets)})
    legend = task.legend()
    return contact_sheet({"": with_targets(seen, targets, task, legend)}, legend, columns=COLUMNS)


def with_targets(images: Tensor, targets: Any, task: Task, legend: Mapping[str, Colour]) -> Tensor:
    """Return pictures, uint8 (N, 3, h, w), of images with their targets as captions, boxes or masks.

    Args:
        images: uint8 (N, 3, H, W).
        targets: masks (N, H, W), `boxes` and `labels` for each image, or what the task's `target_text` takes.
        task: the task, which names classes.
        legend: by name, the colour of each class that is shown in a mask.
    """
    names = task.hparams["class_names"]
    if isinstance(targets, Tensor) and targets.ndim == 3:
        colours = {k: legend[name] for k, name in enumerate(names) if name in legend}
        return torch.stack([draw_masks(image, mask, colours) for image, mask in zip(images, targets, strict=True)])
    if isinstance(targets, Tensor):
        return captioned(images, [task.target_text(target) for target in targets])
    return torch.stack(
        [
            draw_boxes(image, t["boxes"], t["labels"].tolist(), [names[k] for k in t["labels"].tolist()])
            for image, t in zip(images, targets, strict=True)
        ]
    )
