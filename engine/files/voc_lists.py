"""Pascal VOC's lists of images: ImageSets/Main/train.txt for boxes, ImageSets/Segmentation/train.txt for masks, ..."""

import os
import re
from collections.abc import Collection
from pathlib import Path

from engine.inputs.folder import Folder, nfc
from engine.inputs.image_files import SUFFIXES
from engine.inputs.reading import read_text

XML = {".xml"}
MORE_IN_LINE = re.compile(r"\s+(-1|0|1|\S*/\S*)$")  # after an image's name in a list: a class flag or a mask's path


def read_lists(root: Folder, name: str) -> dict[str, list[str]]:
    """Return the lines of the lists in ImageSets/NAME by split, `name` in lower case.

    Without a train.txt, trainval minus val is for training.
    """
    folder = root.child("imagesets")
    folder = folder.child(name) if folder is not None else None
    found = {}
    for split, names in (("train", ("train", "trainval")), ("val", ("val",)), ("test", ("test",))):
        for file in (f"{own}.txt" for own in names):
            if folder is not None and file in folder.files and split not in found:
                text = read_text(Path(folder.path) / file, errors="surrogateescape")
                found[split] = [line.strip() for line in text.splitlines() if line.strip()]
    if folder is not None and "train.txt" not in folder.files and {"train", "val"} <= found.keys():
        found["train"] = [stem for stem in found["train"] if stem not in set(found["val"])]
    return found


def stem_of(line: str, known: Collection[str]) -> str:
    """Return the known stem that a line of a list means, or the line itself if there is none.

    A line is an image's stem, name or path; a flag or a mask's path may follow.
    """
    for text in (line, MORE_IN_LINE.sub("", line)):
        name = nfc(text.replace("\\", "/").strip("/"))
        stem, suffix = os.path.splitext(name)
        for path in (name, stem) if suffix.lower() in SUFFIXES | XML else (name,):
            parts = path.split("/")
            for i in range(len(parts)):  # a path may begin above the folder of the images
                if "/".join(parts[i:]) in known:
                    return "/".join(parts[i:])
    return nfc(line)
