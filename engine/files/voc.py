"""Pascal VOC's layout: images, an XML file with the boxes of each, and perhaps a list of images per split.

Source: Everingham et al. 2010, doi:10.1007/s11263-009-0275-4. A box of whole numbers counts pixels from 1, and its last
pixel is inside: (1, 1, 10, 10) is 10 x 10 pixels. A box with a fraction in any of its numbers gives edges, counted
from 0: (0.5, 0.5, 10.5, 10.5) is 10 x 10 pixels as well.
"""

import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from engine.contract.errors import UserError
from engine.contract.registry import brief
from engine.files.box_lists import Box
from engine.files.listing import Layout, partners, side_by_side, split_folders
from engine.files.named_boxes import Annotation, named_layout, number_of, read_each, side_of
from engine.files.voc_lists import XML, read_lists, stem_of
from engine.inputs.folder import Findings, Folder, nfc
from engine.inputs.image_files import SUFFIXES
from engine.inputs.reading import read_bytes

IMAGES, ANNOTATIONS = ("jpegimages", "images"), ("annotations",)
LARGEST = 2**24  # bytes of an XML file


def voc_layout(root: Folder, findings: Findings) -> Layout | None:
    """Return the layout of a folder, or None if it is not Pascal VOC's.

    Raises:
        UserError: it is, with a mistake.
    """
    listed: dict[str, list[tuple[str, str]]] = {}
    found = side_by_side(root, IMAGES, ANNOTATIONS, findings)
    if not any(any(annotations.below(XML)) for _, annotations in found.values()):
        images_too = root.child(*IMAGES)
        beside = {"": root if root.own(XML) or images_too is None else images_too, **split_folders(root)}
        found = {split: (folder, folder) for split, folder in beside.items() if folder.own(XML) and folder.own()}
    for split, (images, annotations) in found.items():
        lists = {} if split else read_lists(root, "main")
        if lists:
            listed.update(_listed(images, annotations, lists, findings))
        else:
            listed[split or "train"] = partners(images, annotations, ("image", "annotation"), XML, findings)
    if not listed:
        return None

    def read(pair: tuple[str, str]) -> Annotation:
        return read_annotation(Path(root.path) / pair[1])

    annotated = {
        split: ((image, name, content) for (image, name), content in read_each(pairs, read, findings))
        for split, pairs in listed.items()
    }
    return named_layout("Pascal VOC", root, annotated, findings)


def _listed(
    images: Folder, annotations: Folder, lists: dict[str, list[str]], findings: Findings
) -> dict[str, list[tuple[str, str]]]:
    """Return the names of images and annotations by split, as listed."""
    by_stem = [
        {nfc(os.path.splitext(name)[0]): folder.within(name) for name in folder.below(suffixes)}
        for folder, suffixes in ((images, SUFFIXES), (annotations, XML))
    ]
    listed: dict[str, list[tuple[str, str]]] = {}
    for split, lines in lists.items():
        pairs: dict[tuple[str, str], None] = {}
        for line in lines:
            stem = stem_of(line, by_stem[0])
            image, annotation = (found.get(stem) for found in by_stem)
            if image is not None and annotation is not None:
                if (image, annotation) in pairs:
                    findings.add("note", f"lines of {split}.txt that repeat an image: it counts once", line)
                pairs[image, annotation] = None
                continue
            lacks = f"image {images.within(stem)}.*" if image is None else f"annotation {annotations.within(stem)}.xml"
            message = f"{split}.txt lists {line!r}, but there is no {lacks}: add it, or take it off the list"
            findings.error("listed images that do not exist or have no annotation", message)
        listed[split] = list(pairs)
    return listed


def read_annotation(path: Path) -> Annotation:
    """Return the image's (H, W), 0 if not stated, and the name and box of each object.

    Only plain elements are read: a document type, which could define or include more, is refused.

    Raises:
        UserError: the file is not such an annotation; names it.
    """
    try:
        tree = ElementTree.fromstring(read_bytes(path, LARGEST), ElementTree.XMLParser(target=_PlainTree()))
        height, width = (side_of(tree.findtext(f"size/{side}"), side) for side in ("height", "width"))
        return (height, width), [_object(element, i) for i, element in enumerate(tree.iter("object"), start=1)]
    except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:
        raise UserError(f"{path} cannot be read as an annotation of Pascal VOC ({error})") from error


class _PlainTree(ElementTree.TreeBuilder):
    """Refuses a document type: its entities could expand to gigabytes."""

    def doctype(self, *_: Any) -> None:
        raise UserError("it defines a document type")


def _object(element: ElementTree.Element, place: int) -> tuple[str, Box]:
    name = (element.findtext("name") or "").strip()
    if not name:
        raise UserError(f"object {place} has no name")
    corners = []
    for side in ("xmin", "ymin", "xmax", "ymax"):
        text = element.findtext(f"bndbox/{side}")
        if text is None:
            raise UserError(f"object {place}, {brief(name)}, has no bndbox with xmin, ymin, xmax and ymax")
        corners.append(number_of(text, f"{side} of object {place}, {brief(name)},"))
    x0, y0, x1, y1 = corners
    is_whole = all(corner.is_integer() for corner in corners)
    return name, (x0 - 1, y0 - 1, x1, y1) if is_whole else (x0, y0, x1, y1)
