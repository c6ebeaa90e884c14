"""scripts/show_data.py: writes a picture of training samples as a network sees them, with their targets."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from engine.config import command_line
from engine.config.arguments import check_output, show_data_arguments
from engine.contract.data import DataModule
from engine.contract.errors import UserError
from engine.data.sampler import mix, spread
from engine.data.samples import SampleStore
from engine.errors import RunError, UsageError, one_line
from engine.inputs.drawing import captioned, class_colour, contact_sheet, draw_boxes, draw_masks, in_colour, to_image
from engine.terminal import say
from engine.training import runs

SHOWN = 8
COLUMNS = 4


def main(arguments: list[str]) -> None:
    """Write the picture.

    Raises:
        UsageError: the command line is invalid.
        RunError: the data cannot be read.
    """
    output, flags = show_data_arguments(arguments)
    target = check_output(output, [".png"])
    if any(flag.partition("=")[0].replace("-", "_") == "__ckpt_path" for flag in flags):
        raise UsageError("show_data.py draws the data of a new run: leave --ckpt_path out")
    asked = command_line.parse(flags)
    if asked is None:
        return
    data, _ = runs.build(asked)
    try:
        data.prepare_data()
        data.setup("fit")
        to_image(training_samples(data)).save(target)
    except UserError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise RunError(one_line(error)) from error
    say(data.describe())
    say(f"written: {target}")


def training_samples(data: DataModule) -> Tensor:
    """Return a picture, uint8 (3, h, w), of samples spread over the training data, augmented as in the first epoch."""
    store = data.stores["train"]
    chosen: Any = spread(SHOWN, len(store))
    if isinstance(store, SampleStore) and store.augment is not None:
        chosen = [(0, index) for index in chosen]
    inputs, targets = data.prepare(store.__getitems__(chosen), torch.Generator().manual_seed(mix(data.seed, 0, 0)))
    seen = data.input.seen(inputs)
    if isinstance(targets, Tensor) and targets.ndim == 4:
        return contact_sheet({"source": seen, "target": in_colour(targets)})
    legend = {}
    if isinstance(targets, Tensor) and targets.ndim == 3:
        legend = {name: class_colour(k) for k, name in enumerate(data.class_names)}
    return contact_sheet({"": with_targets(seen, targets, data.class_names)}, legend, columns=COLUMNS)


def with_targets(images: Tensor, targets: Any, names: Sequence[str]) -> Tensor:
    """Return pictures, uint8 (N, 3, h, w), of images with their targets as captions, boxes or masks.

    Args:
        images: uint8 (N, 3, H, W).
        targets: classes (N,), shares of classes (N, K), masks (N, H, W), or for each image `boxes` and `labels`.
        names: the classes' names.
    """
    if isinstance(targets, Tensor) and targets.ndim == 3:
        colours = {k: class_colour(k) for k in range(len(names))}
        return torch.stack([draw_masks(image, mask, colours) for image, mask in zip(images, targets, strict=True)])
    if isinstance(targets, Tensor):
        return captioned(images, [_class_text(target, names) for target in targets])
    return torch.stack(
        [
            draw_boxes(image, t["boxes"], t["labels"].tolist(), [names[k] for k in t["labels"].tolist()])
            for image, t in zip(images, targets, strict=True)
        ]
    )


def _class_text(target: Tensor, names: Sequence[str]) -> str:
    if target.ndim == 0:
        return names[int(target)]
    shares = [(float(share), name) for share, name in zip(target, names, strict=True) if share > 0]
    return " + ".join(f"{share:.0%} {name}" for share, name in sorted(shares, reverse=True))
