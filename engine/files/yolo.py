"""YOLO's text: images, and a label file for each with a line per object, relative to the image's sides (0..1).

A line is `CLASS CX CY W H`, or `CLASS X Y X Y X Y ...`, a polygon, whose bounding box is taken. In a data set of poses,
as data.yaml says, key points follow the box. (H, W) is a size in pixels.
Source: docs.ultralytics.com/datasets/detect and github.com/AlexeyAB/darknet.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from engine.contract.errors import UserError
from engine.contract.registry import brief
from engine.files.box_files import BoxLayout
from engine.files.box_lists import UNTOLD, Box, BoxList
from engine.files.class_file import read_class_file
from engine.files.listing import SPLITS, Layout, by_stem, side_by_side, split_folders
from engine.files.named_boxes import around, read_each
from engine.inputs.folder import Findings, Folder, nfc, note_unread
from engine.inputs.image_files import SUFFIXES, size_of
from engine.inputs.reading import MIB, read_text

TEXT = {".txt"}
IMAGES, LABELS = ("images", "image", "imgs", "jpegimages"), ("labels",)
DARKNET = {"obj_train_data": "train", "obj_valid_data": "val", "obj_test_data": "test"}  # folders
CLASS_FILES = ("classes.txt", "obj.names", "_darknet.labels")
NAMES = re.compile(r"^names\s*:", re.MULTILINE)  # the key of class names in a YAML file
LARGEST = 16 * MIB  # a label file or YAML file
FARTHEST = 2.0  # larger numbers must be pixels; a box may cross the border
MAX_CLASSES = 10_000  # classes without names
EXPECTED = "expected CLASS CX CY W H, or CLASS and three or more X Y"

Pair = tuple[str, str | None]  # names of an image and of its label file
Objects = list[tuple[int, Box]]


def yolo_layout(root: Folder, findings: Findings) -> Layout | None:
    """Return the layout of a folder, or None if it has no label files of YOLO.

    Raises:
        UserError: it has, with a mistake.
    """
    found = _places(root, findings)
    if not found:
        return None
    pairs = {split: _pairs(images, labels, findings) for split, (images, labels) in found.items()}
    if "" in pairs:
        pairs = _listed(root, found[""][0], pairs[""], findings)
    folders = [root, root.child(*LABELS), *(labels for _, labels in found.values())]
    names, source, is_pose = _class_names([folder for folder in folders if folder is not None])
    gathered = {split: list(_read(Path(root.path), own, is_pose, findings)) for split, own in pairs.items()}
    if not names:
        names = tuple(str(k) for k in range(_num_classes(gathered)))
        if not names:
            raise UserError(f"no label file in {root.path} has an object: there is nothing to learn")
        findings.add("note", f"classes are numbers: none of data.yaml, {', '.join(CLASS_FILES[:2])} names them")
    listings = {}
    for split, own in gathered.items():
        boxes = BoxList(findings, numbers="relative")
        for (image, label), size, objects in own:
            for number in sorted({number for number, _ in objects if number >= len(names)}):
                message = f"{label} has the class {number}, but {source} names {len(names)}, from 0 on: correct either"
                findings.error("label files with classes that have no name", message)
            boxes.add(image, size, [(number, box) for number, box in objects if number < len(names)])
        listings[split] = boxes.listing(Path(root.path))
    return BoxLayout("YOLO", "detect", names, listings, findings)


def _places(root: Folder, findings: Findings) -> dict[str, tuple[Folder, Folder]]:
    """Return the folders of images and of label files by split, '' without splits; {} for other layouts."""
    found = side_by_side(root, IMAGES, LABELS, findings)
    if any(_has_labels(*both) for both in found.values()):
        images, labels = found.get("", (root, root))
        years = {name: re.fullmatch(r"(train|val|test)\d{4}", name) for name in images.folders}  # as in train2017
        if "" in found and images.folders and all(years.values()) and "train" in {y[1] for y in years.values() if y}:
            return {y[1]: (images.folders[n], labels.folders[n]) for n, y in years.items() if y and n in labels.folders}
        return found
    splits = split_folders(root) or {
        split: root.folders[name] for name, split in DARKNET.items() if name in root.folders
    }
    images = root.child(*IMAGES) or root
    for folders in ({"": root}, {"": images}, splits):
        if any(_looks_like_labels(folder, stem) for folder in folders.values() for stem in _stems(folder)):
            return {"" if len(folders) == 1 else split: (folder, folder) for split, folder in folders.items()}
    return {}


def _stems(folder: Folder) -> list[str]:
    """Return the stems of the label files directly in a folder that have an image of their name beside them."""
    images = {os.path.splitext(name)[0] for name in folder.own()}
    return [stem for name in folder.own(TEXT) if (stem := os.path.splitext(name)[0]) in images]


def _has_labels(images: Folder, labels: Folder) -> bool:
    stems = {nfc(os.path.splitext(name)[0]) for name in images.below()}
    return any(nfc(os.path.splitext(name)[0]) in stems for name in labels.below(TEXT)) or any(
        _looks_like_labels(labels, os.path.splitext(name)[0]) for name in labels.below(TEXT) if stems
    )


def _looks_like_labels(folder: Folder, stem: str) -> bool:
    """Whether a file's first line is a class number and at least four numbers."""
    try:
        words = read_text(Path(folder.path) / f"{stem}.txt", LARGEST).lstrip().partition("\n")[0].split()
        return len(words) >= 5 and words[0].isdecimal() and all(float(word) <= FARTHEST for word in words[1:])
    except (OSError, ValueError):
        return False


