"""Pairs of images: A/ and B/, trainA/ and trainB/, or files with two images side by side.

C channels, (H, W) size in pixels.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torchvision import tv_tensors

from engine.contract.errors import UserError
from engine.data.cache import Planes, Spec
from engine.data.samples import Sample, SampleSource, Size
from engine.files.listing import Examined, Layout, Listing, partners, side_by_side, split_folders, split_in_names
from engine.files.packed import Strings
from engine.inputs.folder import Findings, Folder, nfc
from engine.inputs.image_files import (
    SUFFIXES,
    Look,
    letterbox_image,
    opened,
    read_halves,
    read_image,
    read_letterboxed,
    wide_by_high,
)

SIDES = (("A",), ("B",))
LOOKED_AT = 5  # images opened to see whether they are two side by side
TWICE_AS_WIDE = (1.6, 2.5)  # the proportions of two images side by side that are roughly square
ALIKE = 0.02  # largest relative difference between the proportions of a pair
SMALL = (16, 16)  # size to which pairs are letterboxed, only to see whether that works


def pairs_by_name(root: Folder, findings: Findings) -> Layout | None:
    """Return the layout of a folder, or None if it has no trainA/ and trainB/.

    Raises:
        UserError: it has, and no image has a counterpart.
    """
    return _pairs(root, findings) if split_in_names(root, *SIDES) else None


def pair_folders(root: Folder, findings: Findings) -> Layout | None:
    """Return the layout of a folder, or None if it has no A/ and B/ with images of the same names."""
    return None if split_in_names(root, *SIDES) else _pairs(root, findings)


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
    return PairLayout("pairs of images in A and B", "translate", (), listings, findings)


def _stems(folder: Folder) -> set[str]:
    return {nfc(os.path.splitext(name)[0]) for name in folder.below()}


def joined_pairs(root: Folder, findings: Findings) -> Layout | None:
    """Return the layout of a folder, or None if its images are not about twice as wide as high."""
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
    return PairLayout("pairs of images side by side", "translate", (), listings, findings)


class PairLayout(Layout):
    """Images and a target image of each."""

    def source(self, listing: Listing, channels: int, target_channels: int | None = None) -> SampleSource:
        return PairFiles(listing, channels, target_channels or channels)

    def size_of(self, listing: Listing, index: int) -> tuple[int, int]:
        height, width = super().size_of(listing, index)
        return (height, width) if listing.partners is not None else (height, width // 2)

    def examine(self, listing: Listing, index: int, look: Look, one: Examined) -> None:
        one.what = "pairs with an unreadable image, or of different proportions"
        self.source(listing, channels=3).read(index, SMALL)


class PairFiles:
    """Images and their target images: a file of its own, or the right half of the same file.

    Args:
        listing: the files, with partners if targets are files.
        channels: 1 for grey images, 3 for colour.
        target_channels: the same for targets.
    """

    def __init__(self, listing: Listing, channels: int, target_channels: int) -> None:
        self.listing = listing
        self.channels = channels
        self.target_channels = target_channels

    def __len__(self) -> int:
        return len(self.listing)

    def specs(self, size: Size) -> list[Spec]:
        return [((channels, *size), torch.uint8) for channels in (self.channels, self.target_channels)]

    def read(self, index: int, size: Size) -> Planes:
        path = self.listing.image(index)
        if self.listing.partners is None:
            return [letterbox_image(half, size) for half in read_halves(path, (self.channels, self.target_channels))]
        source = read_letterboxed(path, self.channels, size)
        target = read_image(self.listing.partner(index), self.target_channels)
        self.check_sizes(index, source.size, (target.height, target.width))
        return [source.pixels, letterbox_image(target, size, source.size)]

    def check_sizes(self, index: int, source: Sequence[int], target: Sequence[int]) -> None:
        """Refuse a pair of images of different proportions, by their (H, W).

        Raises:
            UserError: the proportions differ; names both files.
        """
        if abs(source[1] / source[0] / (target[1] / target[0]) - 1) > ALIKE:
            raise UserError(
                f"{self.listing.partner(index)} is {wide_by_high(target)} pixels and {self.listing.image(index)} is "
                f"{wide_by_high(source)}: a pair has the same proportions"
            )

    def sample(self, index: int, planes: Planes, size: Size) -> Sample:
        return tv_tensors.Image(planes[0]), tv_tensors.Image(planes[1])
