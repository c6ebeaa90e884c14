"""The content of a folder of images: lists of files per split, and the mask, boxes or image that belong to each.

(H, W) is a size in pixels.
"""

import os
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from engine.contract.errors import UserError
from engine.data.samples import SampleSource
from engine.files.packed import Rows, Strings
from engine.inputs.folder import Findings, Folder, Severity, nfc, note_unread
from engine.inputs.image_files import SUFFIXES, Look, size_of

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
IMAGES = ("images", "image", "imgs", "jpegimages")
MASKS = ("masks", "mask", "labels", "annotations", "segmentationclass", "segmentations", "groundtruth")
MAX_ADDED = 40  # characters of a prefix or suffix that partners' names have in common, such as '_mask'
TRIED = 50  # names by which these are found


@dataclass(frozen=True)
class Listing:
    """The files of one split, N of them, and what belongs to each.

    Args:
        root: folder that all names are relative to.
        images: the images' names.
        partners: names of their masks, or of their target images.
        labels: (N,) int64, their classes.
        numbers: (N, K) float32, numbers to predict, or 1 for each class that an image shows.
        boxes: per image (n, 5): xyxy in pixels, and the class.
        sizes: (N, 2) int32, the (H, W) of each image by its annotation; 0 if not stated.
    """

    root: Path
    images: Strings
    partners: Strings | None = None
    labels: Tensor | None = None
    numbers: Tensor | None = None
    boxes: Rows | None = None
    sizes: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> Path:
        """Return the path of an image."""
        return self.root / self.images[index]

    def partner(self, index: int) -> Path:
        """Return the path of an image's mask or target image."""
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
            numbers=None if self.numbers is None else self.numbers[chosen],
            boxes=None if self.boxes is None else self.boxes.subset(indices),
            sizes=None if self.sizes is None else self.sizes[chosen],
        )

    def renumbered(self, table: Tensor) -> "Listing":
        """Return the listing with class table[k] in place of each class k."""
        return replace(
            self,
            labels=None if self.labels is None else table[self.labels],
            boxes=None if self.boxes is None else self.boxes.with_column(4, table),
        )


@dataclass(frozen=True)
class Kind:
    """A kind of target, and what follows from it.

    Args:
        unit: what check_data.py counts per class besides images: 'boxes', 'pixels' or nothing.
        colour: default of the data module's option `colour`.
        mosaic: default of its option `mosaic`; None if such images cannot be joined.
        is_image: whether the target is an image, with its own number of channels.
        is_class: whether the target is one class.
        is_numbers: whether the target is one or several numbers.
    """

    unit: str = ""
    colour: float = 0.2
    mosaic: float | None = None
    is_image: bool = False
    is_class: bool = False
    is_numbers: bool = False


KINDS = {  # by task
    "classify": Kind(is_class=True),
    "segment": Kind(unit="pixels"),
    "detect": Kind(unit="boxes", mosaic=0.5),
    "translate": Kind(colour=0.0, is_image=True),
    "regress": Kind(is_numbers=True),
    "multilabel": Kind(),
}


@dataclass
class Examined:
    """What was found on reading one image and its target.

    Args:
        what: the kind of mistake if reading fails from now on.
        amounts: how many images, boxes or pixels there are of each class (K,).
        sides: the side of each box, which is the root of its area, as a share of the image's longer side (M,).
        remarks: severity and text of each other finding.
    """

    what: str = "images that cannot be read"
    amounts: np.ndarray | None = None
    sides: np.ndarray | None = None
    remarks: list[tuple[Severity, str]] = field(default_factory=list)

    def remark(self, severity: Severity, what: str, count: int = 1) -> None:
        """Add a finding `count` times."""
        self.remarks += [(severity, what)] * count


@dataclass
class Layout:
    """What a folder was recognised as.

    A subclass reads the target of each image.

    Args:
        kind: name for users, such as 'class folders'.
        task: the task it is for, a key of KINDS.
        class_names: in the order of the classes' numbers, or the names of numbers; empty for pairs of images.
        splits: the images of 'train', 'val' and 'test'; a folder without splits has 'train' only.
        findings: what was left out or changed.
    """

    kind: str
    task: str
    class_names: tuple[str, ...]
    splits: dict[str, Listing]
    findings: Findings

    def source(self, listing: Listing, channels: int, target_channels: int | None = None) -> SampleSource:
        """Return the samples of a listing; channels are 1 or 3, `target_channels` is for pairs (None: the same)."""
        raise NotImplementedError

    def size_of(self, listing: Listing, index: int) -> tuple[int, int]:
        """Return the (H, W) of an upright image; reads only the file's header.

        Raises:
            UserError: the file is not an image; names it.
        """
        return size_of(listing.image(index))[0]

    def examine(self, listing: Listing, index: int, look: Look, one: Examined) -> None:
        """Read an image's target, and add to `one` what is found.

        Raises:
            UserError, OSError: it cannot be read, or does not fit its image.
        """
        raise NotImplementedError

    def check(self) -> None:
        """Refuse a layout that cannot be trained on, and drop splits that cannot be measured.

        Raises:
            UserError: says why.
        """

    def with_classes(self, classes: Sequence[str], path: str) -> "Layout":
        """Return the layout of the folder at `path` with these classes, in their order; they must include its own.

        Raises:
            UserError: they do not, or there are no classes.
        """
        if len(set(map(nfc, classes))) < len(classes):
            raise UserError(f"classes {' '.join(classes)}: one is listed twice")
        if not self.class_names:
            raise UserError(f"classes: {self.kind} have none")
        return self.renumbered(classes, path)

    def renumbered(self, classes: Sequence[str], path: str) -> "Layout":
        """Return the layout with these classes; arguments and errors are those of `with_classes`."""
        table = torch.tensor(self.order_in(classes, path))
        splits = {split: listing.renumbered(table) for split, listing in self.splits.items()}
        return replace(self, class_names=tuple(classes), splits=splits)

    def order_in(self, classes: Sequence[str], path: str) -> list[int]:
        """Return the number in `classes` of each class."""
        numbers = {nfc(name): number for number, name in enumerate(classes)}
        unknown = [name for name in self.class_names if nfc(name) not in numbers]
        if unknown:
            raise UserError(
                f"{path} has the class {unknown[0]}, which --data.classes lacks ({' '.join(classes[:10])})"
                + ("; in a list [...], put a name with a comma in quotes" if "," in unknown[0] else "")
            )
        return [numbers[nfc(name)] for name in self.class_names]

    @property
    def targets(self) -> Kind:
        """The kind of target of each image."""
        return KINDS[self.task]

    def counted(self) -> str:
        """Return the number of images per split, such as '80 train, 20 val'."""
        return ", ".join(f"{len(listing):,} {split}" for split, listing in self.splits.items())

    @property
    def notes(self) -> list[str]:
        """The warnings and notes, a line each."""
        return [str(finding) for finding in self.findings.of("warning", "note")]