def _pairs(images: Folder, labels: Folder, findings: Findings) -> list[Pair]:
    """Return the names of each image and its label file; None for an image without one, which shows no objects."""
    ones, twos = by_stem(images, SUFFIXES, findings), by_stem(labels, TEXT, findings)
    twos = {stem: name for stem, name in twos.items() if os.path.basename(name) not in CLASS_FILES}
    note_unread([images] if images is labels else [images, labels], findings)
    if ones and twos and not ones.keys() & twos.keys():
        raise UserError(
            f"no label file in {labels.path} has the name of an image in {images.path}: expected "
            f"{next(iter(ones))}.txt for {next(iter(ones.values()))}"
        )
    for stem, name in twos.items():
        if stem not in ones and _looks_like_labels(labels, stem):
            findings.add("warning", "label files left out: they have no image of their name", name)
    return [(name, twos.get(stem)) for stem, name in ones.items()]


def _listed(root: Folder, images: Folder, pairs: list[Pair], findings: Findings) -> dict[str, list[Pair]]:
    """Return the pairs by split, as listed in train.txt, val.txt and test.txt; without these, all are 'train'."""
    stems = {name: os.path.splitext(name.lower()) for name in root.files}
    lists = {SPLITS[stem]: name for name, (stem, end) in stems.items() if stem in SPLITS and end in TEXT}
    if "train" not in lists or len(lists) == 1:
        return {"train": pairs}
    known = {nfc(os.path.splitext(pair[0])[0].removeprefix(f"{images.name}/")): pair for pair in pairs}
    listed: dict[str, list[Pair]] = {}
    for split in (split for split in ("train", "val", "test") if split in lists):
        own: dict[Pair, None] = {}
        for line in _lines(Path(root.path) / lists[split], errors="surrogateescape"):
            parts = nfc(os.path.splitext(line.strip().replace("\\", "/"))[0]).split("/")
            stem = next((end for i in range(len(parts)) if (end := "/".join(parts[i:])) in known), None)
            if stem is not None:
                own[known[stem]] = None
            elif line.strip():
                message = f"{lists[split]} lists {brief(line.strip())}, which does not exist: add it or drop the line"
                findings.error("listed images that do not exist", message)
        listed[split] = list(own)
    taken = {pair for own in listed.values() for pair in own}
    for pair in pairs:
        if pair not in taken:
            findings.add("note", f"images left out: they are not listed in {', '.join(lists.values())}", pair[0])
    return listed


