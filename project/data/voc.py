"""Pascal VOC's layout: images, an XML file with the boxes of each, and perhaps lists of what is for what.

Source: Everingham et al. 2010, doi:10.1007/s11263-009-0275-4; pixels are counted from 1, and a box's last is within it.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from project.data.box_lists import Box, BoxList
from project.data.image_files import SUFFIXES
from project.data.listing import Findings, Folder, Layout, natural_order, nfc, partners, side_by_side, split_folders
from project.data.mask_files import read_class_file
from project.files import read_bytes, read_text
from project.registry import closest

XML = {".xml"}
IMAGES, ANNOTATIONS = ("jpegimages", "images"), ("annotations",)
LARGEST = 2**24  # bytes of an XML file
CLASSES = "classes.txt"
READERS = 8  # threads: reading waits for the disk

Annotation = tuple[tuple[int, int], list[tuple[str, Box]]]  # (H, W), and (name, box) of each object


def voc_layout(root: Folder, findings: Findings) -> Layout | None:
    """Return what a folder holds, or None if it is not laid out like this.

    Raises:
        ValueError: it is, and something in it is wrong.
    """
    listed: dict[str, list[tuple[str, str]]] = {}
    found = side_by_side(root, IMAGES, ANNOTATIONS, findings)
    if not any(any(annotations.below(XML)) for _, annotations in found.values()):
        images_too = root.child(*IMAGES)
        beside = {"": root if root.own(XML) or images_too is None else images_too, **split_folders(root)}
        found = {split: (folder, folder) for split, folder in beside.items() if folder.own(XML) and folder.own()}
    for split, (images, annotations) in found.items():
        lists = {} if split else _lists(root)
        if lists:
            listed.update(_listed(images, annotations, lists, findings))
        else:
            listed[split or "train"] = partners(images, annotations, ("image", "annotation"), XML, findings)
    if not listed:
        return None

    known = read_class_file(Path(root.path) / CLASSES)[0] if CLASSES in root.files else ()
    seen: dict[str, int] = {}  # classes in the order of first sight
    gathered = {}
    for split, pairs in listed.items():
        gathered[split] = boxes = BoxList(findings)
        for image, name, (size, objects) in _read(Path(root.path), pairs, findings):
            for own in {own for own, _ in objects} if known else ():
                if own not in known:
                    message = f"{name} has an object {own!r}, which is not in {CLASSES}{closest(own, known)}"
                    findings.error(f"annotations with classes that are not in {CLASSES}", message)
                    objects = [(other, box) for other, box in objects if other != own]
            boxes.add(image, size, [(seen.setdefault(own, len(seen)), box) for own, box in objects])
    class_names = known or tuple(natural_order(seen))
    if not class_names:
        raise ValueError(f"no annotation in {root.path} has an object: there is nothing to learn")
    order = [class_names.index(name) for name in seen]
    listings = {split: boxes.listing(Path(root.path), order) for split, boxes in gathered.items()}
    return Layout("Pascal VOC", "detect", class_names, listings, findings)


def _lists(root: Folder) -> dict[str, list[str]]:
    """Return the stems in ImageSets/Main by split: where there is no train, trainval without val is for training."""
    folder = root.child("imagesets")
    folder = folder.child("main") if folder is not None else None
    found = {}
    for split, names in (("train", ("train", "trainval")), ("val", ("val",)), ("test", ("test",))):
        for name in names:
            if folder is not None and f"{name}.txt" in folder.files and split not in found:
                text = read_text(Path(folder.path) / f"{name}.txt", errors="surrogateescape")
                found[split] = [line.strip() for line in text.splitlines() if line.strip()]
    if folder is not None and "train.txt" not in folder.files and {"train", "val"} <= found.keys():
        found["train"] = [stem for stem in found["train"] if stem not in set(found["val"])]
    return found


def _listed(
    images: Folder, annotations: Folder, lists: dict[str, list[str]], findings: Findings
) -> dict[str, list[tuple[str, str]]]:
    """Return the names of images and annotations by split, as lists of stems tell."""
    by_stem = [
        {nfc(os.path.splitext(name)[0]): folder.within(name) for name in folder.below(suffixes)}
        for folder, suffixes in ((images, SUFFIXES), (annotations, XML))
    ]
    listed: dict[str, list[tuple[str, str]]] = {}
    for split, stems in lists.items():
        listed[split] = []
        for stem in stems:
            names = [found.get(nfc(stem)) for found in by_stem]
            if names[0] is not None and names[1] is not None:
                listed[split].append((names[0], names[1]))
                continue
            lacks = (
                f"image {images.within(stem)}.*" if names[0] is None else f"annotation {annotations.within(stem)}.xml"
            )
            message = f"{split}.txt lists {stem!r}, and there is no {lacks}: add it, or take it off the list"
            findings.error("listed images that are not there, or have no annotation", message)
    return listed


def _read(root: Path, pairs: list[tuple[str, str]], findings: Findings) -> Iterator[tuple[str, str, Annotation]]:
    """Yield the names of image and annotation, and what the annotation says."""

    def read(name: str) -> Annotation | ValueError:
        try:
            return read_annotation(root / name)
        except ValueError as error:
            return error

    with ThreadPoolExecutor(READERS) as pool:
        for (image, name), said in zip(pairs, pool.map(read, [name for _, name in pairs]), strict=True):
            if isinstance(said, ValueError):
                findings.error("annotations that cannot be read", str(said))
            else:
                yield image, name, said


def read_annotation(path: Path) -> Annotation:
    """Return the image's (H, W), 0 where it is not said, and the name and box of each object.

    Nothing but plain elements is read: what an XML file could define or include by itself is refused.

    Raises:
        ValueError: the file is no such annotation; names it.
    """
    try:
        tree = ElementTree.fromstring(read_bytes(path, LARGEST), ElementTree.XMLParser(target=_PlainTree()))
        size = tuple(int(float(tree.findtext(f"size/{side}") or 0)) for side in ("height", "width"))
        return (size[0], size[1]), [_object(element) for element in tree.iter("object")]
    except (OSError, ElementTree.ParseError, ValueError, OverflowError, LookupError) as error:
        raise ValueError(f"{path} cannot be read as an annotation of Pascal VOC ({error})") from error


class _PlainTree(ElementTree.TreeBuilder):
    """Refuses a document type, in which entities could be defined that unfold to gigabytes."""

    def doctype(self, *_: Any) -> None:
        raise ValueError("it defines a document type")


def _object(element: ElementTree.Element) -> tuple[str, Box]:
    name = (element.findtext("name") or "").strip()
    corners = [element.findtext(f"bndbox/{corner}") for corner in ("xmin", "ymin", "xmax", "ymax")]
    if not name or None in corners:
        raise ValueError("an object has no name, or no bndbox of xmin, ymin, xmax and ymax")
    x0, y0, x1, y1 = (float(corner or "") for corner in corners)
    return name, (x0 - 1, y0 - 1, x1, y1)
