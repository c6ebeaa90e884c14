"""Images with masks: images/ and masks/, or train/ and train_masks/.

C channels, (H, W) size in pixels.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors

from engine.contract.errors import UserError
from engine.data.cache import Planes, Spec
from engine.data.samples import Sample, Size
from engine.files.class_file import CLASSES, LABEL_MAP, read_class_file
from engine.files.listing import IMAGES, MASKS, Examined, Layout, Listing, partners, side_by_side, split_in_names
from engine.files.mask_files import JPEG, LOSSY, MaskCode, read_mask, survey
from engine.files.packed import Strings
from engine.inputs.folder import Findings, Folder
from engine.inputs.image_files import (
    SUFFIXES,
    TURNS,
    Look,
    is_of_turned,
    letterbox_mask,
    read_letterboxed,
    wide_by_high,
)
from engine.inputs.letterbox import IGNORE

SPLIT_MASKS = (*MASKS, "annot", "annotation", "label", "segmentation", "seg", "gt")  # in names such as trainannot
SURVEYED = 25  # masks opened if their classes have names; otherwise all are


def mask_folders(
    root: Folder,
    findings: Findings,
    classes: Sequence[str] | None = None,
    ignore: int | str | None = None,
) -> Layout | None:
    """Return the layout of a folder, or None if it has no images with masks.

    Args:
        root: the folder.
        findings: gets faulty files.
        classes: names of the classes, if not the folder's own.
        ignore: a class to ignore, by number, name or colour, as in '0 0 0'.

    Raises:
        UserError: the masks have no classes to learn, or not these.
    """
    found = side_by_side(root, IMAGES, MASKS, findings) or split_in_names(root, (*IMAGES, ""), SPLIT_MASKS, findings)
    if not found or not any(any(masks.below()) for _, masks in found.values()):
        return None
    listings = {}
    for split, (images, masks) in found.items():
        pairs = partners(images, masks, ("image", "mask"), SUFFIXES, findings)
        lossy = dict.fromkeys(name for _, name in pairs if os.path.splitext(name)[1].lower() in LOSSY)
        for name in lossy:
            findings.error("masks stored as JPEG", f"{name} is a mask stored as JPEG, {JPEG}")
        pairs = [pair for pair in pairs if pair[1] not in lossy]
        names, belonging = zip(*pairs, strict=True) if pairs else ((), ())
        listings[split or "train"] = Listing(Path(root.path), Strings(names), Strings(belonging))
    return mask_layout("images with masks", root, listings, findings, classes, ignore)


def mask_layout(
    kind: str,
    root: Folder,
    listings: dict[str, Listing],
    findings: Findings,
    classes: Sequence[str] | None = None,
    ignore: int | str | None = None,
) -> Layout:
    """Return the layout of listed images and masks, whose classes a file in `root` may name.

    Arguments and errors are those of `mask_folders`.
    """
    paths = [listing.partner(i) for listing in listings.values() for i in range(len(listing))]
    if file := next((name for name in (CLASSES, LABEL_MAP) if name in root.files), None):
        names, code = _named_classes(root, file, paths, findings)
        if ignore is not None:
            names, code = _without(names, code, ignore)
    else:
        names, code = _numbered_classes(root, paths, findings, classes, ignore)
    if code.ignored:
        findings.add("note", f"class {ignore} in masks is ignored")
    return MaskLayout(kind, "segment", names, listings, findings, code)


def _named_classes(root: Folder, file: str, paths: list[Path], findings: Findings) -> tuple[tuple[str, ...], MaskCode]:
    """Return the classes in classes.txt or labelmap.txt, and how masks encode them."""
    names, colours = read_class_file(Path(root.path) / file)
    if len(names) > IGNORE:
        raise UserError(f"{root.path}/{file} has {len(names)} classes: a mask can hold at most {IGNORE}")
    if colours:
        findings.add("note", f"masks are read by colour, as {file} says")
        return names, MaskCode(len(names), colours)
    seen = survey(paths[:: max(1, len(paths) // SURVEYED)], skip=True, palettes=findings.strict)
    if seen.values and seen.values <= {0, IGNORE}:  # black and white, or few masks with anything in them
        seen = survey(paths, skip=True, palettes=findings.strict)
    if fault := seen.fault(root.path, len(names)):
        findings.error("masks whose values cannot be classes", fault)
    if seen.is_black_and_white and len(names) == 2:
        findings.add("note", f"masks are black and white: 0 is {names[0]}, {IGNORE} is {names[1]}")
        return names, MaskCode(2, binary=True)
    findings.add("note", f"masks hold class numbers, named in {file} (0 is {names[0]}); {IGNORE} is ignored")
    return names, MaskCode(len(names), palette=seen.palette)


def _numbered_classes(
    root: Folder, paths: list[Path], findings: Findings, classes: Sequence[str] | None, ignore: int | str | None
) -> tuple[tuple[str, ...], MaskCode]:
    """Return the classes of masks without classes.txt: their names are the numbers."""
    seen = survey(paths, skip=not findings.strict, palettes=findings.strict)
    ignored: tuple[int, ...] = ()
    if ignore is not None:
        if not str(ignore).isdecimal() or int(ignore) > IGNORE:
            raise UserError(f"ignore is a number in masks here, as no {CLASSES} names them, got {ignore!r}")
        ignored = (int(ignore),)
        seen = seen.without(*ignored)
    if seen.is_black_and_white and (classes is None or len(classes) == 2):
        findings.add("note", f"masks are black and white: 0 is background, {IGNORE} is object")
        return ("background", "object"), MaskCode(2, binary=True, named=False)
    if fault := seen.fault(root.path, len(classes or ())):
        raise UserError(fault)
    num = max(seen.values - {IGNORE}, default=0) + 1
    if num < 2 and classes is None:
        message = f"the masks in {root.path} hold class 0 only: there is nothing to learn"
        findings.error("classes too few", message)
    names = tuple(str(value) for value in range(num) if value not in ignored)
    lacking = [name for name in names if int(name) not in seen.values]
    shown = f" ({' '.join(lacking[:5])} in no mask)" if lacking else ""
    findings.add("note", f"masks hold class numbers 0 to {num - 1}{shown}; {IGNORE} is ignored")
    order = _order(len(names), ignored)
    return names, MaskCode(len(order), order=order, named=False, ignored=ignored, palette=seen.palette)


def _without(names: tuple[str, ...], code: MaskCode, ignore: int | str) -> tuple[tuple[str, ...], MaskCode]:
    """Remove the class `ignore` from named classes.

    Raises:
        UserError: there is no such class, or too few are left.
    """
    text = str(ignore).strip()
    numbers = [int(word) for word in text.replace(",", " ").split() if word.isdecimal()]
    colour = (numbers[0], numbers[1], numbers[2]) if len(numbers) == 3 and code.colours else None
    if text in names:
        number = names.index(text)
    elif colour is not None:
        colours = code.colours if colour in code.colours else (*code.colours, colour)
        number, code = colours.index(colour), replace(code, colours=colours)
    elif text.isdecimal() and int(text) <= IGNORE:
        number = int(text)
    else:
        known = ", ".join(names[:10])
        raise UserError(f"ignore is a class ({known}), its number, or with colours its R G B, got {ignore!r}")
    names = names[:number] + names[number + 1 :]
    if len(names) < 2 or code.binary:
        raise UserError(f"ignoring {ignore!r} leaves fewer than two classes")
    order = _order(len(names), (number,))
    return names, replace(code, num_values=len(order), order=order, ignored=(number,))


def _order(num_classes: int, ignored: Sequence[int]) -> tuple[int, ...]:
    """Return the class of each value: classes are numbered from 0, skipping ignored values."""
    order: list[int] = []
    while num_classes > sum(k != IGNORE for k in order):
        order.append(IGNORE if len(order) in ignored else sum(k != IGNORE for k in order))
    return tuple(order)


@dataclass
class MaskLayout(Layout):
    """Images and a mask of each; `code` is the meaning of values in the masks."""

    code: MaskCode = field(default_factory=lambda: MaskCode(0))

    def renumbered(self, classes: Sequence[str], path: str) -> Layout:
        code = self.code
        if not code.named:  # masks hold plain numbers: class k gets the k-th name
            if len(classes) < len(self.class_names):
                raise UserError(
                    f"classes lists {len(classes)}, but the masks in {path} hold {len(self.class_names)}: list them all"
                )
            values = _order(len(classes), code.ignored)
            code = code if code.binary else replace(code, num_values=len(values), order=values)
        else:
            order = self.order_in(classes, path)
            own = code.order or tuple(range(code.num_values))
            code = replace(code, order=tuple(IGNORE if k == IGNORE else order[k] for k in own))
        return replace(self, class_names=tuple(classes), code=code)

    def source(self, listing: Listing, channels: int, target_channels: int | None = None) -> "MaskFiles":
        return MaskFiles(listing, channels, self.code)

    def examine(self, listing: Listing, index: int, look: Look, one: Examined) -> None:
        source = self.source(listing, channels=3)
        one.what = "masks that cannot be read, or hold unknown classes"
        mask = source.mask(index)
        one.what = "masks of another size than their image"
        classes = source.upright(index, mask, look.size, look.orientation)
        one.amounts = np.bincount(classes[classes != IGNORE], minlength=len(self.class_names))


class MaskFiles:
    """Images and their masks, (H, W) uint8: the class of each pixel, or 255 for none.

    Args:
        listing: the files, with partners.
        channels: 1 for grey images, 3 for colour.
        code: the meaning of values in the masks.
    """

    def __init__(self, listing: Listing, channels: int, code: MaskCode) -> None:
        self.listing = listing
        self.channels = channels
        self.code = code

    def __len__(self) -> int:
        return len(self.listing)

    def specs(self, size: Size) -> list[Spec]:
        return [((self.channels, *size), torch.uint8), (size, torch.uint8)]

    def read(self, index: int, size: Size) -> Planes:
        picture = read_letterboxed(self.listing.image(index), self.channels, size)
        mask = self.upright(index, self.mask(index), picture.size, picture.orientation)
        return [picture.pixels, letterbox_mask(mask, size)]

    def classes(self, index: int) -> Tensor:
        """Return the classes in a mask, int64, each once."""
        present = np.unique(self.mask(index))
        return torch.from_numpy(present[present != IGNORE].astype(np.int64))

    def mask(self, index: int) -> np.ndarray:
        """Return a mask's classes (H, W), in the orientation of its file.

        Raises:
            UserError: it cannot be read, or has an unknown class; names it.
        """
        return read_mask(self.listing.partner(index), self.code)

    def upright(self, index: int, mask: np.ndarray, original: Sequence[int], orientation: int) -> np.ndarray:
        """Return a mask turned to match its upright image, of `original` = (H, W).

        Raises:
            UserError: it has another size than its image; names both.
        """
        if is_of_turned(mask.shape, original, orientation):
            mask = np.asarray(Image.fromarray(mask).transpose(TURNS[orientation]))
        if mask.shape != tuple(original):
            raise UserError(
                f"{self.listing.partner(index)} is {wide_by_high(mask.shape)} pixels and its image "
                f"{self.listing.image(index)} is {wide_by_high(original)}: a mask has its image's size"
            )
        return mask

    def sample(self, index: int, planes: Planes, size: Size) -> Sample:
        return tv_tensors.Image(planes[0]), tv_tensors.Mask(planes[1])
