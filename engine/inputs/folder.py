"""Folders that are looked into as needed, the images found in them, and what was found wrong."""

import functools
import os
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from engine.contract.errors import UserError
from engine.inputs.image_files import SUFFIXES

UNSEEN = {"__MACOSX"}  # left by archives made on a Mac, full of files that only look like images
# Images, text, and the leavings of systems: whatever else lies among images is remarked.
EXPECTED = SUFFIXES | {
    *(".txt", ".md", ".rst", ".json", ".jsonl", ".xml", ".csv", ".tsv", ".yaml", ".yml", ".html", ".pdf", ".log"),
    *(".py", ".ipynb", ".ini", ".db"),
}
UNREAD = "files left out: their format is not read"
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
