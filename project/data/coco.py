"""COCO's layout: images, and JSON files that list them with the boxes of the things in them.

Source: Lin et al. 2014, arXiv:1405.0312, and cocodataset.org/#format-data.
"""

import json
import os
import posixpath
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from project.data.box_lists import Box, BoxList
from project.data.listing import SPLITS, Findings, Folder, Layout, Listing
from project.files import regular

KEYS = {"images", "annotations", "categories"}
SPLIT_IN_NAME = re.compile(r"(?<![a-z])(train|val|test)(ing|val|id|idation)?(?![a-z])")


def coco_layout(root: Folder, findings: Findings) -> Layout | None:
    """Return what a folder holds, or None if no JSON file in it is of this kind.

    Raises:
        ValueError: one is, and something in it is wrong.
    """
    files = _json_files(root)
    contents = {}
    for name, folder in files:
        try:
            content = _read_json(Path(root.path) / name)
        except ValueError as error:
            findings.error("annotations that cannot be read", str(error))
            continue
        if isinstance(content, dict) and content.keys() >= KEYS:
            contents[name] = (content, folder)
    if not contents:
        return None

    by_split: dict[str, str] = {}
    for name, (_, folder) in contents.items():
        split = _split_of(name, folder)
        if not split:
            if len(contents) > 1:
                findings.add("note", f"{name} left out: its name does not say which split it is of")
                continue
            split = "train"
        if split in by_split:
            raise ValueError(
                f"{root.path} has two JSON files for {split}, {by_split[split]} and {name}: keep one of them"
            )
        by_split[split] = name
    if not by_split:
        raise ValueError(f"{root.path} has several JSON files; put train, val or test into their names")

    class_names: tuple[str, ...] = ()
    listings: dict[str, Listing] = {}
    for split in [split for split in ("train", "val", "test") if split in by_split]:
        name = by_split[split]
        content, folder = contents[name]
        try:
            categories = _categories(content)
            if class_names and tuple(categories.values()) != class_names:
                raise ValueError(f"its categories are not those of {by_split[next(iter(listings))]}")
            class_names = tuple(categories.values())
            boxes = _boxes(content, list(categories), _places(root, folder, split, name), name, findings)
        except (KeyError, TypeError, AttributeError) as error:
            what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"{root.path}/{name} is not as COCO has it ({what})") from error
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{root.path}/{name}: {error}") from error
        listings[split] = boxes.listing(Path(root.path))
        contents[name] = ({}, folder)  # it may be large
    return Layout("COCO", "detect", class_names, listings, findings)


def _json_files(root: Folder) -> list[tuple[str, Folder]]:
    """Return the JSON files that may be annotations; of COCO's own, those of its other tasks are not."""
    folders = [root, root.child("annotations"), *(f for name, f in root.folders.items() if name.lower() in SPLITS)]
    found = [(f.within(name), f) for f in folders if f is not None for name in f.own({".json"})]
    instances = [(name, folder) for name, folder in found if "instances" in os.path.basename(name)]
    return instances or found


def _read_json(path: Path) -> Any:
    try:
        with open(regular(path), encoding="utf-8-sig") as file:
            return json.load(file, object_hook=_without_outlines)
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as JSON ({' '.join(str(error).split())})") from error


def _without_outlines(entry: dict[str, Any]) -> dict[str, Any]:
    """Drop what is nine tenths of a file as soon as it is read."""
    entry.pop("segmentation", None)
    return entry


def _split_of(name: str, folder: Folder) -> str:
    """Return the split that a file's name or that of its folder says, '' if neither does."""
    for text in (os.path.splitext(os.path.basename(name))[0], os.path.basename(folder.name)):
        match = SPLIT_IN_NAME.search(text.lower())
        if match:
            return match[1]
    return ""


def _categories(content: Mapping[str, Any]) -> dict[int, str]:
    """Return the names of the classes by their ids, in the order of these, which may have gaps."""
    categories = {int(category["id"]): str(category["name"]).strip() for category in content["categories"]}
    names = list(categories.values())
    if not names:
        raise ValueError("it has no categories: there is nothing to learn")
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise ValueError(f"it has two categories {twice!r}: their names have to differ")
    return dict(sorted(categories.items()))


def _places(root: Folder, folder: Folder, split: str, name: str) -> list[Folder]:
    """Return the folders in which the images of a JSON file may be."""
    stem = os.path.splitext(os.path.basename(name))[0].removeprefix("instances_").lower()
    images = root.child("images")
    own = [inner for own, inner in root.folders.items() if own.lower().startswith(split)]
    places = [folder, root, images, *own, root.child(stem)]
    if images is not None:
        own = [inner for own, inner in images.folders.items() if own.lower().startswith(split)]
        places += [*own, images.child(stem)]
    return [place for place in places if place is not None]


def _boxes(content: Mapping[str, Any], ids: list[int], places: list[Folder], name: str, findings: Findings) -> BoxList:
    objects: dict[Any, list[tuple[int, Box]]] = {image["id"]: [] for image in content["images"]}
    number = {own: i for i, own in enumerate(ids)}
    for annotation in content["annotations"]:
        if annotation.get("iscrowd", 0):
            findings.add("note", "annotations of crowds left out", name)
            continue
        image, kind = annotation["image_id"], annotation["category_id"]
        if image not in objects or kind not in number:
            what = f"image_id {image}" if image not in objects else f"category_id {kind}"
            findings.error(
                f"annotations of images or categories that {name} does not list",
                f"annotation {annotation.get('id', '')} has the {what}, which is not listed: mend or remove it",
            )
            continue
        if len(annotation["bbox"]) != 4:
            raise TypeError(
                f"annotation {annotation.get('id', '')} has a bbox {annotation['bbox']}, not x y width height"
            )
        left, top, width, height = map(float, annotation["bbox"])
        objects[image].append((number[kind], (left, top, left + width, top + height)))

    boxes = BoxList(findings)
    for image in content["images"]:
        file_name = posixpath.normpath(str(image["file_name"]))
        place, own = next(((place, own) for place in places if (own := place.find(file_name))), (None, None))
        if place is None or own is None:
            looked = ", ".join(dict.fromkeys(f"{place.name or '.'}/" for place in places))
            message = f"image {file_name} is not there: looked in {looked}"
            findings.error("images that are not there", message)
            continue
        places.insert(0, places.pop(places.index(place)))  # the others are most likely there, too
        size = int(image.get("height") or 0), int(image.get("width") or 0)
        boxes.add(place.within(own), size, objects[image["id"]])
    return boxes
