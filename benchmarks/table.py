"""The table: its rows, what they say of each other, and how they look."""

import statistics
from dataclasses import dataclass, field

HEADER = f"{'':<36}{'ours':>13}{'theirs':>13}{'ratio':>8}{'goal':>9}"


@dataclass
class Row:
    """One comparison: what was measured of us and of them, as often as it was repeated.

    `faster` says how a ratio reads: True where it is how many times faster we are, from rates or from seconds as `unit`
    says; False where it is our share of theirs.
    """

    what: str
    unit: str
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    faster: bool = False
    goal: float | None = None  # of the ratio, or of our median where there is nothing to compare with
    remark: str = ""

    @property
    def ratio(self) -> float | None:
        """Median by median, the way `faster` says."""
        if not self.ours or not self.theirs:
            return None
        ours, theirs = statistics.median(self.ours), statistics.median(self.theirs)
        return theirs / ours if self.faster and self.unit == "s" else ours / theirs

    @property
    def reached(self) -> bool | None:
        """Whether the goal was reached; None without one, or without anything to compare with."""
        if self.goal is None or (self.faster and self.ours and not self.theirs):
            return None
        if not self.ours:
            return False
        value = self.ratio if self.ratio is not None else statistics.median(self.ours)
        return value >= self.goal if self.faster else value <= self.goal


def line(row: Row) -> str:
    """Return a row as two lines of 79 columns, medians above and spread below, and its remark."""
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
    """Write three or four digits of it."""
    if value >= 10_000:
        return f"{value / 1000:.{0 if value >= 100_000 else 1}f}k"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _median(values: list[float]) -> str:
    return _number(statistics.median(values)) if values else "-"


def _spread(values: list[float]) -> str:
    return f"{_number(min(values))}-{_number(max(values))}" if len(values) > 1 else ""
