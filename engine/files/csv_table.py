"""CSV tables with a row per image: a header that names the columns, one of them the image's file.

Each kind of target has a module of its own, which says in which columns it is.
"""

import csv
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from engine.contract.errors import UserError
from engine.contract.registry import brief, closest
from engine.files.listing import SPLITS
from engine.inputs.folder import Findings, Folder, nfc, note_unread
from engine.inputs.reading import MIB, read_text

TABLES = ("labels.csv", "labels.tsv")  # looked for in a folder
# Names of columns, in lower case; the first that is there counts.
FILE = ("file", "filename", "file_name", "image", "path", "image_path", "id", "image_id")
LABEL = ("label", "class", "target")
SPLIT = ("split", "subset")
DELIMITERS = ",;\t"
LARGEST = 256 * MIB  # a table
NO_LABEL = ("", "nan")  # what programs write for nothing
# The tables read so far by folder, as each kind of target looks at them in turn; they go with their folder.
_TABLES: "WeakKeyDictionary[Folder, dict[Path, Table]]" = WeakKeyDictionary()


@dataclass
class Table:
    """A table as stored in its file.

    Args:
        path: the file.
        header: the columns' names.
        rows: each row's line and cells.
    """

    path: Path
    header: list[str]
    rows: list[tuple[int, list[str]]]

    def column(self, names: Sequence[str]) -> int | None:
        """Return the place of the first of these columns that is there, in any case."""
        lower = [name.lower() for name in self.header]
        return next((lower.index(name) for name in names if name in lower), None)

    @property
    def file(self) -> int | None:
        return self.column(FILE)

    @property
    def split(self) -> int | None:
        return self.column(SPLIT)

    def others(self) -> list[int]:
        """Return the places of the other columns that have a name."""
        return [k for k, name in enumerate(self.header) if name and k not in (self.file, self.split)]


class Row(NamedTuple):
    """What a table says of an image."""

    split: str
    target: Any
    line: int


def find_table(root: Folder, labels: str | None) -> Table | None:
    """Return the table `labels`, a path from the current folder or from `root`; by default one of TABLES, or None.

    Raises:
        UserError: there is no such table, or it cannot be read.
    """
    name = labels or next((name for name in TABLES if name in root.files), None)
    if name is None:
        return None
    path = Path(name).expanduser() if labels else Path(root.path) / name
    path = path if path.is_file() else Path(root.path) / name
    if not path.is_file():
        raise UserError(f"there is no table of labels {name}, neither here nor in {root.path}")
    tables = _TABLES.setdefault(root, {})
    if path not in tables:
        tables[path] = _read(path)
    return tables[path]


def _read(path: Path) -> Table:
    try:
        text = read_text(path, LARGEST)
        delimiter = max(DELIMITERS, key=text.partition("\n")[0].count)
        reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(map(str.strip, row))]
    except UnicodeDecodeError as error:
        raise UserError(f"{path} cannot be read as text: save it as CSV in UTF-8 ({error})") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error})") from error
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num} cannot be read as CSV ({error})") from error
    if not rows:
        raise UserError(f"{path} is empty: expected a line with the columns, such as file and label, and one per image")
    header = [nfc(name) for name in rows[0][1]]
    lower = [name.lower() for name in header]
    if twice := [name for name in lower if name and lower.count(name) > 1]:
        raise UserError(f"{path}, line 1 has the column {brief(twice[0])} twice")
    return Table(path, header, rows[1:])


def leave_out(table: Table, expected: str, is_asked: bool, findings: Findings) -> None:
    """Note that a table lacks columns that it would need.

    Raises:
        UserError: the table was asked for.
    """
    has = brief(", ".join(table.header), 200)
    message = f"{table.path}, line 1 has the columns {has}: expected one of {', '.join(FILE)}, and {expected}"
    if is_asked:
        raise UserError(message)
    findings.add("warning", f"table left out: {message}")


def chosen_columns(table: Table, columns: Sequence[int], classes: Sequence[str] | None) -> list[int]:
    """Return the places of the columns of these names, in their order; all of `columns` without names.

    Raises:
        UserError: there is no column of a name.
    """
    names = {table.header[k]: k for k in columns}
    for name in classes or ():
        if nfc(name) not in names:
            has = brief(", ".join(names), 200)
            raise UserError(f"{table.path} has no column {brief(name)}{closest(name, names)}; it has {has}")
    return [names[nfc(name)] for name in classes or names]


