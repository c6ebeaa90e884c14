"""Predicted boxes as annotation files of Pascal VOC, COCO and YOLO, which programs for labelling and training read.

Images belong into images/ beside the files. (H, W) is a size in pixels; boxes are x0, y0, x1, y1 in pixels.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import yaml

from engine.contract.registry import printable
from engine.errors import UsageError

SIDES = ("x0", "y0", "x1", "y1")


class Boxes(NamedTuple):
    """The objects in an image, as in a task's answer."""

    name: str  # the image's path below the folder of all images, with /
    size: tuple[int, int]  # (H, W)
    objects: Sequence[Mapping[str, Any]]

    @property
    def stem(self) -> str:
        return os.path.splitext(self.name)[0]


Files = dict[str, str]  # content by path


def coco(images: Sequence[Boxes], class_names: Sequence[str]) -> Files:
    """Return a JSON file of COCO, with a `score` in each annotation; categories count from 1."""
    number = {name: k for k, name in enumerate(class_names, start=1)}
    annotations: list[dict[str, Any]] = []
    for i, image in enumerate(images, start=1):
        for found in image.objects:
            x0, y0, x1, y1 = (found[side] for side in SIDES)
            box = [x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)]
            own = {"id": len(annotations) + 1, "image_id": i, "category_id": number[found["class"]], "bbox": box}
            annotations.append({**own, "area": round(box[2] * box[3], 4), "iscrowd": 0, "score": found["score"]})
    content = {
        "images": [
            {"id": i, "file_name": image.name, "height": image.size[0], "width": image.size[1]}
            for i, image in enumerate(images, start=1)
        ],
        "annotations": annotations,
        "categories": [{"id": k, "name": name} for name, k in number.items()],
    }
    return {"annotations/instances.json": json.dumps(content, indent=1) + "\n"}


def yolo(images: Sequence[Boxes], class_names: Sequence[str]) -> Files:
    """Return a text file per image, and data.yaml with the class names."""
    number = {name: k for k, name in enumerate(class_names)}
    files = {}
    for image in images:
        height, width = image.size
        lines = []
        for found in image.objects:
            x0, y0, x1, y1 = (found[side] for side in SIDES)
            box = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height)
            lines.append(" ".join(map(str, (number[found["class"]], *box))) + "\n")
        files[f"labels/{image.stem}.txt"] = "".join(lines)
    names = yaml.safe_dump({"train": "images", "val": "images", "names": list(class_names)}, sort_keys=False)
    return {**files, "data.yaml": names}


def voc(images: Sequence[Boxes], class_names: Sequence[str]) -> Files:
    """Return an XML file per image. Whole numbers count pixels from 1, others are edges: see `engine.files.voc`."""
    files = {}
    for image in images:
        tree = ElementTree.Element("annotation")
        ElementTree.SubElement(tree, "filename").text = printable(image.name.rpartition("/")[2])
        size = ElementTree.SubElement(tree, "size")
        for name, value in zip(("width", "height", "depth"), (image.size[1], image.size[0], 3), strict=True):
            ElementTree.SubElement(size, name).text = str(value)
        for found in image.objects:
            own = ElementTree.SubElement(tree, "object")
            ElementTree.SubElement(own, "name").text = found["class"]
            box = ElementTree.SubElement(own, "bndbox")
            corners = [float(found[side]) for side in SIDES]
            if all(corner.is_integer() for corner in corners):
                corners = [int(corner) + first for corner, first in zip(corners, (1, 1, 0, 0), strict=True)]
            for name, corner in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True):
                ElementTree.SubElement(box, name).text = str(corner)
        ElementTree.indent(tree)
        files[f"Annotations/{image.stem}.xml"] = ElementTree.tostring(tree, encoding="unicode") + "\n"
    return files


FORMATS: dict[str, Callable[[Sequence[Boxes], Sequence[str]], Files]] = {"coco": coco, "yolo": yolo, "voc": voc}


def names_below(paths: Sequence[Path]) -> dict[Path, str]:
    """Return the path of each image below the folder that all have in common.

    Raises:
        UsageError: two images have the same path but for the suffix, so their files would have the same name.
    """
    root = os.path.commonpath([path.absolute().parent for path in paths])
    names = {path: path.absolute().relative_to(root).as_posix() for path in paths}
    stems: dict[str, str] = {}
    for name in dict.fromkeys(names.values()):
        stem = os.path.splitext(name)[0]
        if stem in stems:
            raise UsageError(f"--format: {stems[stem]} and {name} would have the same file: rename one of them")
        stems[stem] = name
    return names


def check_new(files: Files, folder: Path) -> None:
    """Refuse to overwrite annotations, which may be the user's own.

    Raises:
        UsageError: names the first file that exists.
    """
    if there := [name for name in files if (folder / name).exists()]:
        raise UsageError(f"--output {folder}: {folder / there[0]} exists, and may be your own; choose another folder")
