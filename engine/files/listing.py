"""What a folder of images holds: folders looked into as needed, lists of files by split, and what was found wrong.

(H, W) is a size in pixels.
"""

import functools
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from engine.contract.errors import UserError
from engine.files.image_files import SUFFIXES
from engine.files.mask_files import MaskCode
from engine.files.packed import Rows, Strings

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
UNSEEN = {"__MACOSX"}  # left by archives made on a Mac, full of files that only look like images
# Images, text, and the leavings of systems: whatever else lies among images is remarked.
EXPECTED = SUFFIXES | {
    *(".txt", ".md", ".rst", ".json", ".jsonl", ".xml", ".csv", ".tsv", ".yaml", ".yml", ".html", ".pdf", ".log"),
    *(".py", ".ipynb", ".ini", ".db"),
}
UNREAD = "files left out: their format is not read"
MAX_ADDED = 40  # characters that masks' names have before or after those of their images
TRIED = 50  # names that tell which these are
MAX_WAYS = 100  # by which a folder is looked into: links that branch lead through it a million times
DEEPEST = 100  # folders within folders
SHOWN = 5  # files that a finding names

Severity = Literal["error", "warning", "note"]


@dataclass
class Finding:
    """Something said of files: of how many, and the first few of them, or what is wrong with these."""

    severity: Severity
    what: str
    files: list[str] = field(default_factory=list)
    count: int = 0

    def __str__(self) -> str:
        first = f" (first: {self.files[0]})" if self.files else ""
        return f"{self.count} {self.what}{first}" if self.count else self.what


class Findings:
    """What was found while a folder was looked through, by severity.

    Args:
        strict: raise the first error, in words of its own, instead of gathering errors.
    """

    def __init__(self, strict: bool = True) -> None:
        self.strict = strict
        self._found: dict[tuple[Severity, str], Finding] = {}

    def error(self, what: str, message: str) -> None:
        """Take note of something that training would fail on, in full. The caller leaves the file out.

        Raises:
            UserError: the findings are strict; says `message`.
        """
        if self.strict:
            raise UserError(message)
        self.add("error", what, message)

    def add(self, severity: Severity, what: str, file: str | None = None) -> None:
        """Count one more file, or say something of the whole if there is none."""
        finding = self._found.setdefault((severity, what), Finding(severity, what))
        if file is not None:
            finding.count += 1
            if len(finding.files) < SHOWN and file not in finding.files:
                finding.files.append(file)

    def of(self, *severities: Severity) -> list[Finding]:
        """Return the findings of these severities, in the order of first sight."""
        return [finding for finding in self._found.values() if finding.severity in severities]


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