def rows_by_image(
    table: Table,
    root: Folder,
    findings: Findings,
    columns: Sequence[int],
    read: Callable[[Sequence[str], str, str], Any],
    shown: Callable[[Any], str] = str,
    join: Callable[[Any, Any], Any] | None = None,
) -> dict[str, Row]:
    """Return what a table says of each image in a folder.

    Args:
        table: the table; it has a column of files.
        root: the folder.
        findings: gets rows that are wrong, and images and columns that are left out.
        columns: the columns of the target.
        read: returns a row's target; gets these cells, the row's place for messages, and the cell of the file.
        shown: returns a target as text.
        join: returns the target that two rows of an image make together; by default they must have the same.
    """
    used = {table.file, table.split, *columns}
    if others := [name for k, name in enumerate(table.header) if name and k not in used]:
        findings.add("note", f"columns of {table.path.name} left out: {brief(', '.join(others), 200)}")
    found: dict[str, Row] = {}
    images = _Images(root)
    for line, cells in table.rows:
        where = f"{table.path}, line {line}"
        try:
            file, split = _file_and_split(table, cells, where)
            row = Row(split, read([cells[k] for k in columns], where, file), line)
            image = images.find(file, split, where)
        except ValueError as error:
            findings.error("rows that cannot be used", str(error))
            continue
        other = found.setdefault(image, row)
        if other is row:
            continue
        joined = join(other.target, row.target) if join is not None else row.target
        if other.split != row.split or (join is None and joined != other.target):
            this, that = (f"{shown(one.target)} of {one.split}" for one in (row, other))
            message = f"{where} has {image} as {this}, and line {other.line} as {that}"
            findings.error("rows that contradict an earlier one", f"{message}: keep one of them")
        elif joined != other.target:
            found[image] = other._replace(target=joined)
        else:
            findings.add("warning", "rows that name an image again: it counts once", f"line {line}: {image}")
    for image in images.names:
        if image not in found:
            findings.add("warning", f"images left out: {table.path.name} does not list them", image)
    note_unread([root], findings)
    return found


def by_split(found: Mapping[str, Row]) -> Iterator[tuple[str, dict[str, Row]]]:
    """Yield each split that has rows, and these."""
    for split in ("train", "val", "test"):
        if own := {image: row for image, row in found.items() if row.split == split}:
            yield split, own


def _file_and_split(table: Table, cells: Sequence[str], where: str) -> tuple[str, str]:
    if len(cells) != len(table.header):
        raise UserError(f"{where} has {len(cells)} cells: expected {len(table.header)}, as many as columns")
    file, given = ("" if place is None else cells[place] for place in (table.file, table.split))
    if not file:
        raise UserError(f"{where} names no file")
    split = SPLITS.get(given.lower()) if given else "train"
    if split is None:
        raise UserError(f"{where} has the {table.header[table.split or 0]} {brief(given)}: expected train, val or test")
    return file, split


class _Images:
    """The images in a folder, to be found by name, with or without folders before it and its suffix."""

    def __init__(self, root: Folder) -> None:
        self.root = root
        self.names = list(root.below())
        self.by_last: dict[str, list[str]] = {}
        for name in self.names:
            last = _key(name)[-1]
            for key in {last, os.path.splitext(last)[0]}:
                self.by_last.setdefault(key, []).append(name)

    def find(self, file: str, split: str, where: str) -> str:
        """Return the image that a cell means: the one whose path ends like it.

        Of several, the one in a folder of the split is meant.

        Raises:
            UserError: there is none, or there are several.
        """
        wanted = _key(file)
        found = [name for name in self.by_last.get(wanted[-1], []) if ".." not in wanted and _ends(name, wanted)]
        found = [name for name in found if _key(name) == wanted] or found
        if len(found) > 1:
            own = [name for name in found if split in {SPLITS.get(part.lower()) for part in _key(name)[:-1]}]
            found = own or found
        if len(found) > 1:
            raise UserError(f"{where}: {brief(file)} may be {' or '.join(found[:2])}: write its folder as well")
        if not found:
            raise UserError(f"{where}: there is no image {brief(file)} in {self.root.path}: add it, or remove the line")
        return found[0]


def _key(name: str) -> list[str]:
    return [part for part in nfc(name.replace("\\", "/")).split("/") if part not in ("", ".")] or [""]


def _ends(name: str, wanted: list[str]) -> bool:
    """Whether an image's path ends like a cell, or a cell's, which may be from another machine, like the image's."""
    parts = _key(name)[:-1]
    folders = wanted[:-1]
    shorter = min(len(parts), len(folders))
    return shorter == 0 or parts[-shorter:] == folders[-shorter:]
