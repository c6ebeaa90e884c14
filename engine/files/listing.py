"""What a folder of images holds: lists of files by split, and which file belongs to which.

(H, W) is a size in pixels.
"""

import os
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from engine.contract.errors import UserError
from engine.files.mask_files import MaskCode
from engine.files.packed import Rows, Strings
from engine.inputs.folder import Findings, Folder, nfc, note_unread
from engine.inputs.image_files import SUFFIXES

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
MAX_ADDED = 40  # characters that masks' names have before or after those of their images
TRIED = 50  # names that tell which these are


@dataclass(frozen=True)
class Listing:
    """The files of one split, N of them, and what belongs to each.

    Args:
        root: folder that all names are relative to.
        images: the images' names.
        partners: names of their masks, or of the images that they belong to.
        labels: (N,) int64, their classes.
        boxes: for each image (n, 5): xyxy in pixels, and the class.
        sizes: (N, 2) int32, the (H, W) that the boxes are for, 0 where that is not said.
    """

    root: Path
    images: Strings
    partners: Strings | None = None
    labels: Tensor | None = None
    boxes: Rows | None = None
    sizes: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> Path:
        """Return the path of an image."""
        return self.root / self.images[index]

    def partner(self, index: int) -> Path:
        """Return the path of what belongs to an image."""
        assert self.partners is not None
        return self.root / self.partners[index]

    def subset(self, indices: Sequence[int]) -> "Listing":
        """Return a listing of the images at `indices`."""
        chosen = torch.tensor(indices, dtype=torch.int64)
        return replace(
            self,
            images=Strings(self.images[i] for i in indices),
            partners=None if self.partners is None else Strings(self.partners[i] for i in indices),
            labels=None if self.labels is None else self.labels[chosen],
            boxes=None if self.boxes is None else self.boxes.subset(indices),
            sizes=None if self.sizes is None else self.sizes[chosen],
        )


@dataclass(frozen=True)
class Kind:
    """What belongs to each image, and what follows from that.

    Args:
        unit: what check_data.py counts of each class besides images: boxes or pixels, if anything.
        colour: default of the data module's option, for images whose colours are not what is to be learnt.
        mosaic: the same; None where images cannot be joined.
        is_image: whether an image belongs to it, with channels of its own.
        is_class: whether one class belongs to it.
    """

    unit: str = ""
    colour: float = 0.2
    mosaic: float | None = None
    is_image: bool = False
    is_class: bool = False


KINDS = {  # by what a layout is for
    "classify": Kind(is_class=True),
    "segment": Kind(unit="pixels"),
    "detect": Kind(unit="boxes", mosaic=0.5),
    "translate": Kind(colour=0.0, is_image=True),
}


@dataclass
class Layout:
    """What a folder was recognised as.

    Args:
        kind: in words for people, such as 'class folders'.
        task: what can be trained on it: one of KINDS.
        class_names: in the order of the classes' numbers; empty for pairs of images.
        splits: the images by 'train', 'val' and 'test', as far as the folder tells them apart; all are 'train' if not.
        findings: what was left out or changed.
        mask_code: what values in masks mean.
    """

    kind: str
    task: str
    class_names: tuple[str, ...]
    splits: dict[str, Listing]
    findings: Findings
    mask_code: MaskCode | None = None

    @property
    def targets(self) -> Kind:
        """What belongs to each image."""
        return KINDS[self.task]

    def counted(self) -> str:
        """Return how many images there are, by split."""
        return ", ".join(f"{len(listing):,} {split}" for split, listing in self.splits.items())

    @property
    def notes(self) -> list[str]:
        """One line for each remark."""
        return [str(finding) for finding in self.findings.of("warning", "note")]


def natural_order(names: Iterable[str]) -> list[str]:
    """Return names sorted such that the numbers in them count: 2 before 10."""

    def key(name: str) -> tuple[list[tuple[int, str]], str]:
        parts = re.split(r"0*([0-9]+)", name)  # text and numbers in turn
        return [(len(part) if i % 2 else 0, part) for i, part in enumerate(parts)], name

    return sorted(names, key=key)


