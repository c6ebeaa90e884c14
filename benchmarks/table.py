"""The benchmark's table: its rows, their ratios and goals, and their layout."""

import statistics
from dataclasses import dataclass, field

HEADER = f"{'':<36}{'ours':>13}{'theirs':>13}{'ratio':>8}{'goal':>9}"


@dataclass
class Row:
    """One comparison: our measurements and theirs, one per repeat.

    With `faster` the ratio is our speed relative to theirs, whether `unit` is a rate or 's' for seconds. Without it the
    ratio is our value divided by theirs.
    """

    what: str
    unit: str
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    faster: bool = False
    goal: float | None = None  # for the ratio, or for our median if there are no values of theirs
    remark: str = ""

    @property
    def ratio(self) -> float | None:
        """The ratio of the medians, as described by `faster`; None without both."""
        if not self.ours or not self.theirs:
            return None
        ours, theirs = statistics.median(self.ours), statistics.median(self.theirs)
        return theirs / ours if self.faster and self.unit == "s" else ours / theirs

    @property
    def reached(self) -> bool | None:
        """Whether the goal was reached; None without a goal, or if a speed has nothing to compare with."""
        if self.goal is None or (self.faster and self.ours and not self.theirs):
            return None
        if not self.ours:
            return False
        value = self.ratio if self.ratio is not None else statistics.median(self.ours)
        return value >= self.goal if self.faster else value <= self.goal


def line(row: Row) -> str:
    """Return a row as two lines of up to 79 columns, medians and then ranges, and a third for its remark."""
    ratio = "" if row.ratio is None else f"{_number(row.ratio)} x"
    unit = "x" if row.theirs else row.unit
    goal = "" if row.goal is None else f"{'>=' if row.faster else '<='} {row.goal:g} {unit}"
    verdict = "MISSED" if row.reached is False else ""
    lines = [
        f"{row.what:<36}{_median(row.ours):>13}{_median(row.theirs):>13}{ratio:>8}{goal:>9}",
        f"{f'  {row.unit}':<36}{_spread(row.ours):>13}{_spread(row.theirs):>13}{verdict:>17}",
        *([f"  {row.remark}"] if row.remark else []),
    ]
    return "\n".join(text.rstrip() for text in lines)


def _number(value: float) -> str:
    """Format a number with three or four digits."""
    if value >= 10_000:
        return f"{value / 1000:.{0 if value >= 100_000 else 1}f}k"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _median(values: list[float]) -> str:
    return _number(statistics.median(values)) if values else "-"


def _spread(values: list[float]) -> str:
    return f"{_number(min(values))}-{_number(max(values))}" if len(values) > 1 else ""
