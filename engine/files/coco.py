"""COCO's layout: images, and JSON files that list them with the boxes of their objects.

Source: Lin et al. 2014, arXiv:1405.0312, and cocodataset.org/#format-data.
"""

import json
import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.contract.errors import UserError
from engine.contract.registry import brief, closest
from engine.files.box_files import BoxLayout
from engine.files.box_lists import Box, BoxList
from engine.files.coco_entries import Entry
from engine.files.labelme import is_labelme
from engine.files.listing import SPLITS, Layout, Listing
from engine.inputs.folder import Findings, Folder, nfc
from engine.inputs.reading import regular

KEYS = {"images", "annotations", "categories"}
SPLIT_IN_NAME = re.compile(r"(?<![a-z])(train|val|test)(ing|val|id|idation)?(?![a-z])")


def coco_layout(root: Folder, findings: Findings) -> Layout | None:
    """Return the layout of a folder, or None if it has no JSON file of COCO.

    Raises:
        UserError: it has one with a mistake.
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
        elif _has_boxes(content):
            lacks = " and no ".join(sorted(KEYS - content.keys()))
            message = f"{root.path}/{name} has boxes like a COCO file, but no {lacks}: add that, or remove the file"
            findings.error("annotations that cannot be read", message)
    if not contents:
        return None

    by_split: dict[str, str] = {}
    for name, (_, folder) in contents.items():
        split = split_of(name, folder)
        if not split:
            if len(contents) > 1:
                findings.add("note", f"{name} left out: its name does not say which split it is for")
                continue
            split = "train"
        if split in by_split:
            raise UserError(
                f"{root.path} has two JSON files for {split}, {by_split[split]} and {name}: keep one of them"
            )
        by_split[split] = name
    if not by_split:
        raise UserError(f"{root.path} has several JSON files; put train, val or test into their names")

    class_names: tuple[str, ...] = ()
    listings: dict[str, Listing] = {}
    for split in [split for split in ("train", "val", "test") if split in by_split]:
        name = by_split[split]
        content, folder = contents[name]
        try:
            names = _categories(content)
            class_names = class_names or tuple(names.values())
            number = _numbers(content, names, class_names, by_split[next(iter(listings), split)])
            boxes = _boxes(content, number, Places(root, folder, split, name), name, findings)
            listings[split] = boxes.listing(Path(root.path))
        except ValueError as error:
            raise UserError(f"{root.path}/{name}: {error}") from error
        contents[name] = ({}, folder)  # frees the content, which may be large
    return BoxLayout("COCO", "detect", class_names, listings, findings)


def _json_files(root: Folder) -> list[tuple[str, Folder]]:
    """Return the JSON files that may hold boxes: only `instances` files if there are any, as in COCO's own folder."""
    folders = [root, root.child("annotations"), *(f for name, f in root.folders.items() if name.lower() in SPLITS)]
    found = [(f.within(name), f) for f in folders if f is not None for name in f.own({".json"})]
    found = [(name, folder) for name, folder in found if not is_labelme(Path(root.path) / name)]
    instances = [(name, folder) for name, folder in found if "instances" in os.path.basename(name)]
    return instances or found


def _read_json(path: Path) -> Any:
    try:
        with open(regular(path), encoding="utf-8-sig") as file:
            return json.load(file, object_hook=_without_outlines)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON ({' '.join(str(error).split())})") from error


def _has_boxes(content: Any) -> bool:
    entries = content.get("annotations") if isinstance(content, dict) else None
    return isinstance(entries, list) and bool(entries) and isinstance(entries[0], dict) and "bbox" in entries[0]


def _without_outlines(entry: dict[str, Any]) -> dict[str, Any]:
    """Drop an entry's polygons while parsing, as they are 90 % of a file; they are kept if there is no bbox."""
    box = entry.get("bbox")
    if isinstance(box, list) and any(box):
        entry.pop("segmentation", None)
    return entry


def split_of(name: str, folder: Folder) -> str:
    """Return the split in the name of a file or of its folder, '' if neither has one."""
    for text in (os.path.splitext(os.path.basename(name))[0], os.path.basename(folder.name)):
        match = SPLIT_IN_NAME.search(text.lower())
        if match:
            return match[1]
    return ""


def _entries(content: Mapping[str, Any], key: str, kind: str) -> Iterator[Entry]:
    if not isinstance(content[key], list):
        raise UserError(f"its {key} are {brief(content[key])}: expected a list")
    for place, entry in enumerate(content[key]):
        yield Entry(kind, place, entry)


def _categories(content: Mapping[str, Any]) -> dict[int | str, str]:
    """Return class names by id, sorted by id; ids may have gaps.

    If two categories share a name, those without annotations are left out.
    """
    names: dict[int | str, str] = {}
    for entry in _entries(content, "categories", "category"):
        own = entry.id("id")
        if own in names:
            raise UserError(f"it has two categories of the id {own!r}: their ids have to differ")
        names[own] = entry.text("name")
    if not names:
        raise UserError("it has no categories: there is nothing to learn")
    count = Counter(names.values())
    if len(count) < len(names):
        used = _used(content)
        names = {own: name for own, name in names.items() if count[name] == 1 or own in used} or names
        twice = next((name for name, num in Counter(names.values()).items() if num > 1), None)
        if twice is not None:
            raise UserError(f"it has two categories {twice!r}: their names have to differ")
    return {own: names[own] for own in sorted(names, key=lambda own: (isinstance(own, str), own))}


def _used(content: Mapping[str, Any]) -> set[int | str]:
    return {entry.id("category_id") for entry in _entries(content, "annotations", "annotation")}