def split_folders(folder: Folder) -> dict[str, Folder]:
    """Return the folders of 'train', 'val' and 'test' in a folder; none if there is none for training.

    Raises:
        UserError: there are two for one of them.
    """
    found: dict[str, Folder] = {}
    for name, inner in folder.folders.items():
        split = SPLITS.get(name.lower())
        if split is None:
            continue
        if split in found:
            raise UserError(
                f"{folder.path} has two folders for {split}, {found[split].name} and {inner.name}: keep one"
            )
        found[split] = inner
    return {split: found[split] for split in ("train", "val", "test") if split in found} if "train" in found else {}


def side_by_side(
    root: Folder, first: Sequence[str], second: Sequence[str], findings: Findings
) -> dict[str, tuple[Folder, Folder]]:
    """Return two folders that belong together by split, or by '' where there are no splits; nothing without the two.

    Splits may be within the two folders, or the two within those of the splits, or in their names, as in trainA and
    trainB. `first` and `second` are the names that each may have, as for `Folder.child`; '' in `first` is for a folder
    called like the split alone.
    """
    one, two = root.child(*first), root.child(*second)
    if one is not None and two is not None:
        ones, twos = (split_folders(folder) if not folder.own() else {} for folder in (one, two))
        if not ones or not twos:
            return {"": (one, two)}
        for split in {**ones, **twos}:
            if (split in ones) != (split in twos):
                alone = {**ones, **twos}[split]
                findings.add("note", f"folder {alone.name} left out: it has no counterpart")
        return {split: (ones[split], twos[split]) for split in ones if split in twos}
    found: dict[str, tuple[Folder, Folder]] = {}
    for split, folder in split_folders(root).items():
        one, two = folder.child(*first), folder.child(*second)
        if one is not None and two is not None:
            found[split] = (one, two)
    if not found:
        return split_in_names(root, first, second, findings)
    for split, folder in split_folders(root).items():
        if split not in found:
            findings.add("note", f"folder {folder.name} left out: it lacks {first[0]}/ or {second[0]}/")
    return found


def split_in_names(
    root: Folder, first: Sequence[str], second: Sequence[str], findings: Findings | None = None
) -> dict[str, tuple[Folder, Folder]]:
    """Return two folders that belong together by split, of those whose names say both; nothing without two to train on.

    `findings` gets those that lack the other.

    Raises:
        UserError: there are two folders for one of them.
    """
    sides: tuple[dict[str, Folder], dict[str, Folder]] = ({}, {})
    for name, folder in root.folders.items():
        for side, words in zip(sides, (first, second), strict=True):
            split = _split_said(name, words)
            if split in side:
                raise UserError(f"{root.path} has two folders for {split}, {side[split].name} and {name}: keep one")
            if split:
                side[split] = folder
    both = [split for split in ("train", "val", "test") if split in sides[0] and split in sides[1]]
    if "train" not in both:
        return {}
    if findings is not None:
        for folder in (folder for side in sides for split, folder in side.items() if split not in both):
            findings.add("note", f"folder {folder.name} left out: it has no counterpart")
    return {split: (sides[0][split], sides[1][split]) for split in both}


def _split_said(name: str, words: Sequence[str]) -> str:
    """Return the split that a name says with one of some words, as in trainA and masks-val; '' if it does not."""
    split = rf"(?i:({'|'.join(SPLITS)}))"
    word = "|".join(f"(?i:{word})" if word == word.lower() else word for word in words)
    match = re.fullmatch(rf"{split}[ _-]?(?:{word})|(?:{word})[ _-]{split}", name)
    return SPLITS[(match[1] or match[2]).lower()] if match else ""


