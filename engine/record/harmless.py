"""A tracker is a convenience: its first failure is printed once, and training goes on without it."""

import functools
from collections.abc import Callable
from typing import Any, Protocol

from engine.terminal import complain


class Fallible(Protocol):
    """A tracker that notes its failure."""

    label: str
    failure: str | None

    def close(self) -> None:
        """Let go of the failed run."""


def harmless(method: Callable[..., Any]) -> Callable[..., Any]:
    """Make a tracker's method unable to raise: its first failure is printed, and the tracker is not used again."""

    @functools.wraps(method)
    def call(self: Fallible, *args: Any, **kwargs: Any) -> Any:
        if self.failure is not None:
            return None
        try:
            return method(self, *args, **kwargs)
        except Exception as error:
            give_up(self, error)
            return None

    return call


def give_up(tracker: Fallible, error: Exception) -> None:
    """Print a tracker's first failure, and close the tracker."""
    if tracker.failure is None:
        tracker.failure = cause(error)
        warn(f"{tracker.label} failed ({tracker.failure}); training goes on without it")
        tracker.close()


def warn(text: str) -> None:
    """Print a warning."""
    complain(f"warning: {text}")  # not `warnings.warn`, which raises if warnings are errors


def cause(error: BaseException) -> str:
    """Return the message of an error's first cause as one short line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:200] or type(error).__name__
