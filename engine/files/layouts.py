"""Recognising how a folder of images is laid out, from its file names and annotations.

Only three kinds of files are opened for that: masks without class names, a few images whose proportions tell whether
they are two images side by side, and the heads of images whose boxes are relative to their size.
"""

import functools
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from engine.contract.errors import UserError
from engine.files.coco import coco_layout
from engine.files.cvat import cvat_layout
from engine.files.label_table import table_layout
from engine.files.labelme import labelme_layout
from engine.files.listing import (
    SPLITS,
    Layout,
    Listing,
    natural_order,
    partners,
    side_by_side,
    split_folders,
    split_in_names,
)
from engine.files.mask_files import JPEG, LOSSY, MaskCode, read_class_file, survey
from engine.files.named_boxes import CLASSES
from engine.files.other_tools import TOOLS, refuse_other_tools
from engine.files.packed import Strings
from engine.files.voc import voc_layout
from engine.files.yolo import yolo_layout
from engine.inputs.folder import Findings, Folder, nfc, note_unread, what_is_read
from engine.inputs.image_files import SUFFIXES, opened
from engine.inputs.letterbox import IGNORE

IMAGES = ("images", "image", "imgs", "jpegimages")
MASKS = ("masks", "mask", "labels", "annotations", "segmentationclass", "segmentations", "groundtruth")
SPLIT_MASKS = (*MASKS, "annot", "annotation", "label", "segmentation", "seg", "gt")  # in names such as trainannot
# Folder names that belong to other layouts.
NO_CLASSES = {"images", "jpegimages", "masks", "labels", "annotations", "segmentations", "groundtruth"}
SIDES = (("A",), ("B",))  # of pairs
SURVEYED = 25  # masks opened if their classes have names; otherwise all are
LOOKED_AT = 5  # images opened to see whether they are two side by side
TWICE_AS_WIDE = (1.6, 2.5)  # the proportions of two images side by side that are roughly square

LAYOUTS = (
    "CLASS/*.jpg, with or without train/, val/ and test/ around the classes, or labels.csv (classify)",
    "images/ and masks/, or train/ and train_masks/ (segment)",
    "JPEGImages/ and Annotations/ of Pascal VOC, images/ and labels/ of YOLO, COCO, labelme, CVAT (detect)",
    "A/ and B/, or trainA/ and trainB/, or files with two images side by side (translate)",
)


class ForOtherTask(UserError):
    """A folder's images are for another task, `task`, than the requested one."""

    def __init__(self, message: str, task: str) -> None:
        super().__init__(message)
        self.task = task


def recognise(
    path: Path,
    classes: Sequence[str] | None = None,
    findings: Findings | None = None,
    task: str | None = None,
    ignore: int | str | None = None,
    labels: str | None = None,
) -> Layout:
    """Return what a folder holds.

    Args:
        path: the folder.
        classes: class names in the order of their numbers, if not the folder's own.
        findings: collects faulty files, which are left out; by default the first one raises.
        task: the requested task, if any.
        ignore: a class of masks to ignore, by number, name or colour, as in '0 0 0'.
        labels: a table of the images' classes; by default labels.csv in the folder, if it has no other annotations.

    Raises:
        UserError: the folder does not exist, has no known layout, or holds a faulty file.
        ForOtherTask: its layout is for another task.
    """
    findings = findings or Findings()
    path = path.expanduser()
    if not path.is_dir():
        raise UserError(f"there is no folder {path}" if not path.exists() else f"{path} is a file, not a folder")
    root = Folder(str(path))
    masks = functools.partial(_masks, classes=classes, ignore=ignore)
    order = (
        coco_layout,
        cvat_layout,
        voc_layout,
        masks,
        yolo_layout,
        labelme_layout,
        table_layout,
        _pairs,
        _class_folders,
        _no_others,
        _joined_pairs,
    )
    for recogniser in order if labels is None else (functools.partial(table_layout, labels=labels),):
        layout = recogniser(root, findings)
        if layout is None or (task == "classify" and recogniser is _pairs and not split_in_names(root, *SIDES)):
            continue  # A and B may be classes
        if ignore is not None and recogniser is not masks:
            raise UserError(f"ignore is for masks, and {path} holds {layout.kind}: leave it out")
        if task is not None and layout.task != task:
            message = f"{path} holds {layout.kind} ({layout.counted()}), for task {layout.task}, not {task}"
            if recogniser is _joined_pairs:  # only a guess, from proportions
                raise UserError(message)
            raise ForOtherTask(message, layout.task)
        layout = layout if classes is None else _with_classes(layout, classes, root)
        _check_names(layout, root)
        return layout
    raise UserError(f"{path} holds {_contents(root)}; what can be trained on: {'; '.join(LAYOUTS)}")