def _numbers(
    content: Mapping[str, Any], names: Mapping[int | str, str], class_names: Sequence[str], train: str
) -> dict[int | str, int]:
    """Return the class number of each category's id, matched by name.

    Raises:
        UserError: an annotation has a category that the training data, the file `train`, lack.
    """
    number = {name: k for k, name in enumerate(class_names)}
    unknown = {own: name for own, name in names.items() if name not in number}
    used = _used(content) if unknown else set()
    for own, name in unknown.items():
        if own in used:
            near = closest(name, class_names)
            raise UserError(f"its categories are not those of {train}, which lacks {name!r}{near or ': add it there'}")
    return {own: number[name] for own, name in names.items() if name in number}


class Places:
    """Folders in which the images that an annotation file lists may be.

    Args:
        root: the whole folder.
        folder: the file's folder.
        split: the file's split.
        name: the file's name.
    """

    def __init__(self, root: Folder, folder: Folder, split: str, name: str) -> None:
        stem = os.path.splitext(os.path.basename(name))[0].removeprefix("instances_").lower()
        images = root.child("images")
        own = [inner for own, inner in root.folders.items() if own.lower().startswith(split)]
        places = [folder, root, images, *own, root.child(stem)]
        if images is not None:
            inner_own = [inner for own, inner in images.folders.items() if own.lower().startswith(split)]
            own += inner_own
            places += [*inner_own, images.child(stem)]
        self.root = root
        self.split_folders = tuple(f"{folder.name}/" for folder in own)
        self.folders = [place for place in places if place is not None]
        self._by_last: dict[str, list[str]] = {}

    def locate(self, file_name: str, findings: Findings) -> str | None:
        """Return the path, relative to the whole folder, of an image; None, which is a finding, if there is not one."""
        path = self.find(file_name)
        if path is None:
            found = self.find_elsewhere(file_name)
            if len(found) != 1:
                several = f"; {' and '.join(found[:2])} both match its name" if found else ""
                message = f"image {file_name} does not exist: looked in {self}{several}"
                findings.error("images that do not exist", message)
                return None
            (path,) = found
            findings.add("note", "images found in another folder, by the end of their path", f"{file_name} = {path}")
        return path

    def find(self, file_name: str) -> str | None:
        """Return the path, relative to the whole folder, of an image in an expected place; None if it is in none."""
        for place in self.folders:
            found = self.root.find(posixpath.normpath(place.within(file_name)))
            if found is not None:
                self.folders.insert(0, self.folders.pop(self.folders.index(place)))  # the next is likely there, too
                return found
        return None

    def find_elsewhere(self, file_name: str) -> list[str]:
        """Return the images anywhere in the folder whose paths share the longest end with this one, at least the name.

        That is for paths from another machine: absolute ones, or of another system. A path that begins with ../ leads
        out of the folder on purpose, so nothing in it matches.
        """
        if posixpath.normpath(file_name).startswith("../") and "\\" not in file_name:
            return []
        if not self._by_last:
            for inside in self.root.below():
                self._by_last.setdefault(_last(inside), []).append(inside)
        wanted = [nfc(part).casefold() for part in file_name.replace("\\", "/").split("/")]
        found = self._by_last.get(wanted[-1], [])
        own = [inside for inside in found if inside.startswith(self.split_folders)]
        for length in range(2, len(wanted) + 1):
            longer = [i for i in found if [nfc(part).casefold() for part in i.split("/")][-length:] == wanted[-length:]]
            if not longer:
                break
            found = longer
        return [inside for inside in found if inside in own] or found

    def __str__(self) -> str:
        return ", ".join(dict.fromkeys(f"{place.name or '.'}/" for place in self.folders))


def _last(path: str) -> str:
    return nfc(path.rpartition("/")[2]).casefold()


def _boxes(
    content: Mapping[str, Any], number: Mapping[int | str, int], places: Places, name: str, findings: Findings
) -> BoxList:
    images: dict[int | str, Entry] = {}
    for entry in _entries(content, "images", "image"):
        own = entry.id("id")
        if own in images and images[own].content != entry.content:
            raise UserError(f"it has two images of the id {own!r}: their ids have to differ")
        images[own] = entry
    objects: dict[int | str, list[tuple[int, Box]]] = {own: [] for own in images}
    for entry in _entries(content, "annotations", "annotation"):
        if entry.content.get("iscrowd") not in (None, 0, False, "0", "", "false"):
            findings.add("note", "annotations of crowds (iscrowd) left out", name)
            continue
        try:
            image, kind = entry.id("image_id"), entry.id("category_id")
            box, is_around = entry.box()
        except ValueError as error:
            findings.error(f"annotations of {name} that cannot be read", str(error))
            continue
        if image not in objects or kind not in number:
            what = f"image_id {image}" if image not in objects else f"category_id {kind}"
            findings.error(
                f"annotations of images or categories that {name} does not list",
                f"{entry} has the {what}, which is not listed: correct or remove it",
            )
            continue
        if is_around:
            findings.add("note", "annotations without a bbox: it is taken from their polygon", name)
        objects[image].append((number[kind], box))

    gathered: dict[str, tuple[tuple[int, int], list[tuple[int, Box]]]] = {}
    for own, entry in images.items():
        try:
            file_name, size = entry.text("file_name"), (entry.side("height"), entry.side("width"))
        except ValueError as error:
            findings.error(f"images of {name} that cannot be read", str(error))
            continue
        path = places.locate(file_name, findings)
        if path is None:
            continue
        if path in gathered:
            findings.add("note", "images listed more than once: their boxes are merged", path)
            size = gathered[path][0] if 0 in size else size
        gathered[path] = size, [*gathered.get(path, (size, []))[1], *objects[own]]
    boxes = BoxList(findings, "x y width height")
    for path, (size, own_boxes) in gathered.items():
        boxes.add(path, size, own_boxes)
    return boxes
