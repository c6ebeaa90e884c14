"""A report's table of classes: the counts and metrics of each. K classes."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from engine.training.progress import is_of_a_class, is_share


def amount(value: float | None, digits: int = 0) -> str:
    """Format a number with commas; '-' for None."""
    return "-" if value is None else f"{value:,.{digits}f}"


def share(value: float | None) -> str:
    """Format a share in 0..1 as a percentage; '-' for None."""
    return "-" if value is None else f"{100 * value:.1f} %"


def counted(counts: Tensor, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return each class's count, recall and precision, from a confusion matrix (K, K) with true classes in rows."""
    true, predicted = counts.sum(dim=1).tolist(), counts.sum(dim=0).tolist()
    rows = zip(names, counts.diagonal().tolist(), true, predicted, strict=True)
    return [
        {"class": name, "count": t, "recall": right / t if t else None, "precision": right / p if p else None}
        for name, right, t, p in rows
    ]


def by_class(metrics: Mapping[str, float | None], rows_counted: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a table with one row per class: its counts, and its metrics test/MEASURE/CLASS.

    Returns:
        `columns`, and `rows` with one text per column.
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
        rows.append([name, *cells, *(_shown(measure, measured[measure].get(name)) for measure in measured)])
    return {"columns": ["class", *columns], "rows": rows}


def _shown(measure: str, value: float | None) -> str:
    return share(value) if value is None or is_share(measure) else f"{value:.4g}"
