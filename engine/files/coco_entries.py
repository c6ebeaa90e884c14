"""An entry of a COCO file, read field by field: user files hold numbers as text, gaps, and wrong types."""

import re
from typing import Any

from engine.contract.errors import UserError
from engine.contract.registry import brief
from engine.files.box_lists import Box

WHOLE = re.compile(r"0|-?[1-9][0-9]{0,30}")  # a number as text


class Entry:
    """An entry of one of a file's lists. An error names the entry and the field.

    Args:
        kind: the list's name in the singular, such as 'image'.
        place: its position in the list, from 0.
        content: the entry itself.

    Raises:
        UserError: the entry is not a mapping; from every method, the field is missing or has a wrong value.
    """

    def __init__(self, kind: str, place: int, content: Any) -> None:
        self.kind, self.place, self.content = kind, place, content
        if not isinstance(content, dict):
            raise UserError(f"{self} is {brief(content)}, not a mapping")

    def __str__(self) -> str:
        own = self.content.get("id") if isinstance(self.content, dict) else None
        return f"{self.kind} {brief(own)}" if isinstance(own, (int, str)) else f"{self.kind} at place {self.place}"

    def id(self, field: str) -> int | str:
        """Return an id: a text, or a whole number, which may be given as '7' or 7.0."""
        value = self._value(field)
        if isinstance(value, str) and value.strip():
            text = value.strip()
            return int(text) if WHOLE.fullmatch(text) else text
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise UserError(f"{self} has the {field} {brief(value)}: expected a whole number, or a text")

    def text(self, field: str) -> str:
        value = self._value(field)
        text = str(value).strip() if isinstance(value, (str, int, float)) and not isinstance(value, bool) else ""
        if not text or any("\ud800" <= letter <= "\udbff" for letter in text):
            raise UserError(f"{self} has the {field} {brief(value)}: expected a text")
        return text

    def side(self, field: str) -> int:
        """Return a width or height, 0 if there is none."""
        value = self.content.get(field)
        number = 0.0 if value in (None, "") else self._number(field, value)
        if not number.is_integer():
            raise UserError(f"{self} has the {field} {brief(value)}: expected a whole number of pixels")
        return int(number)

    def box(self) -> tuple[Box, bool]:
        """Return the box, xyxy, and whether it was taken from the polygon for lack of a bbox."""
        given = self.content.get("bbox")
        corners = None if isinstance(given, list) and any(given) else _around(self.content.get("segmentation"))
        if corners is not None:
            return corners, True
        if not given:
            raise UserError(f"{self} has no bbox, and no polygon to take it from: expected x y width height")
        if not isinstance(given, list) or len(given) != 4:
            raise UserError(f"{self} has the bbox {brief(given)}: expected x y width height")
        left, top, width, height = (self._number("bbox", number) for number in given)
        return (left, top, left + width, top + height), False

    def _value(self, field: str) -> Any:
        if field not in self.content:
            raise UserError(f"{self} has no {field}")
        return self.content[field]

    def _number(self, field: str, value: Any) -> float:
        try:
            if isinstance(value, (int, float, str)) and not isinstance(value, bool):
                return float(value)
        except OverflowError:
            return float("inf")
        except ValueError:
            pass
        raise UserError(f"{self} has the {field} {brief(self.content[field])}: {brief(value)} is not a number")


def _around(outline: Any) -> Box | None:
    """Return the box around polygons, lists of alternating x and y; None for anything else, such as run lengths."""
    polygons = outline if isinstance(outline, list) else []
    polygons = polygons if all(isinstance(polygon, list) for polygon in polygons) else [polygons]
    numbers = [n for polygon in polygons if len(polygon) % 2 == 0 and len(polygon) >= 6 for n in polygon]
    if not numbers or not all(isinstance(n, (int, float)) and abs(n) < 2**31 for n in numbers):
        return None
    return min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])
