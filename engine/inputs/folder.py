"""Folders that are read lazily, the images in them, and findings about these."""

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

UNSEEN = {"__MACOSX"}  # from archives made on a Mac; its files only look like images
# Images, texts and system files. Any other file among images is reported.
EXPECTED = SUFFIXES | {
    *(".txt", ".md", ".rst", ".json", ".jsonl", ".xml", ".csv", ".tsv", ".yaml", ".yml", ".html", ".pdf", ".log"),
    *(".py", ".ipynb", ".ini", ".db"),
}
UNREAD = "files left out: their format is not read"
MAX_WAYS = 100  # paths by which a folder may be reached: links that branch could lead through it a million times
DEEPEST = 100  # levels of folders within folders
SHOWN = 5  # files that a finding lists

Severity = Literal["error", "warning", "note"]


@dataclass
class Finding:
    """A remark about files: their number, and the names or messages of the first few; or about the whole folder."""

    severity: Severity
    what: str
    files: list[str] = field(default_factory=list)
    count: int = 0

    def __str__(self) -> str:
        first = f" (first: {self.files[0]})" if self.files else ""
        return f"{self.count} {self.what}{first}" if self.count else self.what


class Findings:
    """Remarks gathered while a folder is read.

    Args:
        strict: raise the first error instead of gathering errors.
        answered: suffixes of files that are read otherwise, and thus not left out.
    """

    def __init__(self, strict: bool = True, answered: frozenset[str] = frozenset()) -> None:
        self.strict, self.answered = strict, answered
        self._found: dict[tuple[Severity, str], Finding] = {}

    def error(self, what: str, message: str) -> None:
        """Note a mistake on which training would fail; the caller leaves the file out.

        Args:
            what: the kind of mistake, in the plural.
            message: the mistake in this file.

        Raises:
            UserError: the findings are strict; its text is `message`.
        """
        if self.strict:
            raise UserError(message)
        self.add("error", what, message)

    def add(self, severity: Severity, what: str, file: str | None = None) -> None:
        """Count one more file of a kind; without a file, note a remark about the whole."""
        finding = self._found.setdefault((severity, what), Finding(severity, what))
        if file is not None:
            finding.count += 1
            if len(finding.files) < SHOWN and file not in finding.files:
                finding.files.append(file)

    def of(self, *severities: Severity) -> list[Finding]:
        """Return the findings of these severities, in the order of their first appearance."""
        return [finding for finding in self._found.values() if finding.severity in severities]


class Folder:
    """A folder that is read on first use. Hidden files (.name) are ignored.

    Args:
        path: of the folder.
        name: its path relative to the root folder; empty for the root.
        ancestors: the real paths of the folders around it and its own, to stop at links into themselves.
        ways: how often each real path was read.
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
        """Return the path, relative to the root folder, of something in this folder."""
        return f"{self.name}/{name}" if self.name else name

    def child(self, *names: str) -> "Folder | None":
        """Return the first subfolder with one of these names; a name in lower case matches any case."""
        found = (folder for name in names for own, folder in self.folders.items() if name in (own, own.lower()))
        return next(found, None)

    def own(self, suffixes: Collection[str] = SUFFIXES) -> list[str]:
        """Return the names of the files directly in it with one of these suffixes."""
        return [name for name in self.files if os.path.splitext(name)[1].lower() in suffixes]

    def below(self, suffixes: Collection[str] = SUFFIXES, inside: str = "") -> Iterator[str]:
        """Yield the paths, relative to this folder, of the files at any depth with one of these suffixes."""
        for name in self.own(suffixes):
            yield inside + name
        for name, folder in self.folders.items():
            yield from folder.below(suffixes, f"{inside}{name}/")

    def unread(self) -> Iterator[str]:
        """Yield the paths, relative to this folder, of the files at any depth of unexpected formats."""
        for name in self.files:
            if os.path.splitext(name)[1].lower() not in EXPECTED:
                yield name
        for name, folder in self.folders.items():
            for inside in folder.unread():
                yield f"{name}/{inside}"

    def find(self, name: str) -> str | None:
        """Return the stored path of the file `name`, which may lead through folders; None if there is none.

        Names match if their composed Unicode forms (NFC) are equal: some systems store them decomposed.
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
    """Return a name in Unicode's composed form, in which names are compared."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def note_unread(folders: Iterable[Folder], findings: Findings) -> None:
    """Warn of files in folders of images whose format is not read."""
    for folder in folders:
        for name in folder.unread():
            findings.add("warning", UNREAD, folder.within(name))


def find_images(paths: Iterable[str], findings: Findings | None = None) -> list[Path]:
    """Return the image files among `paths`, and those in the folders among them, sorted per folder.

    `findings` gets files that were left out.

    Raises:
        FileNotFoundError: a path does not exist, or a folder holds no images.
        UserError: a folder cannot be read.
    """
    found: list[Path] = []
    for name in paths:
        path = Path(name)
        if not name:
            raise FileNotFoundError("an empty path was given for an image")
        if path.is_dir():
            folder = Folder(name)
            inside = sorted(path / inner for inner in folder.below())
            if not inside:
                raise FileNotFoundError(f"folder {path} holds no images ({what_is_read(folder)})")
            found += inside
            if findings is not None:
                for left in folder.unread():
                    if os.path.splitext(left)[1].lower() in findings.answered:
                        continue
                    findings.add("warning", UNREAD, str(path / left))
        elif path.is_file():
            found.append(path)
        else:
            raise FileNotFoundError(f"there is no image or folder {path}")
    return found


def what_is_read(folder: Folder) -> str:
    """Return the suffixes of images, and the commonest unexpected ones in a folder."""
    ends = Counter(os.path.splitext(name)[1].lower() or "no ending" for name in folder.unread())
    others = ", ".join(f"{count:,} with {end}" for end, count in ends.most_common(3))
    return " ".join(sorted(SUFFIXES)) + (f", but {others}" if others else "")
