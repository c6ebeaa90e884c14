"""The layout of annotations that give each object's class by name, such as Pascal VOC's and labelme's.

(H, W) is a size in pixels.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from engine.contract.errors import UserError
from engine.contract.registry import brief, closest
from engine.files.box_files import BoxLayout
from engine.files.box_lists import Box, BoxList
from engine.files.class_file import CLASSES, read_class_file
from engine.files.listing import Layout, natural_order
from engine.inputs.folder import Findings, Folder

READERS = 8  # threads: reading waits for the disk
UNREADABLE = "annotations that cannot be read"

Annotation = tuple[tuple[int, int], list[tuple[str, Box]]]  # (H, W), 0 if not stated, and (name, box) of each object
Item = TypeVar("Item")
Content = TypeVar("Content")


def read_each(
    items: Sequence[Item], read: Callable[[Item], Content], findings: Findings, what: str = UNREADABLE
) -> Iterator[tuple[Item, Content]]:
    """Yield each item with its content, as `read` returns it; an unreadable item becomes a finding, `what`."""

    def content(item: Item) -> Content | ValueError:
        try:
            return read(item)
        except ValueError as error:
            return error

    with ThreadPoolExecutor(READERS) as pool:
        for item, found in zip(items, pool.map(content, items), strict=True):
            if isinstance(found, ValueError):
                findings.error(what, str(found))
            else:
                yield item, found


def named_layout(
    kind: str, root: Folder, annotated: Mapping[str, Iterable[tuple[str, str, Annotation]]], findings: Findings
) -> Layout:
    """Return a layout for task detect.

    Args:
        kind: the layout's name, such as 'Pascal VOC'.
        root: the whole folder; a classes.txt in it names the classes in their order.
        annotated: by split, the names of image and annotation, and the annotation's content.
        findings: collects mistakes in annotations.

    Raises:
        UserError: there are no objects; or, if the findings are strict, an object's class is not in classes.txt.
    """
    known = read_class_file(Path(root.path) / CLASSES)[0] if CLASSES in root.files else ()
    seen: dict[str, int] = {}  # classes in the order of appearance
    gathered = {}
    for split, annotations in annotated.items():
        gathered[split] = boxes = BoxList(findings)
        for image, name, (size, objects) in annotations:
            for own in {own for own, _ in objects} if known else ():
                if own not in known:
                    message = f"{name} has an object {own!r}, which is not in {CLASSES}{closest(own, known)}"
                    findings.error(f"annotations with classes that are not in {CLASSES}", message)
                    objects = [(other, box) for other, box in objects if other != own]
            boxes.add(image, size, [(seen.setdefault(own, len(seen)), box) for own, box in objects])
    class_names = known or tuple(natural_order(seen))
    if not class_names:
        raise UserError(f"no annotation in {root.path} has an object: there is nothing to learn")
    number = {name: k for k, name in enumerate(class_names)}
    order = [number[name] for name in seen]
    listings = {split: boxes.listing(Path(root.path), order) for split, boxes in gathered.items()}
    return BoxLayout(kind, "detect", class_names, listings, findings)


def side_of(text: str | None, side: str) -> int:
    """Return an image's width or height, 0 if it is not stated.

    Raises:
        UserError: it is not a finite number.
    """
    number = number_of(text, side) if text and text.strip() else 0.0
    if not math.isfinite(number):
        raise UserError(f"{side} is {brief(text)}, which no image has")
    return int(number)


def number_of(text: str, what: str) -> float:
    """Return a text's number.

    Raises:
        UserError: it is not a number; the message begins with `what`.
    """
    try:
        return float(text)
    except ValueError as error:
        raise UserError(f"{what} is {brief(text)}, not a number") from error


def around(points: Sequence[tuple[float, float]]) -> Box:
    """Return the bounding box of points (x, y); all NaN if a coordinate is."""
    xs, ys = zip(*points, strict=True)
    if any(map(math.isnan, (*xs, *ys))):
        return (math.nan,) * 4
    return min(xs), min(ys), max(xs), max(ys)
