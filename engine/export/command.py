"""The work of scripts/export.py: write a checkpoint as a file for other programs, and compare it with the original."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.config.arguments import check_output, export_arguments
from engine.contract.errors import UserError
from engine.contract.parts import task_of
from engine.contract.registry import look_up
from engine.contract.task import Task
from engine.errors import RunError, UsageError, one_line
from engine.export.formats import FORMATS
from engine.export.model import PROBABILITIES
from engine.inference.evaluate import images_at_hand
from engine.inference.model import Model, extra_needed, of_task
from engine.resume.checkpoint_file import read_checkpoint, written_whole
from engine.shortcuts import settle_threads
from engine.terminal import say, script_command

RANDOM = 100  # random images to compare on, if there are no real ones
BATCH = 50


def main(arguments: list[str]) -> None:
    """Write a file, read it back, and keep it if its outputs are the checkpoint's.

    Raises:
        UsageError: the command line is wrong, or the checkpoint cannot be read.
        RunError: a package is missing, the file cannot be written, or its outputs differ; nothing is left of it.
    """
    given = export_arguments(arguments)
    if given.images < 2:
        raise UsageError(f"--images is 2 or more, got {given.images}")
    if not 0 <= given.tolerance < float("inf"):
        raise UsageError(f"--tolerance is 0 or more, got {given.tolerance}")
    settle_threads(1)
    try:
        kind = look_up("format", given.format, FORMATS)
        checkpoint = read_checkpoint(given.checkpoint)
        task = task_of(checkpoint)
    except (OSError, UserError) as error:
        raise UsageError(one_line(error)) from error
    target = check_output(given.output or str(Path(given.checkpoint).with_suffix(kind.suffix)), [kind.suffix])

    said = {"data.name": given.data, "data.root": given.root}
    flags = {flag: value for flag, value in said.items() if value is not None}
    images = _images(given.checkpoint, checkpoint, task, given.images, flags)
    first = next(images)
    try:
        with torch.no_grad(), written_whole(target) as temporary:
            with extra_needed():
                kind.write(task, first[:2], temporary)
                models = of_task(task, "cpu"), kind.read(temporary, "cpu")
            others = Comparison(*models, given.tolerance)  # on another batch size, and another image size
            others.add(first[:1])
            if task.takes_any_size:
                others.add(task.input.other_size(first))
            others.check()
            comparison = Comparison(*models, given.tolerance)
            for batch in itertools.chain([first], images):
                comparison.add(batch)
            for line in comparison.check():
                say(line)
    except (OSError, UserError) as error:
        raise RunError(f"{target} is not written: {one_line(error)}") from error
    say(f"written         {target} ({target.stat().st_size:,} bytes)")
    if not kind.refusal:
        say(f"use it          {script_command('predict')} {target} IMAGES")


def _images(
    path: str, checkpoint: dict[str, Any], task: Task, max_images: int, flags: dict[str, Any]
) -> Iterator[Tensor]:
    """Yield raw batches: test images of the data that a checkpoint was trained on, or random ones.

    Raises:
        UsageError: `flags` name data that cannot be used.
    """
    try:
        store, which = images_at_hand(path, checkpoint, task, flags)
    except (RunError, OSError, UserError) as error:
        if flags:
            raise UsageError(one_line(error)) from error
        number = min(max_images, RANDOM)
        say(f"compared on     {number} random {task.input.word}: {one_line(error)}")
        yield from task.input.example(number, torch.Generator().manual_seed(0)).split(BATCH)
        return
    number = max(2, min(max_images, len(store)))
    say(f"compared on     {number:,} of {len(store):,} {which} {task.input.word}")
    chosen = torch.linspace(0, len(store) - 1, number).round().long()  # evenly spaced, as classes may be in order
    for batch in chosen.split(BATCH):
        yield store.__getitems__(batch.tolist())[0]


class Comparison:
    """The differences between an exported file's outputs and the original's.

    Args:
        original: the checkpoint's model.
        exported: the file's model.
        tolerance: largest difference of an output, relative to its largest value if that is above 1. Integer outputs
            must be equal.
    """

    def __init__(self, original: Model, exported: Model, tolerance: float) -> None:
        self.original, self.exported, self.tolerance = original, exported, tolerance
        self.apart: dict[str, list[Tensor]] = {}  # by output: largest difference in each image (N,), per batch
        self.values: dict[str, float] = {}  # by output: largest absolute value
        self.is_whole: dict[str, bool] = {}  # by output: whether it holds integers
        self.same = self.decisions = 0

    def add(self, images: Tensor) -> None:
        """Compare on a raw batch, such as images (N, C, H, W) of uint8.

        Raises:
            UserError: the outputs have other names or shapes.
        """
        mine, theirs = self.original.outputs(images), self.exported.outputs(images)
        shapes = [{name: tuple(value.shape) for name, value in outputs.items()} for outputs in (mine, theirs)]
        if shapes[0] != shapes[1]:
            raise UserError(f"for {len(images)} images it gives {shapes[1]}, but the checkpoint gives {shapes[0]}")
        theirs = dict(self.original.task.in_order_of(theirs, mine))
        for name, value in mine.items():
            apart = (value.double() - theirs[name].double()).abs().flatten(1).amax(dim=1)
            self.apart.setdefault(name, []).append(apart.nan_to_num(nan=torch.inf))
            self.values[name] = max(value.abs().max().item(), self.values.get(name, 0.0))
            self.is_whole[name] = not value.is_floating_point()
        if PROBABILITIES in mine:
            classes = [outputs[PROBABILITIES].argmax(dim=1) for outputs in (mine, theirs)]
            self.same += int((classes[0] == classes[1]).sum())
            self.decisions += classes[0].numel()

    def _limit(self, name: str) -> float:
        return 0.0 if self.is_whole[name] else self.tolerance * max(1.0, self.values[name])

    def check(self) -> list[str]:
        """Return a line per output on its largest difference.

        Raises:
            UserError: more images differ than the task allows (`rounding_share`).
        """
        apart = {name: torch.cat(values) for name, values in self.apart.items()}
        limits = {name: self._limit(name) for name in apart}
        differs = torch.stack([apart[name] > limit for name, limit in limits.items()])  # (outputs, images)
        number, total = int(differs.any(dim=0).sum()), differs.shape[1]
        if number > int(self.original.task.rounding_share * total):
            name = list(apart)[int(differs.sum(dim=1).argmax())]
            raise UserError(
                f"{name} differs from the checkpoint's by up to {apart[name].max():.2g} ({limits[name]:.2g} is "
                f"allowed) in {number:,} of {total:,} images; --tolerance allows more"
            )
        agree = ~differs.any(dim=0)
        lines = [
            f"{name:<15} largest difference {values[agree].max():.2g}, allowed {limits[name]:.2g}"
            f"{'' if self.values[name] or self.is_whole[name] else '; it is 0 for all of these images'}"
            for name, values in apart.items()
        ]
        if number:
            lines.append(f"rounding        {number:,} of {total:,} images differ by more, which the task allows")
        if self.decisions:
            what = "images" if self.decisions == total else "pixels"
            lines.append(f"same class      {self.same:,} of {self.decisions:,} {what}")
        return lines
