"""A report's pictures, plots/*.png, and their numbers, plots/figures.json."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.contract.data import DataModule
from engine.contract.mistakes import caption
from engine.contract.task import Task
from engine.inputs.drawing import as_shown, captioned, contact_sheet, to_image
from engine.record.classes import counted
from engine.report import plots
from engine.report.collect import Measurement
from engine.report.curves import Curve
from engine.report.training_samples import training_samples
from engine.resume.checkpoint_file import write_text

FOLDER = "plots"
NUMBERS = "figures.json"
MAX_CONFUSED = 10  # pairs of classes in the table
COLUMNS = 4  # of the picture of mistakes
# All possible pictures, in the page's order.
NAMES = ("loss", "metric", "learning_rate", "samples", "confusion", "mistakes", "training")


def write_curves(folder: Path, curves: Mapping[str, Curve], best: Mapping[str, Any]) -> None:
    """Draw a run's curves; `folder` is the run's, `best` that entry of summary.json.

    Raises:
        OSError: the folder cannot be written.
    """
    (folder / FOLDER).mkdir(exist_ok=True)
    metric = str(best.get("metric") or "val/loss")
    drawn = {
        "loss": plots.losses(curves, best.get("epoch")),
        "metric": plots.metric(curves, metric, best.get("epoch")) if metric != "val/loss" else None,
        "learning_rate": plots.learning_rate(curves),
    }
    for name, content in drawn.items():
        if content is not None:
            (folder / FOLDER / f"{name}.png").write_bytes(content)


def write_measurement(folder: Path, measurement: Measurement) -> None:
    """Draw a measurement, replacing the pictures of an earlier one; `folder` is the run's.

    Raises:
        OSError: the folder cannot be written.
    """
    place = folder / FOLDER
    place.mkdir(exist_ok=True)
    for name in ("samples", "confusion", "mistakes"):
        (place / f"{name}.png").unlink(missing_ok=True)
    names = measurement.class_names
    if measurement.samples:
        to_image(contact_sheet(measurement.samples, measurement.legend)).save(place / "samples.png")
    if measurement.confusion is not None:
        (place / "confusion.png").write_bytes(plots.confusion(measurement.confusion.numpy(), names))
    if measurement.mistakes:
        images = as_shown(torch.stack([mistake.image for mistake in measurement.mistakes]))
        texts = [caption(m.true, m.predicted, m.probability) for m in measurement.mistakes]
        to_image(contact_sheet({"": captioned(images, texts)}, columns=COLUMNS)).save(place / "mistakes.png")
    numbers = {
        "measured": measurement.measured,
        "classes": [] if measurement.confusion is None else counted(measurement.confusion, names),
        "confused": [] if measurement.confusion is None else _confused(measurement.confusion, names),
        "mistakes": [
            {"true": m.true, "predicted": m.predicted, "probability": round(m.probability, 6)}
            for m in measurement.mistakes
        ],
    }
    write_text(json.dumps(numbers, ensure_ascii=False, indent=1) + "\n", place / NUMBERS)


def write_training(folder: Path, data: DataModule, task: Task) -> None:
    """Draw training samples; `folder` is the run's.

    Raises:
        OSError: the folder cannot be written, or a file of the data cannot be read.
    """
    (folder / FOLDER).mkdir(exist_ok=True)
    to_image(training_samples(data, task)).save(folder / FOLDER / "training.png")


def pictures(folder: Path) -> dict[str, Path]:
    """Return the paths of a run's existing pictures, by name."""
    paths = {name: folder / FOLDER / f"{name}.png" for name in NAMES}
    return {name: path for name, path in paths.items() if path.is_file()}


def _confused(counts: Tensor, names: list[str]) -> list[dict[str, Any]]:
    wrong = counts.clone().fill_diagonal_(0)
    amounts, places = wrong.flatten().topk(min(MAX_CONFUSED, wrong.numel()))
    return [
        {"true": names[place // len(names)], "predicted": names[place % len(names)], "count": amount}
        for amount, place in zip(amounts.tolist(), places.tolist(), strict=True)
        if amount
    ]
