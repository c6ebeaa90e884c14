"""Class folders: CLASS/*.jpg, with or without train/, val/ and test/ around the classes.

C channels, (H, W) size in pixels, K classes.
"""

from pathlib import Path

import numpy as np
import torch
from torchvision import tv_tensors

from engine.contract.errors import UserError
from engine.data.cache import Planes
from engine.data.samples import Sample, SampleSource, Size
from engine.files.listing import (
    SPLITS,
    Examined,
    Layout,
    Listing,
    data_set_within,
    is_data_set,
    natural_order,
    split_folders,
)
from engine.files.packed import Strings
from engine.files.single_images import SingleImages
from engine.inputs.folder import Findings, Folder, nfc, note_unread, what_is_read
from engine.inputs.image_files import Look

# Folder names that belong to other layouts.
NO_CLASSES = {"images", "jpegimages", "masks", "labels", "annotations", "segmentations", "groundtruth"}


def class_folders(root: Folder, findings: Findings) -> Layout | None:
    """Return the layout of a folder, or None if it has no folders of classes.

    Raises:
        UserError: it has, with a mistake.
    """
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
        if is_data_set(inner):
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
                within = data_set_within(root)
                message = f"class folder {inner.path} holds no images ({what_is_read(inner)}): fill it, or remove it"
                message += f", or give {within} if that is the data set" if within and folder is root else ""
                findings.error("class folders without images", message)
            images += own
            labels += [numbers[nfc(name)]] * len(own)
            note_unread([inner], findings)
        listings[split] = Listing(Path(root.path), Strings(images), labels=torch.tensor(labels, dtype=torch.int64))
    return ClassLayout("class folders", "classify", names, listings, findings)


class ClassLayout(Layout):
    """Images and the class of each."""

    def source(self, listing: Listing, channels: int, target_channels: int | None = None) -> SampleSource:
        return ClassFiles(listing, channels)

    def examine(self, listing: Listing, index: int, look: Look, one: Examined) -> None:
        assert listing.labels is not None
        one.amounts = np.bincount([int(listing.labels[index])], minlength=len(self.class_names))


class ClassFiles(SingleImages):
    """Images and their class numbers."""

    def __init__(self, listing: Listing, channels: int) -> None:
        super().__init__(listing, channels)
        assert listing.labels is not None
        self.labels = listing.labels

    def sample(self, index: int, planes: Planes, size: Size) -> Sample:
        return tv_tensors.Image(planes[0]), int(self.labels[index])