def natural_order(names: Iterable[str]) -> list[str]:
    """Return names sorted with numbers in numerical order: 2 before 10."""

    def key(name: str) -> tuple[list[tuple[int, str]], str]:
        parts = re.split(r"0*([0-9]+)", name)  # text and numbers in turn
        return [(len(part) if i % 2 else 0, part) for i, part in enumerate(parts)], name

    return sorted(names, key=key)


def data_set_within(root: Folder) -> str:
    """Return the path of the first folder within `root` that looks like a data set, '' if none does."""
    for name, folder in root.folders.items():
        if name.lower() in SPLITS:
            continue
        num_classes = sum(bool(inner.own()) for inner in folder.folders.values())
        if is_data_set(folder) or (num_classes > 1 and not folder.own()):
            return folder.path
    return ""


def is_data_set(folder: Folder) -> bool:
    """Whether a folder's own folders are splits and nothing else, or images with their masks or annotations."""
    splits = {SPLITS.get(name.lower(), "") for name in folder.folders}
    has_splits = "train" in splits and "" not in splits
    return has_splits or bool(folder.child(*IMAGES) and folder.child(*MASKS))


def split_folders(folder: Folder) -> dict[str, Folder]:
    """Return the subfolders of 'train', 'val' and 'test'; none at all without one for training.

    Raises:
        UserError: a split has two folders.
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
    """Return the two folders that belong together, such as images and masks, per split; {} if there are none.

    The key is '' for a folder without splits. Splits may lie within the two folders, around them, or in their names, as
    in trainA and trainB. `first` and `second` list the names that each may have, as for `Folder.child`; '' in `first`
    stands for a folder named like the split.

    Raises:
        UserError: a split has two folders.
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
    """Return the two folders that belong together per split, if their names say the split; {} without two for 'train'.

    `findings` gets folders without a counterpart.

    Raises:
        UserError: a split has two folders of a kind.
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
    """Return the split of a name that joins it to one of `words`, such as trainA or masks-val; '' for other names."""
    split = rf"(?i:({'|'.join(SPLITS)}))"
    word = "|".join(f"(?i:{word})" if word == word.lower() else word for word in words)
    match = re.fullmatch(rf"{split}[ _-]?(?:{word})|(?:{word})[ _-]{split}", name)
    return SPLITS[(match[1] or match[2]).lower()] if match else ""


def partners(
    one: Folder, two: Folder, kinds: tuple[str, str], suffixes: Collection[str], findings: Findings
) -> list[tuple[str, str]]:
    """Pair the images in `one` with the files in `two` that have the same name up to the suffix.

    If no names are the same, a prefix or suffix common to all names in `two`, such as '_mask', is ignored.

    Args:
        one, two: folders, which may be the same.
        kinds: words for their files in messages, such as 'image' and 'mask'.
        suffixes: of the files in `two`.
        findings: gets files without a partner.
    """
    ones, twos = by_stem(one, SUFFIXES, findings), by_stem(two, suffixes, findings)
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
    """Return the prefix and suffix of all names in `ones`, and those in `twos`, without which the names are equal.

    Either most names of `twos` contain one of `ones`, or both are equal without what each side has in common. The
    difference must contain a letter: a shifted number means another image.
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
    """Return the prefix and the suffix that the last parts of all paths have in common."""
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


def by_stem(folder: Folder, suffixes: Collection[str], findings: Findings) -> dict[str, str]:
    """Return the names of the files at any depth of a folder by their stems, relative to it and in composed form."""
    found: dict[str, str] = {}
    for inside in folder.below(suffixes):
        stem, name = nfc(os.path.splitext(inside)[0]), folder.within(inside)
        if stem in found:
            message = f"{found[stem]} and {name} have the same name, which is ambiguous: rename one of them"
            findings.error("files with the same name", message)
            continue
        found[stem] = name
    return found
