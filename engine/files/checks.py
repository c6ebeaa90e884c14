"""Checking a folder of images before training: every file is read.

(H, W) is a size in pixels, K a number of classes.
"""

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from engine.contract.registry import options_of
from engine.files.folders import IMAGE_SIZE, FolderDataModule, held_out, told_by_side
from engine.files.layouts import recognise
from engine.files.listing import Examined, Layout
from engine.inputs.folder import Findings
from engine.inputs.image_files import DEEP, Look, is_deep, look_at
from engine.inputs.reading import regular
from engine.machine import available_cores
from engine.terminal import with_bar

SMALL_SIDE = 8  # pixels: the cells of a detector's finest map by default; smaller objects are hard to find
MANY = 0.05  # share of the boxes
PART = 64  # files that a thread reads at a time
UNEVEN = 10  # ratio of the commonest to the rarest class that deserves a warning


@dataclass
class Checked:
    """The result of reading every file of a folder.

    Args:
        layout: the folder's layout; its findings include this check's.
        images: per split, the number of images that show each class (K,).
        amounts: per split, the images, boxes or pixels of each class (K,).
        looks: size, mode and orientation of each readable image, counted.
        sides: those of all boxes, as in `Examined`: an array per image.
    """

    layout: Layout
    images: dict[str, np.ndarray] = field(default_factory=dict)
    amounts: dict[str, np.ndarray] = field(default_factory=dict)
    looks: Counter[Look] = field(default_factory=Counter)
    sides: list[np.ndarray] = field(default_factory=list)


@dataclass
class _Read(Examined):
    """The result of reading one image and its target."""

    name: str = ""
    digest: bytes = b""
    look: Look | None = None
    wrong: tuple[str, str] | None = None  # kind of mistake, and the message for this image


def check_folder(
    path: Path,
    ignore: int | str | None = None,
    labels: str | None = None,
    task: str | None = None,
    classes: Sequence[str] | None = None,
) -> Checked:
    """Read every file of a folder and gather the mistakes; the other arguments are as for `recognise`.

    Raises:
        UserError: the folder's layout is unknown.
    """
    try:
        layout = recognise(path, classes, Findings(strict=False), task, ignore, labels)
    except ValueError:
        # Strict: may fail on a single file, with a more precise message.
        recognise(path, classes, task=task, ignore=ignore, labels=labels)
        raise
    try:
        layout.check()
    except ValueError as error:
        layout.findings.error("splits without boxes", str(error))
    checked = Checked(layout)
    first: dict[bytes, tuple[str, _Read]] = {}  # by digest: split and image that had it first
    copies: list[tuple[str, str]] = []  # names of equal training images
    for split, listing in layout.splits.items():
        checked.images[split] = np.zeros(len(layout.class_names), np.int64)
        checked.amounts[split] = np.zeros(len(layout.class_names), np.int64)
        for one in _read_all(layout, split):
            _take_in(one, split, first, copies, checked)
        if not len(listing):
            layout.findings.error("splits without images", f"{split} holds no usable images")
    _look_at_classes(checked)
    _look_at_sides(checked)
    _look_at_depth(checked)
    _look_at_copies(layout, copies)
    return checked


def _read_all(layout: Layout, split: str) -> Iterator[_Read]:
    def read(index: int) -> _Read:
        one = _Read(name=listing.images[index])
        try:
            path = listing.root / one.name
            with open(regular(path), "rb") as file:
                content = file.read()
            one.digest = hashlib.blake2b(content).digest()
            one.look = look_at(path, content)
            layout.examine(listing, index, one.look, one)
        except (OSError, ValueError) as error:
            one.wrong = (one.what, str(error))
        return one

    listing = layout.splits[split]
    parts = [range(start, min(start + PART, len(listing))) for start in range(0, len(listing), PART)]
    with ThreadPoolExecutor(available_cores()) as pool:
        done = itertools.chain.from_iterable(pool.map(lambda part: [read(index) for index in part], parts))
        yield from with_bar(done, len(listing), f"reading {split}")