def _class_names(folders: list[Folder]) -> tuple[tuple[str, ...], str, bool]:
    """Return the class names, the name of their file, and whether key points follow boxes."""
    for folder in folders:
        for name in folder.own({".yaml", ".yml"}):
            path = Path(folder.path) / name
            try:
                text = read_text(path, LARGEST)
                content = yaml.load(text, Loader=yaml.BaseLoader) if NAMES.search(text) else None  # text alone: 'no'
            except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
                raise UserError(f"{path} cannot be read as YAML ({' '.join(str(error).split())})") from error
            if isinstance(content, dict) and "names" in content:
                return _named(content["names"], path), name, "kpt_shape" in content
        for name in folder.files:
            if name in CLASS_FILES or name.endswith(".names"):
                return read_class_file(Path(folder.path) / name)[0], name, False
    return (), "", False


def _named(names: object, path: Path) -> tuple[str, ...]:
    if isinstance(names, dict):
        order = sorted(names, key=lambda key: (len(key), key))  # numbers, as text
        names = [names[key] for key in order] if order == [str(k) for k in range(len(order))] else None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise UserError(f"{path}: names are the classes' names, a list or a mapping of 0, 1, ... to each")
    if len(set(names)) < len(names):
        raise UserError(f"{path} names the class {next(name for name in names if names.count(name) > 1)} twice")
    return tuple(names)


def _num_classes(gathered: dict[str, list[tuple[Pair, tuple[int, int], Objects]]]) -> int:
    highest, label = -1, ""
    for own in gathered.values():
        for (_, name), _, objects in own:
            for number, _ in objects:
                highest, label = (number, name or "") if number > highest else (highest, label)
    if highest >= MAX_CLASSES:
        raise UserError(
            f"{label} has the class {highest}, but no data.yaml has class names: expected numbers below {MAX_CLASSES}"
        )
    return highest + 1


def _read(
    root: Path, pairs: list[Pair], is_pose: bool, findings: Findings
) -> Iterator[tuple[Pair, tuple[int, int], Objects]]:
    """Yield each pair with the image's (H, W), 0 if it shows no objects, and the objects."""

    def read(pair: Pair) -> tuple[tuple[int, int], int, Objects]:
        image, label = pair
        relative = [] if label is None else read_labels(root / label, is_pose)
        if not relative:
            return (0, 0), 1, []
        (height, width), orientation = size_of(root / image)
        boxes = [(k, (x0 * width, y0 * height, x1 * width, y1 * height)) for k, (x0, y0, x1, y1) in relative]
        return (height, width), orientation, boxes

    what = "images or label files that cannot be read"
    for (image, label), (size, orientation, objects) in read_each(pairs, read, findings, what):
        if not objects:
            why = "there is no label file" if label is None else "their label file is empty"
            findings.add("note", f"images without objects: {why}", image)
        if orientation >= 5:
            findings.add("warning", UNTOLD, image)
        yield (image, label), size, objects


def read_labels(path: Path, is_pose: bool = False) -> Objects:
    """Return the class and box of each line, xyxy relative to the image's sides.

    Args:
        path: the label file.
        is_pose: whether key points follow the box in each line.

    Raises:
        UserError: a line has another form; names it.
    """
    objects: Objects = []
    for place, line in enumerate(_lines(path), start=1):
        words = line.split()
        words = words[:5] if is_pose else words
        if not words:
            continue
        try:
            kind, *numbers = map(float, words)
        except ValueError:
            raise UserError(f"{path}, line {place}: {brief(line)} is not made of numbers: {EXPECTED}") from None
        if len(numbers) != 4 and (len(numbers) < 6 or len(numbers) % 2):
            raise UserError(f"{path}, line {place} has {len(words)} numbers: {EXPECTED}")
        if not kind.is_integer() or kind < 0:
            raise UserError(f"{path}, line {place}: class {brief(words[0])} is not a whole number from 0 on")
        if far := [word for word, number in zip(words[1:], numbers, strict=True) if not abs(number) <= FARTHEST]:
            raise UserError(
                f"{path}, line {place}: {brief(far[0])} is not relative to the image's sides: expected numbers from "
                "0 to 1; divide pixels by width and height"
            )
        if len(numbers) == 4:
            x, y, width, height = numbers
            box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        else:
            box = around(list(zip(numbers[::2], numbers[1::2], strict=True)))
        objects.append((int(kind), box))
    return objects


def _lines(path: Path, errors: str = "strict") -> list[str]:
    try:
        return read_text(path, LARGEST, errors).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as text ({error})") from error
