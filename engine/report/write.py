"""Writes a run's whole report: when the run ends, or again later from its folder."""

from pathlib import Path
from typing import Any

from engine.contract.data import DataModule
from engine.contract.task import Task
from engine.errors import one_line
from engine.record.classes import by_class
from engine.record.summary_file import read_figures, read_summary
from engine.record.tracking import Tracker
from engine.report import figures
from engine.report.collect import Measurement
from engine.report.curves import read_curves
from engine.report.page import write_page
from engine.terminal import say


def write_report(
    folder: Path,
    measurement: Measurement | None = None,
    tracker: Tracker | None = None,
    training: tuple[DataModule, Task] | None = None,
) -> Path:
    """Write plots/ and report.html of the run in `folder`, send them to a tracker, and return the page's path.

    Without a measurement, or the data and the task that was trained, plots/ keeps earlier pictures of these.

    Raises:
        OSError: the folder cannot be written.
    """
    curves, summary = read_curves(folder / "metrics.csv"), read_summary(folder)
    figures.write_curves(folder, curves, summary.get("best") or {})
    if measurement is not None:
        figures.write_measurement(folder, measurement)
    if training is not None and training[0].stores:
        try:
            figures.write_training(folder, *training)
        except Exception as error:
            say(f"note: no picture of training samples ({one_line(error) or type(error).__name__})")
    if tracker is not None:
        numbers = read_figures(folder)
        tables = {
            "classes": by_class(summary.get("metrics") or {}, numbers.get("classes", [])),
            "mistakes": _table(numbers.get("mistakes", [])),
        }
        tracker.log_report(figures.pictures(folder), {name: table for name, table in tables.items() if table["rows"]})
    return write_page(folder, curves)


def _table(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"columns": list(rows[0]) if rows else [], "rows": [list(row.values()) for row in rows]}
