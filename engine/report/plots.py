"""Draws a report's figures with matplotlib, without its global state; each is the bytes of a PNG.

Importing this takes half a second, so import it only when training is over.
"""

import contextlib
import io
import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from engine.contract.registry import printable
from engine.inputs.drawing import COLOURS
from engine.report.curves import Curve, train_loss
from engine.training.progress import is_share

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # its messages about its cache do not concern a run

BLUE, ORANGE = "#0072b2", "#d55e00"  # two of COLOURS that are visible on white
LINES = {"training": (BLUE, "-"), "validation": (ORANGE, "--")}
CYCLE = [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in [COLOURS[i] for i in (4, 5, 2, 6, 0, 1)]]
DASHES = ["-", "--", ":", "-."]
SIZE = (6.0, 3.7)  # inches
DOTS = 130  # per inch
STYLE: Any = {
    "font.size": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "lines.linewidth": 2,
    "text.parse_math": False,  # a $ in a name is no formula
    "legend.frameon": False,
}
FEW, MANY = 20, 60  # largest numbers of classes for which a matrix shows numbers, and names
UNITS = {"psnr": "dB"}
LONGEST = 18  # letters of a name in a matrix


def losses(curves: Mapping[str, Curve], best_epoch: int | None) -> bytes | None:
    """Draw the losses of training and validation over the epochs."""
    return _curves({"training": train_loss(curves), "validation": curves.get("val/loss", [])}, "loss", best_epoch)


def metric(curves: Mapping[str, Curve], name: str, best_epoch: int | None) -> bytes | None:
    """Draw the metric `name`, which selects the best weights, and its training curve if it was measured."""
    tail = name.rpartition("/")[2]
    lines = {"training": curves.get(f"train/{tail}", []), "validation": curves.get(name, [])}
    return _curves(lines, tail, best_epoch)


def learning_rate(curves: Mapping[str, Curve]) -> bytes | None:
    """Draw the learning rate over the epochs."""
    rates = curves.get("lr", [])
    return _curves({"learning rate": rates}, "learning rate", None) if len(rates) > 1 else None


def compared(lines: Mapping[str, tuple[Curve, Curve]], name: str) -> bytes | None:
    """Draw a metric of several runs: each run's validation curve, and as a thin line its training curve, if any."""
    drawn = [run for run, (val, _) in lines.items() if val]
    if not drawn:
        return None
    columns = 2 if len(drawn) > 3 and max(map(len, drawn)) <= 20 else 1
    with _style():
        figure, axes = _axes(legend_lines=math.ceil(len(drawn) / columns))
        for i, (run, (val, train)) in enumerate(lines.items()):
            colour, dashes = CYCLE[i % len(CYCLE)], DASHES[i // len(CYCLE) % len(DASHES)]
            # With a space in front, because the legend omits names that start with _.
            thick = {"label": f" {_short(run, 50)}", "marker": _marker(val)}
            for curve, style in ((train, {"linewidth": 1, "alpha": 0.6}), (val, thick)):
                if val and curve:
                    x, y = zip(*curve, strict=True)
                    axes.plot(x, np.array(y) * _scale(name), dashes, color=colour, **style)
        _label(axes, name)
        axes.legend(
            loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, fontsize=10
        )  # above the plot, to hide no curve
        return _png(figure)


def _curves(lines: Mapping[str, Curve], name: str, best_epoch: int | None) -> bytes | None:
    """Draw curves over the epochs, with the epoch of the best weights; None if there is nothing to draw."""
    lines = {label: curve for label, curve in lines.items() if curve}
    if not lines:
        return None
    with _style():
        figure, axes = _axes()
        for label, curve in lines.items():
            x, y = zip(*curve, strict=True)
            colour, dashes = LINES.get(label, (BLUE, "-"))
            axes.plot(x, np.array(y) * _scale(name), dashes, color=colour, marker=_marker(curve), label=label)
        if best_epoch is not None:
            axes.axvline(best_epoch, color="#777777", linewidth=1, linestyle=":", label="best weights")
        _label(axes, name)
        if len(lines) > 1 or best_epoch is not None:
            axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, fontsize=11, columnspacing=1.2)
        return _png(figure)


def confusion(counts: np.ndarray, names: Sequence[str]) -> bytes:
    """Draw a confusion matrix of counts (K, K), rows true and columns predicted, coloured by share of row."""
    number = len(names)
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    side = min(11.0, max(4.2, 1.6 + 0.52 * number if number <= FEW else 1.6 + 0.2 * number))
    with _style():
        figure = Figure((side + 0.8, side), dpi=DOTS, layout="constrained")
        axes = figure.add_subplot()
        axes.grid(False)
        # Most shares off the diagonal are small, so a power scale spreads their colours.
        image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
        bar = figure.colorbar(image, ax=axes, shrink=0.8, ticks=[0, 0.01, 0.1, 0.25, 0.5, 1])
        bar.ax.set_yticklabels(["0 %", "1 %", "10 %", "25 %", "50 %", "100 %"])
        bar.set_label("share of the true class")
        if number <= MANY:
            short = [_short(name, LONGEST) for name in names]
            turned = 0 if max(map(len, short)) <= 2 else 90
            size = 12 if number <= FEW else 8
            axes.set_xticks(range(number), short, rotation=turned, fontsize=size)
            axes.set_yticks(range(number), short, fontsize=size)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        if number <= FEW:
            for i, j in zip(*np.nonzero(counts), strict=True):
                dark = shares[i, j] > 0.3
                text = _brief(int(counts[i, j]))
                axes.text(j, i, text, ha="center", va="center", fontsize=9, color="white" if dark else "black")
        return _png(figure)


def _brief(count: int) -> str:
    if count < 100_000:
        return str(count)
    return f"{count / 1000:.0f}k" if count < 10_000_000 else f"{count / 1_000_000:.0f}M"


def _axes(legend_lines: int = 1) -> tuple[Figure, Any]:
    figure = Figure((SIZE[0], SIZE[1] + 0.2 * (legend_lines - 1)), dpi=DOTS, layout="constrained")
    return figure, figure.add_subplot()


def _scale(name: str) -> int:
    return 100 if is_share(name) else 1


def _label(axes: Any, name: str) -> None:
    axes.set_xlabel("epoch")
    unit = "%" if is_share(name) else UNITS.get(name.rpartition("/")[2])
    axes.set_ylabel(f"{name} in {unit}" if unit else name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.03)


def _marker(curve: Curve) -> str:
    return "o" if len(curve) <= 20 else ""


def _short(name: str, longest: int) -> str:
    name = printable(name)
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


@contextlib.contextmanager
def _style() -> Iterator[None]:
    """Use our settings in this context, without matplotlib's warnings, as about letters missing in its font."""
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
