"""The table of classes: what was counted of each, and what was measured of it. K classes."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from engine.training.progress import is_of_a_class


def amount(value: float | None, digits: int = 0) -> str:
    """Write a number with commas; '-' where there is none."""
    return "-" if value is None else f"{value:,.{digits}f}"


def share(value: float | None) -> str:
    """Write a share of 1 as a percentage; '-' where there is none."""
    return "-" if value is None else f"{100 * value:.1f} %"


def counted(counts: Tensor, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return count, recall and precision of each class, from counts (K, K) of true classes (rows) given which."""
    true, predicted = counts.sum(dim=1).tolist(), counts.sum(dim=0).tolist()
    rows = zip(names, counts.diagonal().tolist(), true, predicted, strict=True)
    return [
        {"class": name, "count": t, "recall": right / t if t else None, "precision": right / p if p else None}
        for name, right, t, p in rows
    ]


def by_class(metrics: Mapping[str, float | None], rows_counted: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a table of classes: what was counted of each, and what test/MEASURE/CLASS says.

    Returns:
        `columns`, and `rows` of as many texts.
    """
    measured: dict[str, dict[str, float | None]] = {}  # by measure, by class
    for name, value in metrics.items():
        if is_of_a_class(name):
            _, measure, own = name.split("/", 2)
            measured.setdefault(measure, {})[own] = value
    names = [row["class"] for row in rows_counted] or list(dict.fromkeys(n for own in measured.values() for n in own))
    if not names:
        return {"columns": [], "rows": []}
    counts = {row["class"]: row for row in rows_counted}
    columns = [*(("count", "recall", "precision") if rows_counted else ()), *measured]
    rows = []
    for name in names:
        row = counts.get(name, {})
        cells = [amount(row["count"]), share(row["recall"]), share(row["precision"])] if row else []
        rows.append([name, *cells, *(share(measured[measure].get(name)) for measure in measured)])
    return {"columns": ["class", *columns], "rows": rows}
