from collections.abc import Sequence
from typing import Literal

import pytest

from engine.contract.registry import as_type, check_options, closest, look_up


def test_closest_name_is_suggested_only_when_near():
    assert closest("acelerator", ["accelerator", "devices"]) == "; did you mean accelerator?"
    assert closest("zzz", ["accelerator", "devices"]) == ""


def test_unknown_name_lists_the_valid_ones():
    with pytest.raises(ValueError, match="unknown fruit 'aple'; did you mean apple\\?; choose from: apple, pear"):
        look_up("fruit", "aple", {"apple": 1, "pear": 2})


def test_unknown_option_is_refused():
    def build(width: int = 3) -> int:
        return width

    check_options("thing", {"width": 4}, build)
    with pytest.raises(ValueError, match="thing has no option 'widht'; did you mean width\\?"):
        check_options("thing", {"widht": 4}, build)


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (3, float, 3.0),
        ((1, 2), Sequence[int] | None, [1, 2]),
        ([1, 2], list[float], [1.0, 2.0]),
        (None, int | None, None),
        ("same", Literal["same", "valid"], "same"),
        (True, int | bool, True),
        ({"days": 1}, str | dict[str, int], {"days": 1}),
        ("3", int | str, "3"),
    ],
)
def test_a_plain_value_gets_the_type_annotated(value, annotation, expected):
    typed = as_type(value, annotation)
    assert typed == expected and type(typed) is type(expected) and repr(typed) == repr(expected)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (True, int), (False, float), (3.0, int), ("3", int), (3, str), (None, int), (2**63, int), (10**400, float),
        ("full", Literal["same", "valid"]), (1, Literal[True]), (3, Sequence[int]), ([1, "a"], list[int]),
        ({"days": "x"}, dict[str, int]), ({1}, list[int]),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_refused(value, annotation):
    with pytest.raises(ValueError, match="not "):
        as_type(value, annotation)


def test_sizes_of_layers_are_below_2_to_31():
    def build(width: int = 3) -> int:
        return width

    check_options("thing", {"width": 2**31 - 1}, build)
    with pytest.raises(ValueError, match="thing: width is int, got 2147483648"):
        check_options("thing", {"width": 2**31}, build)