def _contents(root: Folder) -> str:
    """Describe a folder that was not recognised."""
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
            f"one folder only, {inner.name}/: if that is the data set, give {inner.path}; there must be two classes "
            "or more"
        )
    elif within := _data_set_within(root):
        said[-1] += f", of which {within} may be the data set: give that path then"
    return ", ".join(said)


def _data_set_within(root: Folder) -> str:
    """Return the path of the first folder within `root` that looks like a data set, '' if none does."""
    for name, folder in root.folders.items():
        if name.lower() in SPLITS:
            continue
        num_classes = sum(bool(inner.own()) for inner in folder.folders.values())
        if _is_data_set(folder) or (num_classes > 1 and not folder.own()):
            return folder.path
    return ""


def _is_data_set(folder: Folder) -> bool:
    """Whether a folder's own folders are splits and nothing else, or images with their masks or annotations."""
    splits = {SPLITS.get(name.lower(), "") for name in folder.folders}
    has_splits = "train" in splits and "" not in splits
    return has_splits or bool(folder.child(*IMAGES) and folder.child(*MASKS))


def _check_names(layout: Layout, root: Folder) -> None:
    """Refuse classes without a name, and warn of names that differ in case or spaces only.

    Raises:
        UserError: a class has no name.
    """
    alike: dict[str, str] = {}
    for name in layout.class_names:
        key = " ".join(nfc(name).casefold().split())
        if not key:
            raise UserError(f"{root.path} has a class whose name is {name!r}: give it a name")
        if key in alike:
            message = (
                f"classes {alike[key]!r} and {name!r} differ only in case or spaces: merge them if they are the same"
            )
            layout.findings.add("warning", message)
        alike[key] = name


def _no_others(root: Folder, findings: Findings) -> None:
    refuse_other_tools(root, TOOLS)


def _class_folders(root: Folder, findings: Findings) -> Layout | None:
    splits = split_folders(root)
    if not splits or not splits["train"].folders:
        if all(name.lower() in SPLITS for name in root.folders):
            return None
        splits = {"train": root}  # a class may be called train
    else:
        others = [
            f"{name}/" for name, inner in root.folders.items() if name.lower() not in SPLITS and any(inner.below())
        ]
        if others:
            raise UserError(
                f"{root.path} holds train/ and, beside it, {' '.join(others[:3])}: put each class within train/, val/ "
                "or test/"
            )
    names = tuple(natural_order(splits["train"].folders))
    numbers = {nfc(name): number for number, name in enumerate(names)}
    if len(names) < 2 or NO_CLASSES & {name.lower() for name in names}:
        return None
    if not any(any(folder.below()) for folder in splits["train"].folders.values()):
        return None
    for inner in splits["train"].folders.values():
        if _is_data_set(inner):
            held = " ".join(f"{name}/" for name in list(inner.folders)[:4])
            raise UserError(
                f"{inner.path} is no class, as it holds {held}: if it is the data set, give that path; train/, val/ "
                "and test/ go around the classes, and masks elsewhere"
            )
    listings = {}
    for split, folder in splits.items():
        for stray in folder.own():
            findings.add("warning", "images left out: they are in no class folder", folder.within(stray))
        images: list[str] = []
        labels: list[int] = []
        for name, inner in folder.folders.items():
            if nfc(name) not in numbers:
                message = (
                    f"{inner.path} is a class that train lacks ({' '.join(names[:10])}): add it there, or rename it"
                )
                findings.error(f"classes of {split} that train lacks", message)
                continue
            own = [inner.within(image) for image in inner.below()]
            if not own:
                within = _data_set_within(root)
                message = f"class folder {inner.path} holds no images ({what_is_read(inner)}): fill it, or remove it"
                message += f", or give {within} if that is the data set" if within and folder is root else ""
                findings.error("class folders without images", message)
            images += own
            labels += [numbers[nfc(name)]] * len(own)
            note_unread([inner], findings)
        listings[split] = Listing(Path(root.path), Strings(images), labels=torch.tensor(labels, dtype=torch.int64))
    return Layout("class folders", "classify", names, listings, findings)


