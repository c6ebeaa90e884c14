"""metrics.csv: a run's numbers, written whatever tracks it."""

import csv
import io
import itertools
import os
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from engine.resume.checkpoint_file import write_text
from engine.terminal import complain


class MetricsCsv(Logger):
    """A table with one line per step at which something was logged; other columns stay empty in that line.

    Args:
        path: the file; a resumed run continues an existing one.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.columns = ["epoch", "step"]
        self._row: dict[str, Any] = {}
        self._row_start = 0  # start of the current step's line in the file, in bytes

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self.path.parent)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the configuration is in config.yaml."""

    @rank_zero_only
    def rewind(self, step: int) -> None:
        """Drop the lines of `step` and later, which will be logged again, and continue with the line before.

        A damaged table never stops a run: it is moved aside, and its readable lines are kept.
        """
        if os.path.lexists(self.path):
            rows, damage = self._read()
            if damage:
                beside = _free_name(self.path.with_name(f"{self.path.name}.damaged"))
                os.replace(self.path, beside)
                kept = f"{len(rows)} readable lines are kept, the rest is in {beside}"
                complain(f"warning: {self.path} is damaged ({damage}): {kept}")
            rows = [row for row in rows if int(row["step"]) < step]
            current = rows.pop() if rows and int(rows[-1]["step"]) == step - 1 else {}
            self._rewrite(rows)
            self._row = {**{k: v for k, v in current.items() if v}, "step": step - 1} if current else {}
            self.save()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if self._row and self._row["step"] != step:
            self.save()
            self._row = {}
            self._row_start = self.path.stat().st_size
        self._row.update({"step": step, **metrics})

    @rank_zero_only
    def save(self) -> None:
        """Write the current step's line, replacing its earlier version."""
        if not self._row:
            return
        new = [column for column in self._row if column not in self.columns]
        if new or not self.path.exists():
            rows = self._read()[0] if self.path.exists() else []
            done = [row for row in rows if row["step"] != str(self._row["step"])]
            self.columns += new
            self._rewrite(done)
        with open(self.path, "r+", newline="", encoding="utf-8") as file:
            file.seek(self._row_start)
            file.truncate()
            csv.DictWriter(file, self.columns, restval="").writerow(self._row)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()

    def _read(self) -> tuple[list[dict[str, Any]], str]:
        """Return the readable lines, and a text on damage; a last line cut short by a kill is no damage."""
        if not self.path.is_file():
            return [], "it is not a file"
        with open(self.path, newline="", encoding="utf-8", errors="replace") as file:
            text = file.read()
        whole = text.rfind("\n") + 1
        text = text if "\0" in text[whole:] else text[:whole]
        lines = csv.reader(io.StringIO(text, newline=""))
        rows, unreadable, columns = [], 0, None
        while True:
            try:
                cells = next(lines)
            except StopIteration:
                break
            except csv.Error:  # an endless field
                unreadable += 1
                continue
            if columns is None:
                columns = cells
                if len(set(cells)) < len(cells) or not {"epoch", "step"} <= set(cells):
                    return [], "its first line does not name its columns"
                continue
            row = dict(zip(columns, cells, strict=False))
            step = row.get("step", "")
            plain = step.isascii() and step.isdigit() and len(step) < 19
            if plain and len(cells) == len(columns) and not any("\0" in cell for cell in cells):
                rows.append(row)
            else:
                unreadable += 1
        self.columns = columns or self.columns
        return rows, f"{unreadable} lines cannot be read" if unreadable else ""

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
        write_text(text.getvalue(), self.path)
        self._row_start = self.path.stat().st_size


def _free_name(path: Path) -> Path:
    return next(free for n in itertools.count(1) if not os.path.lexists(free := path.with_name(f"{path.name}-{n}")))
