"""A table of images and the labels of each, any number of them: a CSV file in one of three forms.

- `file` and `label`, with a row per label of an image;
- `file` and `label`, with a list such as cat;dog in a cell, which may be empty;
- `file` and a column per class, of 0 and 1.

C channels, K classes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from engine.contract.errors import UserError
from engine.contract.registry import brief
from engine.data.samples import SampleSource
from engine.files.csv_table import LABEL, NO_LABEL, Row, Table, by_split, chosen_columns, find_table, leave_out
from engine.files.csv_table import rows_by_image as read_rows
from engine.files.listing import Examined, Layout, Listing, natural_order
from engine.files.number_files import NumberFiles
from engine.files.packed import Strings
from engine.inputs.folder import Findings, Folder, nfc
from engine.inputs.image_files import Look

TASK = "multilabel"
BETWEEN = re.compile(r"[;|,]")  # labels of a list
FLAGS = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}


def flag_table(
    root: Folder,
    findings: Findings,
    labels: str | None = None,
    task: str | None = None,
    classes: Sequence[str] | None = None,
) -> Layout | None:
    """Return the layout of a folder, or None if it has no table of several labels per image.

    Without the task, a table is one if it has no column of labels, but two or more others, with nothing but 0 and 1.

    Args:
        root: the folder.
        findings: gets rows that are wrong.
        labels: the table's path, as for `find_table`.
        task: the requested task, if any.
        classes: the columns of 0 and 1 to predict, if not all.

    Raises:
        UserError: there is no such table, or it is wrong.
    """
    table = find_table(root, labels)
    if table is None:
        return None
    place, columns = table.column(LABEL), table.others()
    if task != TASK and not (table.file is not None and place is None and _holds_flags(table, columns)):
        return None
    if table.file is None or not columns:
        expected = f"one of {', '.join(LABEL)}, or a column of 0 and 1 for each class"
        leave_out(table, expected, bool(labels) or task == TASK, findings)
        return None
    if place is not None:
        found = read_rows(table, root, findings, [place], _listed, _shown, lambda one, other: one | other)
        names = natural_order({label for row in found.values() if row.split == "train" for label in row.target})
    else:
        columns = chosen_columns(table, columns, classes)
        names = [table.header[k] for k in columns]

        def flagged(cells: Sequence[str], where: str, file: str) -> frozenset[str]:
            for name, cell in zip(names, cells, strict=True):
                if cell.lower() not in FLAGS:
                    raise UserError(f"{where} has {brief(cell)} for {name}: expected 0 or 1")
            return frozenset(name for name, cell in zip(names, cells, strict=True) if FLAGS[cell.lower()])

        found = read_rows(table, root, findings, columns, flagged, _shown)
    listings = _listings(root, table.path, names, found, findings)
    return FlagLayout("table of several labels per image", TASK, tuple(names), listings, findings)


def _holds_flags(table: Table, columns: Sequence[int]) -> bool:
    is_whole = bool(table.rows) and all(len(cells) == len(table.header) for _, cells in table.rows)
    return is_whole and len(columns) > 1 and all(cells[k].lower() in FLAGS for _, cells in table.rows for k in columns)


def _listed(cells: Sequence[str], where: str, file: str) -> frozenset[str]:
    labels = (nfc(label.strip()) for label in BETWEEN.split(cells[0]))
    return frozenset(label for label in labels if label.lower() not in NO_LABEL)


def _shown(target: frozenset[str]) -> str:
    return ", ".join(sorted(target)) or "nothing"


def _listings(
    root: Folder, path: Path, names: Sequence[str], found: Mapping[str, Row], findings: Findings
) -> dict[str, Listing]:
    """Return the listings by split, with a row of 0 and 1 per image."""
    if not names or not any(row.target for row in found.values() if row.split == "train"):
        raise UserError(f"{path} has no label for training")
    number = {name: k for k, name in enumerate(names)}
    listings = {}
    for split, rows in by_split(found):
        for row in rows.values():
            for label in sorted(row.target - number.keys()):
                message = f"{path}, line {row.line} has the label {brief(label)}, which no training image has"
                findings.error(f"classes of {split} that are not in train", message)
        flags = torch.tensor([[name in row.target for name in names] for row in rows.values()], dtype=torch.float32)
        listings[split] = Listing(Path(root.path), Strings(rows), numbers=flags)
    return listings


class FlagLayout(Layout):
    """Images, and which classes each shows."""

    def source(self, listing: Listing, channels: int, target_channels: int | None = None) -> SampleSource:
        return FlagFiles(listing, channels)

    def examine(self, listing: Listing, index: int, look: Look, one: Examined) -> None:
        assert listing.numbers is not None
        one.amounts = listing.numbers[index].long().numpy()

    def renumbered(self, classes: Sequence[str], path: str) -> "Layout":
        places = torch.tensor(self.order_in(classes, path))
        splits = {}
        for split, listing in self.splits.items():
            assert listing.numbers is not None
            flags = torch.zeros(len(listing), len(classes)).index_copy(1, places, listing.numbers)
            splits[split] = replace(listing, numbers=flags)
        return replace(self, class_names=tuple(classes), splits=splits)


class FlagFiles(NumberFiles):
    """Images, and 0 or 1 for each class, (K,) float32."""

    def classes(self, index: int) -> Tensor:
        """Return the classes that an image shows."""
        return self.numbers[index].nonzero()[:, 0]
