"""Recognising how a folder of images is laid out, from the names in it and what its annotations say.

No image is opened for that, but masks that nobody has named the classes of, and a few images of which only the
proportions can tell what they are.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from project.data.coco import coco_layout
from project.data.image_files import SUFFIXES, opened
from project.data.listing import (
    SPLITS,
    Findings,
    Folder,
    Layout,
    Listing,
    nfc,
    note_unread,
    partners,
    side_by_side,
    split_folders,
    what_is_read,
)
from project.data.mask_files import LOSSY, MaskCode, read_class_file, values_in
from project.data.tables import Strings
from project.data.voc import voc_layout
from project.ops.segmentation import IGNORE

IMAGES = ("images", "image", "imgs", "jpegimages")
MASKS = ("masks", "mask", "labels", "annotations", "segmentationclass")
NO_CLASSES = {"images", "jpegimages", "masks", "labels", "annotations"}  # names of parts of other layouts
LOOKED_AT = 5  # images that are opened to see whether they are two in one
TWICE_AS_WIDE = (1.6, 2.5)  # the proportions of two images side by side that are roughly square

LAYOUTS = (
    "CLASS/*.jpg, with or without train/, val/ and test/ around the classes (classify)",
    "images/ and masks/ (segment)",
    "JPEGImages/ and Annotations/ of Pascal VOC, or a JSON file of COCO (detect)",
    "A/ and B/, or files with two images side by side (translate)",
)


def recognise(
    path: Path, classes: Sequence[str] | None = None, findings: Findings | None = None, task: str | None = None
) -> Layout:
    """Return what a folder holds.

    Args:
        path: the folder.
        classes: names of the classes in the order of their numbers, if not the folder's own.
        findings: gets what is wrong with single files, which are left out; by default the first one is an error.
        task: what its images are wanted for, if that is known.

    Raises:
        ValueError: there is no such folder, or it has none of the layouts that are known, or one for another task, or
            something in it is wrong.
    """
    findings = findings or Findings()
    path = path.expanduser()
    if not path.is_dir():
        raise ValueError(f"there is no folder {path}" if not path.exists() else f"{path} is a file, not a folder")
    root = Folder(str(path))
    for recogniser in (coco_layout, voc_layout, _masks, _pairs, _class_folders, _joined_pairs):
        if task == "classify" and recogniser is _pairs:
            continue  # A and B may be classes as well
        layout = recogniser(root, findings, classes) if recogniser is _masks else recogniser(root, findings)
        if layout is None:
            continue
        if task is not None and layout.task != task:
            raise ValueError(f"{path} holds {layout.kind} ({layout.counted()}), for task {layout.task}, not {task}")
        return layout if classes is None else _with_classes(layout, classes, root)
    raise ValueError(f"{path} holds {_contents(root)}; what can be trained on: {'; '.join(LAYOUTS)}")


def _contents(root: Folder) -> str:
    """Say what is in a folder that was not recognised."""
    if not root.files and not root.folders:
        return "nothing"
    images = len(root.own())
    said = [f"{images} image{'s' * (images != 1)}"] if images else []
    if len(root.files) > images:
        said.append(f"{len(root.files) - images} other files")
    if root.folders:
        names = [f"{name}/" for name in root.folders]
        said.append("the folders " + " ".join(names[:6]) + (" ..." if len(names) > 6 else ""))
    if len(root.folders) == 1 and not images:
        inner = next(iter(root.folders.values()))
        said[-1] = (
            f"one folder only, {inner.name}/: if that is the data set, give {inner.path}; classes are two or more"
        )
    return ", ".join(said)


def _class_folders(root: Folder, findings: Findings) -> Layout | None:
    splits = split_folders(root)
    if not splits or not splits["train"].folders:
        if all(name.lower() in SPLITS for name in root.folders):
            return None
        splits = {"train": root}  # a class may be called train, too
    else:
        others = [
            f"{name}/" for name, inner in root.folders.items() if name.lower() not in SPLITS and any(inner.below())
        ]
        if others:
            raise ValueError(
                f"{root.path} holds train/ and, beside it, {' '.join(others[:3])}: put each class within train/, val/ "
                "or test/"
            )
    names = tuple(splits["train"].folders)
    numbers = {nfc(name): number for number, name in enumerate(names)}
    if len(names) < 2 or NO_CLASSES & {name.lower() for name in names}:
        return None
    if not any(any(folder.below()) for folder in splits["train"].folders.values()):
        return None
    listings = {}
    for split, folder in splits.items():
        for stray in folder.own():
            findings.add("warning", "images left out: they are in no class's folder", folder.within(stray))
        images: list[str] = []
        labels: list[int] = []
        for name, inner in folder.folders.items():
            if nfc(name) not in numbers:
                message = (
                    f"{inner.path} is a class that train has not ({' '.join(names[:10])}): add it there, or rename it"
                )
                findings.error(f"classes of {split} that train has not", message)
                continue
            own = [inner.within(image) for image in inner.below()]
            if not own:
                message = f"class folder {inner.path} holds no images ({what_is_read(inner)}): fill it, or remove it"
                findings.error("class folders without images", message)
            images += own
            labels += [numbers[nfc(name)]] * len(own)
            note_unread([inner], findings)
        listings[split] = Listing(Path(root.path), Strings(images), labels=torch.tensor(labels, dtype=torch.int64))
    return Layout("class folders", "classify", names, listings, findings)


def _masks(root: Folder, findings: Findings, classes: Sequence[str] | None = None) -> Layout | None:
    found = side_by_side(root, IMAGES, MASKS, findings)
    if not found or not any(any(masks.below()) for _, masks in found.values()):
        return None
    listings = {}
    for split, (images, masks) in found.items():
        pairs = partners(images, masks, ("image", "mask"), SUFFIXES, findings)
        lossy = dict.fromkeys(name for _, name in pairs if os.path.splitext(name)[1].lower() in LOSSY)
        for name in lossy:
            message = f"{name} is a mask stored as JPEG, which changes class numbers: store masks as PNG"
            findings.error("masks stored as JPEG", message)
        pairs = [pair for pair in pairs if pair[1] not in lossy]
        names, belonging = zip(*pairs, strict=True) if pairs else ((), ())
        listings[split or "train"] = Listing(Path(root.path), Strings(names), Strings(belonging))
    names, code = _mask_classes(root, listings, findings, classes)
    return Layout("images with masks", "segment", names, listings, findings, code)


def _mask_classes(
    root: Folder, listings: dict[str, Listing], findings: Findings, classes: Sequence[str] | None
) -> tuple[tuple[str, ...], MaskCode]:
    if "classes.txt" in root.files:
        names, colours = read_class_file(Path(root.path) / "classes.txt")
        return names, MaskCode(len(names), colours)
    paths = [listing.partner(i) for listing in listings.values() for i in range(len(listing))]
    values = values_in(paths, skip=not findings.strict)
    if values == {0, IGNORE} and (classes is None or len(classes) == 2):
        findings.add("note", f"masks are black and white: 0 is background, {IGNORE} is object")
        return ("background", "object"), MaskCode(2, binary=True, named=False)
    num = max(values - {IGNORE}, default=0) + 1
    if num < 2 and classes is None:
        message = f"the masks in {root.path} hold the class 0 alone: there is nothing to tell apart"
        findings.error("classes too few", message)
    return tuple(map(str, range(num))), MaskCode(num, named=False)


def _pairs(root: Folder, findings: Findings) -> Layout | None:
    found = side_by_side(root, ("A",), ("B",), findings)
    around = [root] if "" in found else [folder for split, folder in split_folders(root).items() if split in found]
    if not found or any(len(folder.folders) > 2 for folder in around if folder.child("A")):  # A to Z would be classes
        return None
    if not any(_stems(source) & _stems(target) for source, target in found.values()):
        return None
    listings = {}
    for split, (sources, targets) in found.items():
        pairs = partners(sources, targets, ("source", "target"), SUFFIXES, findings)
        names, belonging = zip(*pairs, strict=True) if pairs else ((), ())
        listings[split or "train"] = Listing(Path(root.path), Strings(names), Strings(belonging))
    return Layout("pairs of images in A and B", "translate", (), listings, findings)


def _stems(folder: Folder) -> set[str]:
    return {nfc(os.path.splitext(name)[0]) for name in folder.below()}


def _joined_pairs(root: Folder, findings: Findings) -> Layout | None:
    splits = {"train": root} if root.own() else split_folders(root)
    images = {split: [folder.within(name) for name in folder.own()] for split, folder in splits.items()}
    every = [name for names in images.values() for name in names]
    if not every:
        return None
    for name in every[:: -(-len(every) // LOOKED_AT)]:
        with opened(Path(root.path) / name) as file:
            if not TWICE_AS_WIDE[0] <= file.width / file.height <= TWICE_AS_WIDE[1]:
                return None
    listings = {split: Listing(Path(root.path), Strings(names)) for split, names in images.items()}
    return Layout("pairs of images side by side", "translate", (), listings, findings)


def _with_classes(layout: Layout, classes: Sequence[str], root: Folder) -> Layout:
    """Return a layout with the classes given, in their order, which are to include the folder's."""
    if len(set(map(nfc, classes))) < len(classes):
        raise ValueError(f"classes {' '.join(classes)}: one is there twice")
    if not layout.class_names:
        raise ValueError(f"classes: {layout.kind} have none")
    code = layout.mask_code
    if code is not None and not code.named:  # numbers alone, so the names given are those of the numbers
        if len(classes) < code.num_values:
            raise ValueError(
                f"classes names {len(classes)}, and the masks in {root.path} hold {code.num_values}: name them all"
            )
        code = replace(code, num_values=2 if code.binary else len(classes))
        return replace(layout, class_names=tuple(classes), mask_code=code)
    numbers = {nfc(name): number for number, name in enumerate(classes)}
    unknown = [name for name in layout.class_names if nfc(name) not in numbers]
    if unknown:
        raise ValueError(
            f"{root.path} has the class {unknown[0]}, which is not among the classes wanted ({' '.join(classes[:10])})"
        )
    order = [numbers[nfc(name)] for name in layout.class_names]
    if code is not None:
        return replace(layout, class_names=tuple(classes), mask_code=replace(code, order=tuple(order)))
    table = torch.tensor(order)
    splits = {}
    for split, listing in layout.splits.items():
        if listing.labels is not None:
            splits[split] = replace(listing, labels=table[listing.labels])
        else:
            assert listing.boxes is not None
            splits[split] = replace(listing, boxes=listing.boxes.with_column(4, table))
    return replace(layout, class_names=tuple(classes), splits=splits)
