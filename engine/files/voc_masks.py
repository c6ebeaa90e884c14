"""Pascal VOC's masks: JPEGImages/, SegmentationClass/, and perhaps lists of images in ImageSets/Segmentation/."""

import os
from collections.abc import Sequence
from pathlib import Path

from engine.files.listing import Layout, Listing
from engine.files.mask_folders import mask_layout
from engine.files.packed import Strings
from engine.files.voc_lists import XML, read_lists, stem_of
from engine.inputs.folder import Findings, Folder, nfc, note_unread
from engine.inputs.image_files import SUFFIXES

TASK = "segment"


def voc_masks(
    root: Folder,
    findings: Findings,
    task: str | None = None,
    classes: Sequence[str] | None = None,
    ignore: int | str | None = None,
) -> Layout | None:
    """Return the layout of a folder, or None if it has no masks of Pascal VOC, or has boxes and the task is another.

    Images that have no mask, or are in no list, are left out. Without lists, boxes and such images it is left to
    `mask_folders`.

    Args:
        root: the folder.
        findings: gets faulty files.
        task: the requested task, if any.
        classes, ignore: as for `mask_layout`.

    Raises:
        UserError: it has, with a mistake.
    """
    images, masks = root.child("jpegimages"), root.child("segmentationclass")
    if images is None or masks is None or not masks.own():
        return None
    boxes = root.child("annotations")
    has_boxes = boxes is not None and any(boxes.below(XML))
    if has_boxes and task != TASK:
        return None
    ones, twos = (
        {nfc(os.path.splitext(name)[0]): folder.within(name) for name in folder.below(SUFFIXES)}
        for folder in (images, masks)
    )
    lists = read_lists(root, "segmentation")
    if not lists and not has_boxes and not twos.keys() < ones.keys():
        return None
    listed: dict[str, dict[str, str]] = {}
    for split, lines in (lists or {"train": list(twos)}).items():
        if split != "train" and not any(stem_of(line, ones) in twos for line in lines):
            findings.add("note", f"{split}.txt left out: none of its images has a mask")
            continue
        pairs = listed.setdefault(split, {})
        for line in lines:
            stem = stem_of(line, ones)
            if stem in ones and stem in twos:
                pairs[ones[stem]] = twos[stem]
                continue
            lacks = f"image {images.within(stem)}.*" if stem not in ones else f"mask {masks.within(stem)}.*"
            source = f"{split}.txt lists {line!r}, but there is" if lists else f"{twos[line]} has"
            message = f"{source} no {lacks}: add it, or take it out"
            findings.error("listed images that do not exist or have no mask", message)
    left = len(ones) - len({image for pairs in listed.values() for image in pairs})
    if left > 0:
        findings.add("note", f"{left:,} images left out: they have no mask, or are in no list")
    note_unread([images, masks], findings)
    listings = {
        split: Listing(Path(root.path), Strings(pairs), Strings(pairs.values())) for split, pairs in listed.items()
    }
    return mask_layout("masks of Pascal VOC", root, listings, findings, classes, ignore)