def _masks(
    root: Folder,
    findings: Findings,
    classes: Sequence[str] | None = None,
    ignore: int | str | None = None,
) -> Layout | None:
    found = side_by_side(root, IMAGES, MASKS, findings) or split_in_names(root, (*IMAGES, ""), SPLIT_MASKS, findings)
    if not found or not any(any(masks.below()) for _, masks in found.values()):
        return None
    listings = {}
    for split, (images, masks) in found.items():
        pairs = partners(images, masks, ("image", "mask"), SUFFIXES, findings)
        lossy = dict.fromkeys(name for _, name in pairs if os.path.splitext(name)[1].lower() in LOSSY)
        for name in lossy:
            findings.error("masks stored as JPEG", f"{name} is a mask stored as JPEG, {JPEG}")
        pairs = [pair for pair in pairs if pair[1] not in lossy]
        names, belonging = zip(*pairs, strict=True) if pairs else ((), ())
        listings[split or "train"] = Listing(Path(root.path), Strings(names), Strings(belonging))
    paths = [listing.partner(i) for listing in listings.values() for i in range(len(listing))]
    if CLASSES in root.files:
        names, code = _named_classes(root, paths, findings)
        if ignore is not None:
            names, code = _without(names, code, ignore)
    else:
        names, code = _numbered_classes(root, paths, findings, classes, ignore)
    if code.ignored:
        findings.add("note", f"class {ignore} in masks is ignored")
    return Layout("images with masks", "segment", names, listings, findings, code)