def partners(
    one: Folder, two: Folder, kinds: tuple[str, str], suffixes: Collection[str], findings: Findings
) -> list[tuple[str, str]]:
    """Return the names of images in `one` with those of the files in `two` that have the same name but for its end.

    If no name is the same, what all names in `two` have besides, such as '_mask', is passed over.

    Args:
        one, two: folders, which may be the same.
        kinds: what is in them, in words such as 'image' and 'mask'.
        suffixes: ends of the names in `two`.
        findings: gets what has no partner.
    """
    ones, twos = _by_stem(one, SUFFIXES, findings), _by_stem(two, suffixes, findings)
    note_unread([one] if one is two else [one, two], findings)
    before, after = "", ""
    if ones and twos and not ones.keys() & twos.keys():
        own, (before, after) = _added(list(ones), list(twos))
        ones = {_stripped(stem, *own): name for stem, name in ones.items()}
        twos = {_stripped(stem, before, after): name for stem, name in twos.items()}
    if before or after:
        what = f"{kinds[1]} names differ from {kinds[0]} names by {f'{before} {after}'.strip()!r}"
        findings.add("note", what + (f" for {' '.join(own).strip()!r}" if any(own) else ""))
    for stem, name in ones.items():
        if stem not in twos:
            folder, slash, last = stem.rpartition("/")
            end = min(suffixes) if len(suffixes) == 1 else ".*"
            wanted = two.within(f"{folder}{slash}{before}{last}{after}{end}")
            findings.error(
                f"files without their {kinds[1]}",
                f"{name} has no {kinds[1]}: expected {wanted}; add it, or take the {kinds[0]} out",
            )
    for stem, name in twos.items():
        if stem not in ones:
            findings.error(
                f"files without their {kinds[0]}",
                f"{name} has no {kinds[0]}: expected {one.within(stem)}.*; add it, or take the {kinds[1]} out",
            )
    return [(name, twos[stem]) for stem, name in ones.items() if stem in twos]


def _added(ones: Sequence[str], twos: Sequence[str]) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return what stands before and after the names of `ones` and of `twos` that belong together otherwise.

    Either the names of `ones` are within most of `twos`, or all are equal without what they have in common on each
    side. There is a letter in the difference: numbers that are shifted belong to other images.
    """
    before, after = _common(twos)
    tried = twos[:TRIED]
    best, found = len(tried) / 2, ("", "")
    within = set(ones)
    for i in range(len(before) + 1):
        for j in range(len(after) + 1):
            pair = before[:i], after[len(after) - j :]
            hits = sum(_stripped(stem, *pair) in within for stem in tried)
            if hits > best and any(map(str.isalpha, "".join(pair))):
                best, found = hits, pair
    if any(found):
        return ("", ""), found
    own, others = _common(ones), (before, after)
    rest = [{_stripped(stem, *pair) for stem in stems} for stems, pair in ((ones, own), (twos, others))]
    differs = [_common(pair) for pair in zip(own, others, strict=True)]
    letters = "".join(own + others)
    for shared in differs:
        letters = letters.replace(max(shared, key=len), "") if any(shared) else letters
    if len(ones) > 1 and rest[0] == rest[1] and any(map(str.isalpha, letters)):
        return own, others
    return ("", ""), ("", "")


def _common(stems: Sequence[str]) -> tuple[str, str]:
    """Return what the last parts of names begin with, all of them, and what they end with."""
    last = [stem.rpartition("/")[2] for stem in stems]
    ends = []
    for names in (last, [name[::-1] for name in last]):
        low, high = min(names), max(names)
        differ = (i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b)
        ends.append(low[: min(next(differ, len(low)), MAX_ADDED)])
    return ends[0], ends[1][::-1]


def _stripped(stem: str, before: str, after: str) -> str:
    folder, slash, last = stem.rpartition("/")
    has_both = len(last) > len(before) + len(after) and last.startswith(before) and last.endswith(after)
    return f"{folder}{slash}{last[len(before) : len(last) - len(after)]}" if has_both else stem


def _by_stem(folder: Folder, suffixes: Collection[str], findings: Findings) -> dict[str, str]:
    found: dict[str, str] = {}
    for inside in folder.below(suffixes):
        stem, name = nfc(os.path.splitext(inside)[0]), folder.within(inside)
        if stem in found:
            message = f"{found[stem]} and {name} have one name: it cannot be told which is meant; rename one of them"
            findings.error("files of one name", message)
            continue
        found[stem] = name
    return found
