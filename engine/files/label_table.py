"""A table of images and their classes: a CSV file with a header that names the columns `file` and `label`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from engine.contract.errors import UserError
from engine.contract.registry import brief
from engine.files.class_folders import ClassLayout
from engine.files.csv_table import LABEL, NO_LABEL, Row, by_split, find_table, leave_out, rows_by_image
from engine.files.listing import Layout, Listing, natural_order
from engine.files.packed import Strings
from engine.inputs.folder import Findings, Folder, nfc


def table_layout(root: Folder, findings: Findings, labels: str | None = None) -> Layout | None:
    """Return the layout of a folder, or None if it has no table of labels.

    Args:
        root: the folder.
        findings: gets rows that are wrong.
        labels: the table's path, as for `find_table`.

    Raises:
        UserError: there is no such table, or it is wrong.
    """
    table = find_table(root, labels)
    if table is None:
        return None
    place = table.column(LABEL)
    if table.file is None or place is None:
        leave_out(table, f"one of {', '.join(LABEL)}", bool(labels), findings)
        return None
    found = rows_by_image(table, root, findings, [place], _label)
    return ClassLayout("table of labels", "classify", *_listings(root, table.path, found, findings), findings)


def _label(cells: Sequence[str], where: str, file: str) -> str:
    if cells[0].lower() in NO_LABEL:
        raise UserError(f"{where} has no label for {brief(file)}: write it, or remove the line")
    return nfc(cells[0])


def _listings(
    root: Folder, path: Path, found: Mapping[str, Row], findings: Findings
) -> tuple[tuple[str, ...], dict[str, Listing]]:
    """Return the classes, which are those of the training images, and the listings by split."""
    names = tuple(natural_order({row.target for row in found.values() if row.split == "train"}))
    if len(names) < 2:
        which = f"the label {names[0]} alone" if names else "no label"
        raise UserError(f"{path} has {which} for training: there must be two classes or more")
    number = {name: k for k, name in enumerate(names)}
    listings = {}
    for split, rows in by_split(found):
        for row in rows.values():
            if row.target not in number:
                message = f"{path}, line {row.line} has the label {brief(row.target)}, which no training image has"
                findings.error(f"classes of {split} that are not in train", message)
        numbers = {image: number[row.target] for image, row in rows.items() if row.target in number}
        if numbers:
            labels = torch.tensor([*numbers.values()], dtype=torch.int64)
            listings[split] = Listing(Path(root.path), Strings(numbers), labels=labels)
    return names, listings