@dataclass
class Layout:
    """What a folder was recognised as.

    Args:
        kind: in words for people, such as 'class folders'.
        task: what can be trained on it: classify, segment, detect or translate.
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

    def counted(self) -> str:
        """Return how many images there are, by split."""
        return ", ".join(f"{len(listing):,} {split}" for split, listing in self.splits.items())

    @property
    def notes(self) -> list[str]:
        """One line for each remark."""
        return [str(finding) for finding in self.findings.of("warning", "note")]


class Folder:
    """A folder that is read when it is first looked into. What is hidden, by a dot before its name, is not seen.

    Args:
        path: where it is.
        name: its name relative to the folder that everything began with; empty for that itself.
        ancestors: the real paths of the folders around it and its own; of a link into itself there would be no end.
        ways: how often each real path was looked into.
    """

    def __init__(
        self, path: str, name: str = "", ancestors: tuple[str, ...] = (), ways: Counter[str] | None = None
    ) -> None:
        self.path = path
        self.name = name
        self._ancestors = ancestors or (os.path.realpath(path),)
        self._ways: Counter[str] = Counter() if ways is None else ways

    @property
    def files(self) -> dict[str, None]:
        """Names of the files in it, sorted."""
        return self._inside[0]

    @property
    def folders(self) -> dict[str, "Folder"]:
        """The folders in it by name, sorted."""
        return self._inside[1]

    @functools.cached_property
    def _inside(self) -> tuple[dict[str, None], dict[str, "Folder"]]:
        files, folders = [], {}
        self._ways[self._ancestors[-1]] += 1
        if self._ways[self._ancestors[-1]] > MAX_WAYS or len(self._ancestors) > DEEPEST:
            raise UserError(f"folder {self.path} lies deeper than {DEEPEST}, or {MAX_WAYS} links lead to it: move it")
        try:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or entry.name in UNSEEN:
                        continue
                    if not (os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()):
                        files.append(entry.name)
                        continue
                    real = f"{self._ancestors[-1]}/{entry.name}"
                    real = os.path.realpath(entry.path) if entry.is_symlink() else real
                    if real not in self._ancestors:
                        ancestors = (*self._ancestors, real)
                        folders[entry.name] = Folder(entry.path, self.within(entry.name), ancestors, self._ways)
        except OSError as error:
            raise UserError(f"folder {self.path} cannot be read ({error.strerror})") from error
        return dict.fromkeys(sorted(files)), dict(sorted(folders.items()))

    def within(self, name: str) -> str:
        """Return the name of something in this folder, relative to the folder that everything began with."""
        return f"{self.name}/{name}" if self.name else name

    def child(self, *names: str) -> "Folder | None":
        """Return the folder in it that has one of these names, in any case if they are in lower case."""
        found = (folder for name in names for own, folder in self.folders.items() if name in (own, own.lower()))
        return next(found, None)

    def own(self, suffixes: Collection[str] = SUFFIXES) -> list[str]:
        """Return the names of the files right in it that end like this, images if nothing is said."""
        return [name for name in self.files if os.path.splitext(name)[1].lower() in suffixes]

    def below(self, suffixes: Collection[str] = SUFFIXES, inside: str = "") -> Iterator[str]:
        """Yield the names, relative to this folder, of the files at any depth that end like this."""
        for name in self.own(suffixes):
            yield inside + name
        for name, folder in self.folders.items():
            yield from folder.below(suffixes, f"{inside}{name}/")

    def unread(self) -> Iterator[str]:
        """Yield the names, relative to this folder, of the files at any depth that are neither images nor text."""
        for name in self.files:
            if os.path.splitext(name)[1].lower() not in EXPECTED:
                yield name
        for name, folder in self.folders.items():
            for inside in folder.unread():
                yield f"{name}/{inside}"

    def find(self, name: str) -> str | None:
        """Return the name of the file called `name`, which may lead through folders; None if there is none.

        Two names are one if they are equal in Unicode's composed form: systems store them in either.
        """
        first, _, rest = name.partition("/")
        own: Collection[str] = self.folders if rest else self.files
        if first not in own:
            first = self._composed.get(nfc(first), "")
        if first not in own:
            return None
        inside = self.folders[first].find(rest) if rest else ""
        return None if inside is None else f"{first}/{inside}" if rest else first

    @functools.cached_property
    def _composed(self) -> dict[str, str]:
        return {nfc(name): name for name in (*self.files, *self.folders)}


def natural_order(names: Iterable[str]) -> list[str]:
    """Return names sorted such that the numbers in them count: 2 before 10."""

    def key(name: str) -> tuple[list[tuple[int, str]], str]:
        parts = re.split(r"0*([0-9]+)", name)  # text and numbers in turn
        return [(len(part) if i % 2 else 0, part) for i, part in enumerate(parts)], name

    return sorted(names, key=key)


def nfc(name: str) -> str:
    """Return a name in Unicode's composed form, by which names are compared."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def note_unread(folders: Iterable[Folder], findings: Findings) -> None:
    """Take note of the files in folders of images that look like images of a format that is not read."""
    for folder in folders:
        for name in folder.unread():
            findings.add("warning", UNREAD, folder.within(name))


def find_images(paths: Iterable[str], findings: Findings | None = None) -> list[Path]:
    """Return the image files named, and those in the folders named, in the order of their names, as training sees them.

    `findings` gets what was left out.

    Raises:
        FileNotFoundError: a path does not exist, or a folder holds no images.
        UserError: a folder cannot be read.
    """
    found: list[Path] = []
    for name in paths:
        path = Path(name)
        if not name:
            raise FileNotFoundError("an empty name is no image")
        if path.is_dir():
            folder = Folder(name)
            inside = sorted(path / inner for inner in folder.below())
            if not inside:
                raise FileNotFoundError(f"folder {path} holds no images ({what_is_read(folder)})")
            found += inside
            if findings is not None:
                for left in folder.unread():
                    findings.add("warning", UNREAD, str(path / left))
        elif path.is_file():
            found.append(path)
        else:
            raise FileNotFoundError(f"there is no image or folder {path}")
    return found


def what_is_read(folder: Folder) -> str:
    """Return the ends of the names of images, and those in a folder that are others."""
    ends = Counter(os.path.splitext(name)[1].lower() or "no ending" for name in folder.unread())
    others = ", ".join(f"{count:,} with {end}" for end, count in ends.most_common(3))
    return " ".join(sorted(SUFFIXES)) + (f", but {others}" if others else "")


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
