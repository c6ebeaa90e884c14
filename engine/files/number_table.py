"""A table of images and numbers to predict: a CSV file with a column `file`, and a column for each number.

K numbers per image.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from engine.contract.errors import UserError
from engine.contract.registry import brief
from engine.data.samples import SampleSource
from engine.files.csv_table import LABEL, Row, by_split, chosen_columns, find_table, leave_out, rows_by_image
from engine.files.listing import Examined, Layout, Listing
from engine.files.number_files import NumberFiles
from engine.files.packed import Strings
from engine.inputs.folder import Findings, Folder
from engine.inputs.image_files import Look

TASK = "regress"
LARGEST_NUMBER = 3e38  # of single precision


def number_table(
    root: Folder,
    findings: Findings,
    labels: str | None = None,
    task: str | None = None,
    classes: Sequence[str] | None = None,
) -> Layout | None:
    """Return the layout of a folder, or None if it has no table of numbers.

    Without a task, a table is one of numbers if it has no column of labels and its first row holds numbers.

    Args:
        root: the folder.
        findings: gets rows that are wrong.
        labels: the table's path, as for `find_table`.
        task: the requested task, if any.
        classes: the columns to predict, if not all.

    Raises:
        UserError: there is no such table, or it is wrong.
    """
    table = find_table(root, labels)
    if table is None:
        return None
    columns = table.others()
    if task != TASK:
        cells = table.rows[0][1] if table.rows else []
        is_whole = table.file is not None and table.column(LABEL) is None and len(cells) == len(table.header)
        if not columns or not is_whole or not all(is_number(cells[k]) for k in columns):
            return None
    if table.file is None or not columns:
        leave_out(table, "a column for each number", bool(labels) or task == TASK, findings)
        return None
    columns = chosen_columns(table, columns, classes)

    def numbers(cells: Sequence[str], where: str, file: str) -> tuple[float, ...]:
        for k, cell in zip(columns, cells, strict=True):
            if not is_number(cell):
                raise UserError(
                    f"{where} has {brief(cell)} for {table.header[k]}: expected a number such as 1.5; correct it, "
                    "remove the line, or name the other columns with --data.classes"
                )
        return tuple(map(float, cells))

    found = rows_by_image(table, root, findings, columns, numbers, lambda target: ", ".join(f"{n:g}" for n in target))
    names = tuple(table.header[k] for k in columns)
    return NumberLayout("table of numbers", TASK, names, _listings(root, table.path, names, found, findings), findings)


def is_number(text: str) -> bool:
    """Whether a cell holds a finite number."""
    try:
        return abs(float(text)) < LARGEST_NUMBER
    except ValueError:
        return False


def _listings(
    root: Folder, path: Path, names: Sequence[str], found: Mapping[str, Row], findings: Findings
) -> dict[str, Listing]:
    """Return the listings by split; a number that is the same in all training rows is an error."""
    numbers = {split: torch.tensor([row.target for row in rows.values()]) for split, rows in by_split(found)}
    if "train" not in numbers:
        raise UserError(f"{path} has no row for training")
    for name, column in zip(names, numbers["train"].unbind(dim=1), strict=True):
        if (column == column[0]).all():
            same = f"{path} has {float(column[0]):g} for {name} in all rows for training"
            message = f"{same}: there is nothing to learn; name the other columns with --data.classes"
            findings.error("columns with one number only", message)
    return {split: Listing(Path(root.path), Strings(rows), numbers=numbers[split]) for split, rows in by_split(found)}


class NumberLayout(Layout):
    """Images and numbers of each."""

    def source(self, listing: Listing, channels: int, target_channels: int | None = None) -> SampleSource:
        return NumberFiles(listing, channels)

    def examine(self, listing: Listing, index: int, look: Look, one: Examined) -> None:
        """Numbers need no file to be read."""
