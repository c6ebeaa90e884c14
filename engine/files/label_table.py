"""A table of images and their classes: a CSV file with a header that names the columns `file` and `label`."""

import csv
import os
from pathlib import Path

import torch

from engine.contract.errors import UserError
from engine.contract.registry import brief
from engine.files.class_folders import ClassLayout
from engine.files.listing import SPLITS, Layout, Listing, natural_order
from engine.files.packed import Strings
from engine.inputs.folder import Findings, Folder, nfc, note_unread
from engine.inputs.reading import MIB, read_text

TABLES = ("labels.csv", "labels.tsv")  # looked for in a folder
COLUMNS = {  # names of each column, the first that is there counts
    "file": ("file", "filename", "file_name", "image", "path", "image_path", "id", "image_id"),
    "label": ("label", "class", "target"),
    "split": ("split", "subset"),
}
DELIMITERS = ",;\t"
LARGEST = 256 * MIB  # a table
NO_LABEL = ("", "nan")  # what programs write for nothing


def table_layout(root: Folder, findings: Findings, labels: str | None = None) -> Layout | None:
    """Return the layout of a folder, or None if it has no table of labels.

    Args:
        root: the folder.
        findings: gets rows that are wrong.
        labels: the table's path, from the current folder or from `root`; by default one of TABLES in `root`.

    Raises:
        UserError: there is no such table, or it is wrong.
    """
    name = labels or next((name for name in TABLES if name in root.files), None)
    if name is None:
        return None
    path = Path(name).expanduser() if labels else Path(root.path) / name
    path = path if path.is_file() else Path(root.path) / name
    if not path.is_file():
        raise UserError(f"there is no table of labels {name}, neither here nor in {root.path}")
    header, rows = _read(path)
    columns = {key: next((own for own in names if own in header), None) for key, names in COLUMNS.items()}
    if columns["file"] is None or columns["label"] is None:
        message = (
            f"{path}, line 1 has the columns {brief(', '.join(header), 200)}: expected one of "
            f"{', '.join(COLUMNS['file'])}, and one of {', '.join(COLUMNS['label'])}"
        )
        if labels:
            raise UserError(message)
        findings.add("warning", f"table left out: {message}")
        return None
    if others := [own for own in header if own and own not in columns.values()]:
        findings.add("note", f"columns of {path.name} left out: {brief(', '.join(others), 200)}")

    found: dict[str, tuple[str, str, int]] = {}  # split, label and line by the image's name
    images = _Images(root)
    for line, cells in rows:
        where = f"{path}, line {line}"
        try:
            row = _row(header, cells, columns, where)
            image = images.find(row["file"], row["split"], where)
        except ValueError as error:
            findings.error("rows that cannot be used", str(error))
            continue
        if image not in found:
            found[image] = (row["split"], row["label"], line)
        elif found[image][:2] == (row["split"], row["label"]):
            findings.add("warning", "rows that name an image again: it counts once", f"line {line}: {image}")
        else:
            other = f"{found[image][1]} of {found[image][0]}"
            message = f"{where} has {image} as {row['label']} of {row['split']}, and line {found[image][2]} as {other}"
            findings.error("rows that contradict an earlier one", f"{message}: keep one of them")
    for image in images.names:
        if image not in found:
            findings.add("warning", f"images left out: {path.name} does not list them", image)
    note_unread([root], findings)
    return ClassLayout("table of labels", "classify", *_listings(root, path, found, findings), findings)


def _listings(
    root: Folder, path: Path, found: dict[str, tuple[str, str, int]], findings: Findings
) -> tuple[tuple[str, ...], dict[str, Listing]]:
    """Return the classes, which are those of the training images, and the listings by split."""
    names = tuple(natural_order({label for split, label, _ in found.values() if split == "train"}))
    if len(names) < 2:
        which = f"the label {names[0]} alone" if names else "no label"
        raise UserError(f"{path} has {which} for training: there must be two classes or more")
    number = {name: k for k, name in enumerate(names)}
    listings = {}
    for split in ("train", "val", "test"):
        own = [(image, label) for image, (of, label, _) in found.items() if of == split]
        for image, label in own:
            if label not in number:
                message = f"{path}, line {found[image][2]} has the label {brief(label)}, which no training image has"
                findings.error(f"classes of {split} that are not in train", message)
        own = [(image, label) for image, label in own if label in number]
        if own:
            labels = torch.tensor([number[label] for _, label in own], dtype=torch.int64)
            listings[split] = Listing(Path(root.path), Strings(image for image, _ in own), labels=labels)
    return names, listings


def _read(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the names of a table's columns in lower case, and each row's line and cells."""
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
        raise UserError(f"{path} is empty: expected a line with the columns file and label, and a line per image")
    header = [name.lower() for name in rows[0][1]]
    if twice := [name for name in header if name and header.count(name) > 1]:
        raise UserError(f"{path}, line 1 has the column {brief(twice[0])} twice")
    return header, rows[1:]


def _row(header: list[str], cells: list[str], columns: dict[str, str | None], where: str) -> dict[str, str]:
    """Return the file, label and split of a row."""
    if len(cells) != len(header):
        raise UserError(f"{where} has {len(cells)} cells: expected {len(header)}, as many as columns")
    by_name = dict(zip(header, cells, strict=True))
    row = {key: by_name[name] if name else "" for key, name in columns.items()}
    if not row["file"]:
        raise UserError(f"{where} names no file")
    if row["label"].lower() in NO_LABEL:
        raise UserError(f"{where} has no label for {brief(row['file'])}: write it, or remove the line")
    split = SPLITS.get(row["split"].lower()) if row["split"] else "train"
    if split is None:
        raise UserError(f"{where} has the {columns['split']} {brief(row['split'])}: expected train, val or test")
    return {**row, "label": nfc(row["label"]), "split": split}


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
