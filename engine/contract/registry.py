"""Looks parts up by name and checks their options, with errors that name the closest valid choice."""

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
LONGEST_NAME = 200  # characters of a name that are compared with known names


def closest(name: str, known: Iterable[str]) -> str:
    """Return '; did you mean X?' for the closest known name, or '' if none is close."""
    near = difflib.get_close_matches(name[:LONGEST_NAME], list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def look_up(kind: str, name: str, known: Mapping[str, T]) -> T:
    """Return `known[name]`.

    Raises:
        UserError: unknown name; lists the valid names, and the closest one.
    """
    if not isinstance(name, str) or name not in known:
        near = closest(name, known) if isinstance(name, str) else ""
        raise UserError(f"unknown {kind} {brief(name)}{near}; choose from: {', '.join(known)}")
    return known[name]


def printable(text: object) -> str:
    """Return text, such as a file name, as one line without control characters."""
    return "".join(c if c.isprintable() else "?" for c in str(text))


def is_count(value: Any) -> bool:
    """Return whether a value from a file is a count: a whole number in [0, 2^62)."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62


def brief(value: object, limit: int = 80) -> str:
    """Return a value's repr, cut off after `limit` characters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, an endlessly nested list
        return f"a very long {type(value).__name__}"
    return text if len(text) <= limit else f"{text[:limit]}..."


def options_of(builder: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the named parameters of a class or function, in order, without `self`.

    A class with `**kwargs` is taken to pass them on to its parent, so it has the parent's parameters, too.
    """
    parameters = inspect.signature(builder).parameters
    own = {name: p for name, p in parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    if len(own) < len(parameters) and inspect.isclass(builder):
        return {**options_of(builder.__mro__[1]), **own}
    return own


def check_options(
    what: str, options: Mapping[str, Any], builder: Callable[..., Any], internal: Iterable[str] = ()
) -> None:
    """Refuse options that `builder` does not take, options in `internal` (set by callers), and values of a wrong type.

    Raises:
        UserError: names the first wrong option, and the closest valid option or the expected type.
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
    """Return a plain value converted to the annotated type, for example a whole number to a float.

    Args:
        value: the value.
        annotation: the type.
        limit: whole numbers must be below it in size.
        readings: yields other values that a text can mean; by default none.

    Raises:
        ValueError: the value has another type.
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
        return value  # an owner's type, which is not checked
    raise ValueError(f"not {annotation}: {brief(value)}")
