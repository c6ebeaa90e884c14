"""CVAT's XML, "CVAT for images 1.1": one file that lists images with the shapes drawn on them.

Coordinates are in pixels from 0. Source: docs.cvat.ai, "CVAT annotation format".
"""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree

from engine.contract.errors import UserError
from engine.contract.registry import brief
from engine.files.box_lists import Box
from engine.files.coco import Places, split_of
from engine.files.listing import SPLITS, Layout
from engine.files.named_boxes import UNREADABLE, Annotation, around, named_layout, number_of, side_of
from engine.inputs.folder import Findings, Folder
from engine.inputs.reading import MIB, read_bytes, regular

XML = {".xml"}
LARGEST = 256 * MIB  # a file
HEAD = 2**16  # bytes of a file by which CVAT's are recognised
LOOKED_AT = 5  # files of a folder
NEEDED = {  # attributes of the shapes that have a bounding box
    "box": ("xtl", "ytl", "xbr", "ybr"),
    "ellipse": ("cx", "cy", "rx", "ry"),
    "mask": ("left", "top", "width", "height"),
    "polygon": ("points",),
}

Image = tuple[
    Mapping[str, str], list[tuple[str, Mapping[str, str]]]
]  # its attributes; tag and attributes of its shapes


def cvat_layout(root: Folder, findings: Findings) -> Layout | None:
    """Return the layout of a folder, or None if it has no file of CVAT.

    Raises:
        UserError: it has, with a mistake.
    """
    folders = [root, root.child("annotations"), *(f for name, f in root.folders.items() if name.lower() in SPLITS)]
    files = [
        (folder.within(name), folder)
        for folder in folders
        if folder is not None and any(is_cvat(Path(folder.path) / name) for name in folder.own(XML)[:LOOKED_AT])
        for name in folder.own(XML)
    ]
    if not files:
        return None
    found: dict[str, dict[str, tuple[str, Annotation]]] = {}
    for name, folder in files:
        for split, image, annotation in _annotated(root, folder, name, findings):
            own = found.setdefault(split, {})
            if image in own:
                findings.add("note", "images listed more than once: their boxes are merged", image)
                annotation = (annotation[0], own[image][1][1] + annotation[1])
            own[image] = (name, annotation)
    annotated: dict[str, list[tuple[str, str, Annotation]]] = {
        split: [(image, name, annotation) for image, (name, annotation) in found[split].items()]
        for split in ("train", "val", "test")
        if split in found
    }
    return named_layout("CVAT", root, annotated, findings)


def is_cvat(path: Path) -> bool:
    """Whether an XML file has CVAT's root element."""
    try:
        with open(regular(path), "rb") as file:
            element = re.search(r"<([A-Za-z_]\w*)", file.read(HEAD).decode("utf-8-sig", "replace"))
    except OSError:
        return False
    return element is not None and element[1] == "annotations"


def _annotated(root: Folder, folder: Folder, name: str, findings: Findings) -> Iterator[tuple[str, str, Annotation]]:
    """Yield the split, the image's name and the annotation of each image that a file lists."""
    path = Path(root.path) / name
    try:
        images = read_images(path)
    except ValueError as error:
        findings.error(UNREADABLE, str(error))
        return
    places: dict[str, Places] = {}
    for place, (attributes, shapes) in enumerate(images, start=1):
        own, subset = attributes.get("name", "").strip(), attributes.get("subset", "")
        split = SPLITS.get(subset.lower()) or split_of(name, folder) or "train"
        try:
            if not own:
                raise UserError(f"image {place} has no name")
            size = (side_of(attributes.get("height"), "height"), side_of(attributes.get("width"), "width"))
            boxes = [_shape(kind, numbers, i) for i, (kind, numbers) in enumerate(shapes, 1) if kind in NEEDED]
        except ValueError as error:
            findings.error(UNREADABLE, f"{path}, image {brief(own)}: {error}")
            continue
        for kind in (kind for kind, _ in shapes if kind not in NEEDED):
            findings.add("warning", f"shapes left out: a {brief(kind)} is not read as a box", own)
        if subset not in places:
            places[subset] = Places(root, folder, split, name)
        image = places[subset].locate(own, findings)
        if image is not None:
            yield split, image, (size, boxes)


def read_images(path: Path) -> list[Image]:
    """Return the images that a file lists, with their shapes.

    Only plain elements are read: a document type, which could define or include more, is refused.

    Raises:
        UserError: the file is not such an annotation; names it.
    """
    try:
        target = _Images()
        parser = ElementTree.XMLParser(target=target)
        parser.feed(read_bytes(path, LARGEST))
        parser.close()
        return target.images
    except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:
        raise UserError(f"{path} cannot be read as CVAT's XML ({error})") from error


class _Images:
    """Gathers each image and the elements directly within it while a file is parsed."""

    def __init__(self) -> None:
        self.images: list[Image] = []
        self.depth = 0  # within an image

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "track":
            raise UserError("it holds tracks of a video: export 'CVAT for images 1.1'")
        if self.depth or tag == "image":
            self.depth += 1
        if self.depth == 1:
            self.images.append((attributes, []))
        elif self.depth == 2:
            self.images[-1][1].append((tag, attributes))

    def end(self, tag: str) -> None:
        self.depth = max(0, self.depth - 1)

    def doctype(self, *_: str | None) -> None:
        raise UserError("it defines a document type")

    def close(self) -> None:
        pass


def _shape(kind: str, attributes: Mapping[str, str], place: int) -> tuple[str, Box]:
    """Return the label and the bounding box of a shape."""
    label = attributes.get("label", "").strip()
    if not label:
        raise UserError(f"{kind} at place {place} has no label")
    where = f"{kind} at place {place}, {brief(label)},"
    if lacking := [key for key in NEEDED[kind] if key not in attributes]:
        raise UserError(f"{where} has no {lacking[0]}")
    if kind == "polygon":
        return label, around(_points(attributes["points"], where))
    a, b, c, d = (number_of(attributes[key], f"{key} of {where}") for key in NEEDED[kind])
    turn = math.radians(number_of(attributes.get("rotation", "0"), f"rotation of {where}"))
    if kind == "mask":
        return label, (a, b, a + c, b + d)
    if kind == "ellipse":
        wide, high = (
            math.hypot(c * math.cos(turn), d * math.sin(turn)),
            math.hypot(c * math.sin(turn), d * math.cos(turn)),
        )
        return label, (a - wide, b - high, a + wide, b + high)
    if turn:  # clockwise, about its centre
        x, y = (a + c) / 2, (b + d) / 2
        wide = abs((c - a) / 2 * math.cos(turn)) + abs((d - b) / 2 * math.sin(turn))
        high = abs((c - a) / 2 * math.sin(turn)) + abs((d - b) / 2 * math.cos(turn))
        return label, (x - wide, y - high, x + wide, y + high)
    return label, (a, b, c, d)


def _points(text: str, where: str) -> list[tuple[float, float]]:
    points = [point.split(",") for point in text.split(";")]
    if not all(len(point) == 2 for point in points):
        raise UserError(f"{where} has the points {brief(text)}: expected X,Y;X,Y;...")
    return [(number_of(x, f"x of {where}"), number_of(y, f"y of {where}")) for x, y in points]
