"""A run's curves: its numbers over the epochs, from metrics.csv, and a verdict on under- and overfitting."""

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from engine.errors import RunError
from engine.inputs.reading import MIB, read_text

Curve = list[tuple[float, float]]  # (epochs trained, value), in that order

MIN_EPOCHS = 4  # fewer show no trend
RISE = 0.03  # relative change of the loss; validation varies less than this from epoch to epoch
FALL = 0.01
CLOSE = 0.1
MAX_DRAWN = 1e100  # larger numbers cannot be drawn
LARGEST = 512 * MIB  # of a metrics.csv, in bytes
# The training curves to compare with validation's loss; the first available one counts. With a discriminator,
# train/loss sums over two networks, but val/loss is the reconstruction loss alone.
TRAIN_LOSS = ("train/reconstruction", "train/loss")


def read_curves(path: Path) -> dict[str, Curve]:
    """Return each column of a run's metrics.csv over the epochs, finite numbers only; {} without a file.

    Values logged within an epoch are placed by their step. Broken lines, as after a power cut, are skipped.

    Raises:
        RunError: the file cannot be read as a table.
    """
    try:
        lines = io.StringIO(read_text(path, LARGEST, errors="replace").replace("\0", ""), newline="")
        rows = [row for row in csv.DictReader(lines) if _is_count(row.get("step"))]
    except FileNotFoundError:
        return {}
    except (OSError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunError(f"{path} cannot be read ({reason}); delete it to go on without it") from error
    rows.sort(key=lambda row: int(row["step"]))
    ends = [row for row in rows if any(row.get(name) for name in TRAIN_LOSS) and _is_count(row.get("epoch"))]
    if not ends:  # no epoch is complete
        return {}
    steps, epochs = [0], [0]
    for row in ends:
        if int(row["epoch"]) >= epochs[-1] and int(row["step"]) >= steps[-1]:
            steps.append(int(row["step"]) + 1)
            epochs.append(int(row["epoch"]) + 1)
    # An incomplete epoch is assumed to have as many steps as the one before.
    steps.append(2 * steps[-1] - steps[-2])
    epochs.append(2 * epochs[-1] - epochs[-2])
    curves: dict[str, Curve] = {}
    for row in rows:
        where = float(np.interp(int(row["step"]) + 1, steps, epochs))
        for name, text in row.items():
            value = _number(text)
            if name not in (None, "epoch", "step") and value is not None:
                curves.setdefault(name, []).append((where, value))
    return curves


def _is_count(text: object) -> bool:
    return re.fullmatch("[0-9]{1,15}", str(text)) is not None


def _number(text: object) -> float | None:
    try:
        value = float(str(text))
    except ValueError:
        return None
    return value if abs(value) < MAX_DRAWN else None


def train_loss(curves: Mapping[str, Curve]) -> Curve:
    """Return the training curve to compare with validation's loss."""
    return next((curves[name] for name in TRAIN_LOSS if name in curves), [])


def verdict(train: Curve, val: Curve) -> str:
    """Return one sentence on under- or overfitting, from the curves of training and validation loss.

    Each epoch's last validation counts. 'End' is the mean over the last fifth of the epochs, at least two. The first
    rule that applies wins, with validation loss v and training loss t:

    1. fewer than MIN_EPOCHS epochs have both: too few to tell;
    2. v's minimum is two or more epochs back, v's end is more than RISE above it, and t's end is below t at that epoch:
       overfitting since that epoch;
    3. v's minimum is in the last epoch, and more than FALL below v a quarter of all epochs earlier: still improving;
    4. v's end is at most CLOSE above t's end: close;
    5. otherwise: a gap, but v does not rise.
    """
    pairs = _pairs(train, val)
    if not val:
        return "Nothing was validated, so over- or underfitting cannot be judged."
    if len(pairs) < MIN_EPOCHS:
        many = f"{len(pairs)} epoch{'s' * (len(pairs) != 1)}"
        return f"Too few epochs to judge over- or underfitting: {many} with both losses, {MIN_EPOCHS} needed."
    epochs, t, v = ([pair[i] for pair in pairs] for i in range(3))
    end = max(2, len(pairs) // 5)
    t_end, v_end = _mean(t[-end:]), _mean(v[-end:])
    lowest = min(range(len(v)), key=v.__getitem__)
    since = len(v) - 1 - lowest
    if since >= 2 and v_end - v[lowest] > RISE * abs(v[lowest]) and t_end < t[lowest]:
        return (
            f"Overfitting: validation loss has turned upward since epoch {epochs[lowest]} ({v[lowest]:.4g}, now "
            f"{v_end:.4g}) while training loss fell ({t[lowest]:.4g}, now {t_end:.4g}); more epochs will not help, "
            "more images, augmentation or regularisation may."
        )
    before = max(1, len(v) // 4)
    if since == 0 and v[-1 - before] - v[-1] > FALL * abs(v[-1 - before]):
        return (
            f"Still improving at the end: validation loss fell from {v[-1 - before]:.4g} to {v[-1]:.4g} from epoch "
            f"{epochs[-1 - before]} to {epochs[-1]}; more epochs may help."
        )
    if v_end - t_end <= CLOSE * abs(v_end):
        return (
            f"Training and validation are close at the end (loss {t_end:.4g} and {v_end:.4g}) and no longer move much: "
            "no overfitting; a larger network or another learning rate may still gain."
        )
    return (
        f"Validation loss has settled at {v_end:.4g}, above training's {t_end:.4g}, without turning upward: the model "
        "fits the training images better than others; more images, augmentation or regularisation may help."
    )


def _pairs(train: Curve, val: Curve) -> list[tuple[int, float, float]]:
    """Return (epoch, training loss, validation loss) of every epoch with both."""
    last = {math.ceil(round(where, 6)): value for where, value in val}
    return [(round(where), value, last[round(where)]) for where, value in train if round(where) in last]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