def _named_classes(root: Folder, paths: list[Path], findings: Findings) -> tuple[tuple[str, ...], MaskCode]:
    """Return the classes in classes.txt, and how masks encode them."""
    names, colours = read_class_file(Path(root.path) / CLASSES)
    if len(names) > IGNORE:
        raise UserError(f"{root.path}/{CLASSES} has {len(names)} classes: a mask can hold at most {IGNORE}")
    if colours:
        findings.add("note", f"masks are read by colour, as {CLASSES} says")
        return names, MaskCode(len(names), colours)
    seen = survey(paths[:: max(1, len(paths) // SURVEYED)], skip=True, palettes=findings.strict)
    if seen.values and seen.values <= {0, IGNORE}:  # black and white, or few masks with anything in them
        seen = survey(paths, skip=True, palettes=findings.strict)
    if fault := seen.fault(root.path, len(names)):
        findings.error("masks whose values cannot be classes", fault)
    if seen.is_black_and_white and len(names) == 2:
        findings.add("note", f"masks are black and white: 0 is {names[0]}, {IGNORE} is {names[1]}")
        return names, MaskCode(2, binary=True)
    findings.add("note", f"masks hold class numbers, named in {CLASSES} (0 is {names[0]}); {IGNORE} is ignored")
    return names, MaskCode(len(names), palette=seen.palette)


def _numbered_classes(
    root: Folder, paths: list[Path], findings: Findings, classes: Sequence[str] | None, ignore: int | str | None
) -> tuple[tuple[str, ...], MaskCode]:
    """Return the classes of masks without classes.txt: their names are the numbers."""
    seen = survey(paths, skip=not findings.strict, palettes=findings.strict)
    ignored: tuple[int, ...] = ()
    if ignore is not None:
        if not str(ignore).isdecimal() or int(ignore) > IGNORE:
            raise UserError(f"ignore is a number in masks here, as no {CLASSES} names them, got {ignore!r}")
        ignored = (int(ignore),)
        seen = seen.without(*ignored)
    if seen.is_black_and_white and (classes is None or len(classes) == 2):
        findings.add("note", f"masks are black and white: 0 is background, {IGNORE} is object")
        return ("background", "object"), MaskCode(2, binary=True, named=False)
    if fault := seen.fault(root.path, len(classes or ())):
        raise UserError(fault)
    num = max(seen.values - {IGNORE}, default=0) + 1
    if num < 2 and classes is None:
        message = f"the masks in {root.path} hold class 0 only: there is nothing to learn"
        findings.error("classes too few", message)
    names = tuple(str(value) for value in range(num) if value not in ignored)
    lacking = [name for name in names if int(name) not in seen.values]
    shown = f" ({' '.join(lacking[:5])} in no mask)" if lacking else ""
    findings.add("note", f"masks hold class numbers 0 to {num - 1}{shown}; {IGNORE} is ignored")
    order = _order(len(names), ignored)
    return names, MaskCode(len(order), order=order, named=False, ignored=ignored, palette=seen.palette)


def _without(names: tuple[str, ...], code: MaskCode, ignore: int | str) -> tuple[tuple[str, ...], MaskCode]:
    """Remove the class `ignore` from named classes.

    Raises:
        UserError: there is no such class, or too few are left.
    """
    text = str(ignore).strip()
    numbers = [int(word) for word in text.replace(",", " ").split() if word.isdecimal()]
    colour = (numbers[0], numbers[1], numbers[2]) if len(numbers) == 3 and code.colours else None
    if text in names:
        number = names.index(text)
    elif colour is not None:
        colours = code.colours if colour in code.colours else (*code.colours, colour)
        number, code = colours.index(colour), replace(code, colours=colours)
    elif text.isdecimal() and int(text) <= IGNORE:
        number = int(text)
    else:
        known = ", ".join(names[:10])
        raise UserError(f"ignore is a class ({known}), its number, or with colours its R G B, got {ignore!r}")
    names = names[:number] + names[number + 1 :]
    if len(names) < 2 or code.binary:
        raise UserError(f"ignoring {ignore!r} leaves fewer than two classes")
    order = _order(len(names), (number,))
    return names, replace(code, num_values=len(order), order=order, ignored=(number,))


def _order(num_classes: int, ignored: Sequence[int]) -> tuple[int, ...]:
    """Return the class of each value: classes are numbered from 0, skipping ignored values."""
    order: list[int] = []
    while num_classes > sum(k != IGNORE for k in order):
        order.append(IGNORE if len(order) in ignored else sum(k != IGNORE for k in order))
    return tuple(order)


def _pairs(root: Folder, findings: Findings) -> Layout | None:
    found = side_by_side(root, *SIDES, findings)
    around = [root] if "" in found else [folder for split, folder in split_folders(root).items() if split in found]
    if not found or any(len(folder.folders) > 2 for folder in around if folder.child("A")):  # A to Z would be classes
        return None
    if not any(_stems(source) & _stems(target) for source, target in found.values()):
        if split_in_names(root, *SIDES):
            source, target = found["train"]
            raise UserError(
                f"no image in {source.path} has the name of one in {target.path}: translate learns from pairs of "
                "images with the same name; rename them if they belong together"
            )
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
    """Return a layout with these classes, in their order; they must include the folder's."""
    if len(set(map(nfc, classes))) < len(classes):
        raise UserError(f"classes {' '.join(classes)}: one is listed twice")
    if not layout.class_names:
        raise UserError(f"classes: {layout.kind} have none")
    code = layout.mask_code
    if code is not None and not code.named:  # masks hold plain numbers: class k gets the k-th name
        if len(classes) < len(layout.class_names):
            raise UserError(
                f"classes lists {len(classes)}, but the masks in {root.path} hold {len(layout.class_names)}: list "
                "them all"
            )
        values = _order(len(classes), code.ignored)
        code = code if code.binary else replace(code, num_values=len(values), order=values)
        return replace(layout, class_names=tuple(classes), mask_code=code)
    numbers = {nfc(name): number for number, name in enumerate(classes)}
    unknown = [name for name in layout.class_names if nfc(name) not in numbers]
    if unknown:
        raise UserError(
            f"{root.path} has the class {unknown[0]}, which --data.classes lacks ({' '.join(classes[:10])})"
            + ("; in a list [...], put a name with a comma in quotes" if "," in unknown[0] else "")
        )
    order = [numbers[nfc(name)] for name in layout.class_names]  # new number of each of the folder's classes
    if code is not None:
        own = code.order or tuple(range(code.num_values))
        code = replace(code, order=tuple(IGNORE if k == IGNORE else order[k] for k in own))
        return replace(layout, class_names=tuple(classes), mask_code=code)
    table = torch.tensor(order)
    splits = {}
    for split, listing in layout.splits.items():
        if listing.labels is not None:
            splits[split] = replace(listing, labels=table[listing.labels])
        else:
            assert listing.boxes is not None
            splits[split] = replace(listing, boxes=listing.boxes.with_column(4, table))
    return replace(layout, class_names=tuple(classes), splits=splits)