def _take_in(
    one: _Read, split: str, first: dict[bytes, tuple[str, _Read]], copies: list[tuple[str, str]], checked: Checked
) -> None:
    findings = checked.layout.findings
    if one.digest:
        where, other = first.setdefault(one.digest, (split, one))
        both = f"{one.name} = {other.name}"
        contradicts = checked.layout.splits[split].labels is not None and _counted(one) != _counted(other)
        if contradicts:
            findings.add("warning", "images that are in two classes: one of the two is wrong", both)
        if where != split:
            findings.add("warning", f"images of {split} that are also in {where}", both)
        elif other is not one:
            if not contradicts:
                findings.add("warning", f"images that are in {split} more than once", both)
            copies += [(other.name, one.name)] if split == "train" else []
    if one.look is not None:
        checked.looks[one.look] += 1
    if one.amounts is not None:
        checked.images[split] += one.amounts > 0
        checked.amounts[split] += one.amounts
    if one.sides is not None and one.look is not None and max(one.look.size) > IMAGE_SIZE:
        checked.sides.append(one.sides)
    for severity, what in one.remarks:
        findings.add(severity, what, one.name)
    if one.wrong is not None:
        findings.error(*one.wrong)


def _counted(one: _Read) -> list[int]:
    return [] if one.amounts is None else one.amounts.tolist()


def _look_at_copies(layout: Layout, copies: list[tuple[str, str]]) -> None:
    """Warn of equal images that training and validation would share, if validation images are held out."""
    if not copies or "val" in layout.splits:
        return
    try:
        held = held_out(layout, options_of(FolderDataModule)["val_size"].default, 0.0)[0]
    except ValueError:
        return  # too few images: training will report that
    split_of = {name: split for split, listing in held.items() for name in listing.images}
    for pair in copies:
        if len({split_of[name] for name in pair}) > 1:
            what = "images held out for validation whose copy is trained on, or the reverse: keep one of each"
            layout.findings.add("warning", what, " = ".join(pair))


def _look_at_classes(checked: Checked) -> None:
    """Warn of classes with too few images, and of names that mirroring would exchange."""
    names, findings = checked.layout.class_names, checked.layout.findings
    if not names or checked.layout.targets.is_numbers or "train" not in checked.images:
        return
    train = checked.images["train"]
    for name, count in zip(names, train, strict=True):
        if not count:
            findings.add("warning", "classes without a training image", name)
    for split in ("val", "test"):
        for name, count, trained in zip(names, checked.images.get(split, train), train, strict=True):
            if trained and not count:
                findings.add("warning", f"classes without an image in {split}", name)
    if sides := told_by_side(names):
        findings.add("warning", f"mirroring turns class {sides[0]} into {sides[1]}: train with --data.flip false")
    seen = {name: int(count) for name, count in zip(names, train, strict=True) if count}
    if seen and max(seen.values()) > UNEVEN * min(seen.values()):
        commonest, rarest = max(seen, key=lambda name: seen[name]), min(seen, key=lambda name: seen[name])
        findings.add(
            "warning",
            f"classes are unbalanced: {seen[commonest]:,} training images show {commonest}, {seen[rarest]:,} {rarest}",
        )


def _look_at_depth(checked: Checked) -> None:
    """Warn of images of more than 8 bits, of which training and predict.py read 8."""
    deep = {look: count for look, count in checked.looks.items() if look.top > 255}
    if not deep:
        return
    largest = max(look.top for look in deep)
    cut = f", and those above {DEEP:,.0f} are cut off" if largest > DEEP else ""
    checked.layout.findings.add(
        "warning",
        f"{sum(deep.values()):,} images have more than 8 bits and are read in 8: their values, up to {largest:,.0f}, "
        f"become 0 to {min(255, round(largest * 255 / DEEP))}{cut}; convert them with the contrast that matters",
    )
    others = sum(count for look, count in checked.looks.items() if is_deep(look.mode) and 1 < look.top <= 255)
    if others:
        what = (
            f"{others:,} others have more bits but no value above 255: they are read as they are, 257 times as bright"
        )
        checked.layout.findings.add("warning", what)


def _look_at_sides(checked: Checked) -> None:
    """Warn of boxes that become too small when their image is scaled down for training."""
    if not checked.sides:
        return
    sides = np.concatenate(checked.sides) * IMAGE_SIZE
    small = sides[sides < SMALL_SIDE]
    if len(small) > MANY * len(sides):
        checked.layout.findings.add(
            "warning",
            f"{len(small):,} of {len(sides):,} boxes shrink to less than {SMALL_SIDE} pixels, half of them to "
            f"{np.median(small):.1f} or less, at the default image size of {IMAGE_SIZE}: give a larger "
            "--data.image_size, or train on parts of the images with --data.crop and predict with --tile",
        )
