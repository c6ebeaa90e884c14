"""The page that compares runs: their curves in one plot, their numbers, and the settings in which they differ."""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.contract.parts import parts
from engine.contract.task import Task
from engine.record.classes import amount
from engine.record.summary_file import read_summary
from engine.report import plots
from engine.report.curves import Curve, read_curves, train_loss
from engine.report.page import embedded, read_settings, render, shown
from engine.training.progress import is_of_a_class, is_share

TEMPLATE = "comparison.html"
HIGHER = {"acc", "f1", "precision", "recall", "miou", "map", "map_50", "psnr", "ssim"}
# Values of summary.json that are compared: heading, and whether higher or lower is better.
COSTS = {
    "fit": ("fit, s", "lower"),
    "images_per_second": ("images/s", "higher"),
    "peak_memory_mb": ("memory, MiB", "lower"),
    "parameters": ("parameters", "lower"),
    "epochs": ("epochs", None),
}


def comparison(folders: Sequence[Path], with_mean: bool = False) -> str:
    """Return a page that compares the runs in these folders; `with_mean` adds the mean of their numbers."""
    names = _names(folders)
    curves = {name: read_curves(folder / "metrics.csv") for name, folder in zip(names, folders, strict=True)}
    summaries = {name: read_summary(folder) for name, folder in zip(names, folders, strict=True)}
    settings = {name: read_settings(folder) for name, folder in zip(names, folders, strict=True)}
    return render(
        TEMPLATE,
        names=names,
        pictures=_pictures(curves, summaries),
        columns=[*names, "mean ± sd"] if with_mean else names,
        table=_table(summaries, with_mean),
        settings=_differing(settings),
    )


def _names(folders: Sequence[Path]) -> list[str]:
    """Return each run's name: its folder's name, or its path if two folders have the same name."""
    names = [folder.absolute().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _pictures(curves: Mapping[str, Mapping[str, Curve]], summaries: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return pictures of the loss and of every run's best metric, by name."""
    best = [str((summary.get("best") or {}).get("metric")) for summary in summaries.values()]
    found = {}
    for name in dict.fromkeys(["val/loss", *best]):
        tail = name.rpartition("/")[2]
        lines = {
            run: (own.get(name, []), train_loss(own) if tail == "loss" else own.get(f"train/{tail}", []))
            for run, own in curves.items()
        }
        content = plots.compared(lines, tail)
        if content is not None:
            found[name] = embedded(content)
    return found


def _table(summaries: Mapping[str, Mapping[str, Any]], with_mean: bool) -> dict[str, list[tuple[str, bool]]]:
    """Return one row per compared value: its text in each run, and whether it is the best."""
    metrics = dict.fromkeys(name for summary in summaries.values() for name in summary.get("metrics") or {})
    order = [n for split in ("test/", "val/") for n in metrics if n.startswith(split) and not is_of_a_class(n)]
    lines: list[tuple[str, str, str | None]] = [(name, name, _better(name)) for name in order]
    lines += [(key, heading, better) for key, (heading, better) in COSTS.items()]
    table = {}
    for key, heading, better in lines:
        values = [_value(summary, key) for summary in summaries.values()]
        known = [value for value in values if value is not None]
        best = None
        # A metric means something else in another task.
        tasks = {summary.get("task") for summary in summaries.values() if _value(summary, key) is not None}
        if better is not None and known and min(known) < max(known) and (key in COSTS or len(tasks) == 1):
            best = max(known) if better == "higher" else min(known)
        texts = [shown(key, value) if key in metrics else amount(value, int(key == "fit")) for value in values]
        table[heading] = [(text, best is not None and v == best) for text, v in zip(texts, values, strict=True)]
        if with_mean:
            table[heading].append((mean_and_deviation(key, values), False))
    return table


def mean_and_deviation(name: str, values: Sequence[float | None]) -> str:
    """Return the mean and the standard deviation (of a sample) of a metric's values as text; None is no value."""
    known = [value for value in values if value is not None]
    if not known:
        return "no value"
    mean, deviation = statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else math.nan
    of = "" if len(known) == len(values) else f" ({len(known)} of {len(values)} have a value)"
    if is_share(name):
        return f"{100 * mean:.2f} ± {100 * deviation:.2f} %{of}"
    return f"{mean:.4g} ± {deviation:.2g}{of}"


def _value(summary: Mapping[str, Any], key: str) -> float | None:
    for where in (summary.get("metrics") or {}, summary.get("seconds") or {}, summary):
        if key in where:
            return where[key]
    return None


def _better(metric: str) -> str | None:
    """Return whether a higher or a lower value of a metric is better, or None if unknown."""
    tail = metric.rpartition("/")[2]
    own = {task.best_metric.rpartition("/")[2]: task.best_is_highest for task in parts().tasks.values()}
    if tail in HIGHER or own.get(tail) is True:
        return "higher"
    return "lower" if tail in Task.lower_is_better or own.get(tail) is False else None


def _differing(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return one row per option that differs between runs: its value in each run, '-' for none."""
    keys = dict.fromkeys(key for own in settings.values() for key in own)
    values = {key: [str(own[key]) if key in own else "-" for own in settings.values()] for key in keys}
    return {key: texts for key, texts in values.items() if len(set(texts)) > 1}
