"""Look things up by name, and build them from plain values, with errors that say what would have been right."""

import contextlib
import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from engine.contract.errors import UserError

T = TypeVar("T")
LONGEST_NAME = 200  # characters that are compared with what there is


def closest(name: str, known: Iterable[str]) -> str:
    """Return '; did you mean X?' for the nearest of the known names, or an empty string when none is near."""
    near = difflib.get_close_matches(name[:LONGEST_NAME], list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def look_up(kind: str, name: str, known: Mapping[str, T]) -> T:
    """Return `known[name]`.

    Raises:
        UserError: no such name; lists the valid ones and the closest.
    """
    if not isinstance(name, str) or name not in known:
        near = closest(name, known) if isinstance(name, str) else ""
        raise UserError(f"unknown {kind} {brief(name)}{near}; choose from: {', '.join(known)}")
    return known[name]


def printable(text: object) -> str:
    """Return text, such as the name of a file, as one line without control characters."""
    return "".join(c if c.isprintable() else "?" for c in str(text))


def is_count(value: Any) -> bool:
    """Return whether a value read from a file is a count: a whole number from 0 to below 2^62."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62


def brief(value: object, limit: int = 80) -> str:
    """Return the representation of a value, cut off after `limit` characters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, a list in lists without end
        return f"a very long {type(value).__name__}"
    return text if len(text) <= limit else f"{text[:limit]}..."


def options_of(builder: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the named parameters of a class or function, in order, without `self`.

    A class that takes `**kwargs`, and hands them to its parent, has the parent's as well.
    """
    parameters = inspect.signature(builder).parameters
    own = {name: p for name, p in parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    if len(own) < len(parameters) and inspect.isclass(builder):
        return {**options_of(builder.__mro__[1]), **own}
    return own


def check_options(
    what: str, options: Mapping[str, Any], builder: Callable[..., Any], internal: Iterable[str] = ()
) -> None:
    """Refuse values of a wrong type, and options that `builder` does not take or are `internal` (its callers set them).

    Raises:
        UserError: names the first such option, and the closest valid one or the expected type.
    """
    valid = {name: parameter for name, parameter in options_of(builder).items() if name not in internal}
    for option, value in options.items():
        if option not in valid:
            raise UserError(
                f"{what} has no option {brief(option)}{closest(str(option), valid)}; it takes: {', '.join(valid)}"
            )
        try:
            as_type(value, valid[option].annotation, limit=2**31)
        except ValueError as error:
            annotation = valid[option].annotation
            choices = get_args(annotation) if get_origin(annotation) is Literal else ()
            kind = f"one of {', '.join(map(str, choices))}" if choices else inspect.formatannotation(annotation)
            kind = kind.replace("collections.abc.", "")
            raise UserError(f"{what}: {option} is {kind}, got {brief(value)}") from error


def as_type(
    value: Any,
    annotation: Any,
    limit: int = 2**63,
    readings: Callable[[str], Iterable[Any]] = lambda text: (),
) -> Any:
    """Return a plain value as the type annotated, as far as plain values go: a whole number as a float, for one.

    Args:
        value: the value.
        annotation: the type.
        limit: whole numbers are below it.
        readings: what else a text can mean; by default it is a text.

    Raises:
        ValueError: it is of another type.
    """
    again = functools.partial(as_type, limit=limit, readings=readings)
    kind, inner = get_origin(annotation), get_args(annotation)
    for meant in readings(value) if isinstance(value, str) else ():
        with contextlib.suppress(ValueError):
            return again(meant, annotation)
    if kind in (Union, UnionType):
        for one in inner:
            with contextlib.suppress(ValueError):
                return again(value, one)
    elif kind is Literal:
        if any(type(value) is type(one) and value == one for one in inner):
            return value
    elif isinstance(kind, type) and issubclass(kind, Mapping):
        if isinstance(value, Mapping):
            return {key: again(one, inner[1]) for key, one in value.items()}
    elif isinstance(kind, type) and issubclass(kind, Iterable):
        if isinstance(value, (list, tuple)):
            return [again(one, inner[0]) for one in value]
    elif annotation is int:
        if isinstance(value, Integral) and not isinstance(value, bool) and abs(int(value)) < limit:
            return int(value)
    elif annotation is float:
        if isinstance(value, Real) and not isinstance(value, bool):
            with contextlib.suppress(OverflowError):
                return float(value)
    elif annotation in (bool, str, NoneType, None):
        if isinstance(value, NoneType if annotation is None else annotation):
            return value
    else:
        return value  # a type of somebody's own
    raise ValueError(f"not {annotation}: {brief(value)}")
