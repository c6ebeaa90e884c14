"""labelme's JSON: one file per image, of the same name, with the shapes drawn on it.

Points are in pixels from 0, of the upright image. Source: github.com/wkentaro/labelme; X-AnyLabeling writes the same.
"""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.contract.errors import UserError
from engine.contract.registry import brief
from engine.files.box_lists import Box
from engine.files.listing import Layout, by_stem, side_by_side, split_folders
from engine.files.named_boxes import Annotation, around, named_layout, read_each
from engine.inputs.folder import Findings, Folder, note_unread
from engine.inputs.image_files import SUFFIXES
from engine.inputs.reading import MIB, read_text, regular

JSON = {".json"}
IMAGES, ANNOTATIONS = ("images", "image", "imgs", "jpegimages"), ("annotations", "labels", "json", "jsons", "labelme")
LARGEST = 256 * MIB  # a JSON file, which may contain its image
HEAD = 2**16  # bytes of a file by which labelme's are recognised
LOOKED_AT = 5  # files of a folder
WITH_AREA = ("polygon", "rectangle", "rotation", "mask")  # shapes whose points have a bounding box
NO_CLASS = ("__ignore__", "_background_")  # labels


def is_labelme(path: Path) -> bool:
    """Whether a JSON file begins like labelme's."""
    try:
        with open(regular(path), "rb") as file:
            head = file.read(HEAD)
    except OSError:
        return False
    return b'"shapes"' in head and any(key in head for key in (b'"imagePath"', b'"flags"', b'"version"'))


def labelme_layout(root: Folder, findings: Findings) -> Layout | None:
    """Return the layout of a folder, or None if it has no files of labelme.

    Raises:
        UserError: it has, with a mistake.
    """
    images = root.child(*IMAGES) or root
    candidates: tuple[dict[str, tuple[Folder, Folder]], ...] = (
        side_by_side(root, IMAGES, ANNOTATIONS, findings),
        {split: (folder, folder) for split, folder in split_folders(root).items()},
        {"": (images, images)},
        {"": (root, root)},
    )
    for found in candidates:
        if any(_has_labelme(*folders) for folders in found.values()):
            annotated = {split or "train": _annotated(root, *folders, findings) for split, folders in found.items()}
            return named_layout("labelme", root, annotated, findings)
    return None


def _has_labelme(images: Folder, annotations: Folder) -> bool:
    names = annotations.own(JSON) if images is annotations else annotations.below(JSON)
    return any(is_labelme(Path(annotations.path) / name) for name in itertools.islice(names, LOOKED_AT))


def _annotated(
    root: Folder, images: Folder, annotations: Folder, findings: Findings
) -> Iterator[tuple[str, str, Annotation]]:
    ones, twos = by_stem(images, SUFFIXES, findings), by_stem(annotations, JSON, findings)
    note_unread([images] if images is annotations else [images, annotations], findings)
    for stem, name in ones.items():
        if stem not in twos:
            findings.add(
                "warning", "images left out: they have no JSON file of their name, so they are unlabelled", name
            )
    for stem, name in twos.items():
        if stem not in ones and is_labelme(Path(root.path) / name):
            message = f"{name} has no image: expected {images.within(stem)}.*; add it, or take the annotation out"
            findings.error("files without their image", message)
    pairs = [(name, twos[stem]) for stem, name in ones.items() if stem in twos]
    for (image, name), (size, objects, left_out) in read_each(pairs, lambda pair: read_shapes(root, pair[1]), findings):
        for kind in left_out:
            findings.add("warning", f"shapes left out: {kind} has no area", name)
        yield image, name, (size, objects)


def read_shapes(root: Folder, name: str) -> tuple[tuple[int, int], list[tuple[str, Box]], list[str]]:
    """Return the image's (H, W), 0 if not stated, the label and box of each object, and the kinds of shapes left out.

    Shapes of one label and one group are one object.

    Raises:
        UserError: the file is not such an annotation; names it.
    """
    path = Path(root.path) / name
    try:
        content = json.loads(read_text(path, LARGEST))
        if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
            raise UserError("it has no list of shapes")
        height, width = (_side(content, f"image{side}") for side in ("Height", "Width"))
        groups: dict[tuple[str, str], list[tuple[float, float]]] = {}
        left_out = []
        for place, shape in enumerate(content["shapes"], start=1):
            label, kind, corners = _shape(shape, f"shape {place}")
            if corners and label not in NO_CLASS:
                group = shape.get("group_id")
                key = f"group {brief(group)}" if group is not None else f"shape {place}"
                groups.setdefault((label, key), []).extend(corners)
            elif not corners:
                left_out.append(kind)
    except (OSError, ValueError, RecursionError, OverflowError) as error:
        raise UserError(f"{path} cannot be read as labelme's JSON ({' '.join(str(error).split())})") from error
    return (height, width), [(label, around(points)) for (label, _), points in groups.items()], left_out


def _shape(shape: Any, where: str) -> tuple[str, str, list[tuple[float, float]]]:
    """Return a shape's label, its kind, and points with the same bounding box; [] for a kind without area."""
    label = shape.get("label") if isinstance(shape, dict) else None
    if not isinstance(label, str) or not label.strip():
        raise UserError(f"{where} has no label: {brief(shape)}")
    kind = shape.get("shape_type") or "polygon"
    if kind not in (*WITH_AREA, "circle"):
        return label.strip(), brief(kind), []
    points = shape.get("points")
    if not isinstance(points, list) or len(points) < 2 or not all(_is_point(point) for point in points):
        raise UserError(f"{where}, {brief(label)}, has the points {brief(points)}: expected [[x, y], [x, y], ...]")
    corners = [(float(x), float(y)) for x, y in points]
    if kind == "circle":  # points are its centre and a point on it
        (x, y), (x1, y1) = corners[:2]
        radius = ((x1 - x) ** 2 + (y1 - y) ** 2) ** 0.5
        corners = [(x - radius, y - radius), (x + radius, y + radius)]
    return label.strip(), kind, corners


def _is_point(point: Any) -> bool:
    return isinstance(point, list) and len(point) == 2 and all(type(number) in (int, float) for number in point)


def _side(content: dict[str, Any], key: str) -> int:
    value = content.get(key)
    if value is None:
        return 0
    if type(value) not in (int, float) or not float(value).is_integer():
        raise UserError(f"{key} is {brief(value)}, not a whole number of pixels")
    return int(value)
