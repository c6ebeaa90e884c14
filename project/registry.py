"""Look things up by name, and build them from plain values, with errors that say what would have been right."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def closest(name: str, known: Iterable[str]) -> str:
    """Return '; did you mean X?' for the nearest of the known names, or an empty string when none is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def look_up(kind: str, name: str, known: Mapping[str, T]) -> T:
    """Return `known[name]`.

    Raises:
        ValueError: no such name; lists the valid ones and the closest.
    """
    if name not in known:
        raise ValueError(f"unknown {kind} {name!r}{closest(name, known)}; choose from: {', '.join(known)}")
    return known[name]


def options_of(builder: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the named parameters of a class or function, in order, without `self`."""
    return dict(inspect.signature(builder).parameters)


def check_options(
    what: str, options: Mapping[str, Any], builder: Callable[..., Any], internal: Iterable[str] = ()
) -> None:
    """Refuse options that `builder` does not take, or that are `internal`: its callers' to give.

    Raises:
        ValueError: names the first unknown option and the closest valid one.
    """
    valid = [option for option in options_of(builder) if option not in internal]
    for option in options:
        if option not in valid:
            raise ValueError(f"{what} has no option {option!r}{closest(option, valid)}; it takes: {', '.join(valid)}")
