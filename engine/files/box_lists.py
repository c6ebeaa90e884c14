"""Gathering boxes from annotations: mistakes are refused or left out, then boxes are clipped to their images.

(H, W) is a size in pixels; boxes are xyxy in pixels. N images, M boxes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from engine.contract.errors import UserError
from engine.files.listing import Listing
from engine.files.packed import Rows, Strings
from engine.inputs.folder import Findings
from engine.inputs.image_files import size_of

LARGEST_SIDE = 10**6  # pixels; a larger size is a mistake
WORTH_SAYING = 1.0  # pixels beyond the border; less may be rounding
FEWEST = 3  # boxes needed to tell corners from sizes
LOOKED_AT = 256  # images opened to see whether EXIF turns them
OUTSIDE = "boxes left out: they are outside their image"
EXCHANGED = "images of another size than their annotation says"
UNTOLD = (
    "images that EXIF turns or mirrors: it is unclear whether their boxes are for the upright image or for the pixels "
    "as stored; assumed upright"
)

Box = tuple[float, float, float, float]
# The four numbers of a box in an annotation; relative ones are in pixels by now, and cannot be mistaken for others.
Numbers = Literal["x0 y0 x1 y1", "x y width height", "relative"]


class BoxList:
    """Images with their boxes, added as annotations are read.

    Args:
        findings: gets what was left out or clipped.
        numbers: the format of a box in the annotations. `add` takes xyxy always.
    """

    def __init__(self, findings: Findings, numbers: Numbers = "x0 y0 x1 y1") -> None:
        self.findings = findings
        self.numbers = numbers
        self.images: list[str] = []
        self.sizes: list[tuple[int, int]] = []
        self.rows: list[list[tuple[Box, int]]] = []

    def add(self, image: str, size: tuple[int, int], boxes: Sequence[tuple[int, Box]]) -> None:
        """Add an image with its classes and boxes.

        Args:
            image: its name.
            size: (H, W) by the annotation, 0 if not stated.
            boxes: the class and the box, xyxy, of each object.

        Raises:
            UserError: no image can have that size.
        """
        if not all(0 <= side <= LARGEST_SIDE for side in size):
            raise UserError(f"image {image} is annotated as {size[1]} x {size[0]} pixels, which cannot be: correct it")
        rows = list(dict.fromkeys((box, kind) for kind, box in boxes))
        for _ in range(len(boxes) - len(rows)):
            self.findings.add("warning", "boxes listed twice with the same class: counted once", image)
        for _ in range(len(rows) - len({box for box, _ in rows})):
            self.findings.add("warning", "boxes listed with two classes, one of which may be wrong", image)
        self.images.append(image)
        self.sizes.append(size)
        self.rows.append(rows)

    def listing(self, root: Path, order: Sequence[int] | None = None) -> Listing:
        """Return the listing of all images; `order` maps each class number given to `add` to its final one.

        Raises:
            UserError: the boxes seem to be in the other format; or, if the findings are strict, an image's boxes are
                not in pixels, or its annotation exchanges width and height.
        """
        counts = np.array([len(rows) for rows in self.rows], dtype=np.int64)
        values = np.array([box for rows in self.rows for box, _ in rows], dtype=np.float64).reshape(-1, 4)
        kinds = np.array([kind for rows in self.rows for _, kind in rows], dtype=np.int64)
        sizes = np.array(self.sizes, dtype=np.int32).reshape(-1, 2)
        owners = np.repeat(np.arange(len(counts)), counts)  # (M,) the image of each box

        left_out = self._in_shares(values, owners, counts)
        left_out |= self._exchanged(root, values, owners, sizes)
        kept = ~left_out[owners]
        self._check_numbers(root, values[kept], sizes[owners[kept]])
        cut, fits = self._cut(values, owners, sizes, kept)
        owners = owners[fits]
        values, kinds = cut[fits], kinds[fits] if order is None else np.array(order, dtype=np.int64)[kinds[fits]]
        place = np.cumsum(~left_out) - 1  # index of each image among the kept ones
        rows = torch.from_numpy(np.column_stack([values, kinds]).astype(np.float32))
        boxes = Rows.of(rows, np.bincount(place[owners], minlength=int((~left_out).sum())))
        images = [image for image, out in zip(self.images, left_out, strict=True) if not out]
        listing = Listing(root, Strings(images), boxes=boxes, sizes=torch.from_numpy(sizes[~left_out]))
        self._note_turned(listing)
        return listing

    def _in_shares(self, values: np.ndarray, owners: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Return which images (N,) have boxes in 0..1, relative to the image's sides, instead of in pixels."""
        if self.numbers == "relative":
            return np.zeros(len(counts), dtype=bool)
        in_first_pixel = ((values >= 0) & (values <= 1)).all(axis=1)
        has_fraction = in_first_pixel & (values != values.round()).any(axis=1)
        num, fractions = (np.bincount(owners[which], minlength=len(counts)) for which in (in_first_pixel, has_fraction))
        shares = (counts > 0) & (num == counts) & (fractions > 0)
        for i in shares.nonzero()[0]:
            self.findings.error(
                "annotations with boxes from 0 to 1",
                f"the boxes of {self.images[i]} are from 0 to 1, relative to its sides: expected {self.numbers} in "
                "pixels; multiply them by width and height",
            )
        return shares

    def _exchanged(self, root: Path, values: np.ndarray, owners: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Return which images (N,) have width and height exchanged in their annotation; corrects `sizes` if it can.

        Suspect are boxes that fit the image only with its sides exchanged. Then the image is opened: if EXIF turns it,
        the boxes belong to the version that they fit, upright or as stored.
        """
        wrong = np.zeros(len(sizes), dtype=bool)
        far, turned = (_fits_into(values, owners, one) for one in (sizes, sizes[:, ::-1]))
        for i in (~far & turned & (sizes.min(axis=1, initial=LARGEST_SIDE) > 0)).nonzero()[0]:
            stated, other = tuple(sizes[i].tolist()), tuple(sizes[i, ::-1].tolist())
            try:
                upright, orientation = size_of(root / self.images[i])
            except ValueError:
                continue  # reading it later will report that
            if orientation >= 5 and upright in (stated, other):
                sizes[i] = other
                what = "annotations of images that EXIF turns: the size is of one orientation, the boxes fit the other"
                self.findings.add("warning", what, self.images[i])
            elif upright == other:
                wrong[i] = True
                self.findings.error(EXCHANGED, exchanged(root / self.images[i], upright, stated))
        return wrong

    def _check_numbers(self, root: Path, values: np.ndarray, sizes: np.ndarray) -> None:
        """Refuse boxes most of which are impossible, while all would be right in the other format.

        Raises:
            UserError: names both formats.
        """
        if self.numbers == "relative":
            return
        known = np.isfinite(values).all(axis=1) & (sizes > 0).all(axis=1)
        values, sizes = values[known], sizes[known]
        (x0, y0, x1, y1), other = values.T, "x y width height"
        meant = np.column_stack([x0, y0, x0 + x1, y0 + y1])
        if self.numbers == "x y width height":
            meant, other = np.column_stack([x0, y0, x1 - x0, y1 - y0]), "x0 y0 x1 y1"
        if len(values) < FEWEST or 2 * _fit(values, sizes).sum() >= len(values) or not _fit(meant, sizes).all():
            return
        bad = int((~_fit(values, sizes)).sum())
        raise UserError(
            f"{bad:,} of {len(values):,} boxes are outside their images or without area: their numbers seem to be "
            f"{other}, expected {self.numbers}; convert them"
        )

    def _cut(
        self, values: np.ndarray, owners: np.ndarray, sizes: np.ndarray, kept: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the boxes clipped to their images, and which of them (M,) are left."""
        sizes = np.where((sizes > 0).all(axis=1, keepdims=True), sizes, LARGEST_SIDE)[owners]
        are_numbers = np.isfinite(values).all(axis=1)
        has_area = (values[:, 2] > values[:, 0]) & (values[:, 3] > values[:, 1])
        cut = values.clip(0.0, sizes[:, [1, 0, 1, 0]])
        inside = (cut[:, 2] > cut[:, 0]) & (cut[:, 3] > cut[:, 1])
        with np.errstate(invalid="ignore"):
            shorter = (np.abs(cut - values) > WORTH_SAYING).any(axis=1)
        for what, which in (
            ("boxes left out: they are not finite numbers", ~are_numbers),
            ("boxes left out: they have no area", are_numbers & ~has_area),
            (OUTSIDE, are_numbers & has_area & ~inside),
            ("boxes clipped at the border of their image", are_numbers & has_area & inside & shorter),
        ):
            for i in owners[which & kept]:
                self.findings.add("warning", what, self.images[i])
        return cut, kept & are_numbers & has_area & inside

    def _note_turned(self, listing: Listing) -> None:
        """Warn if it is unclear which orientation an image's boxes are for; checks evenly spaced images."""
        assert listing.boxes is not None and listing.sizes is not None
        for i in range(0, len(listing), max(1, len(listing) // LOOKED_AT)):
            try:
                size, orientation = size_of(listing.image(i))
            except ValueError:
                continue  # reading it later will report that
            if is_as_stored(listing.sizes[i].tolist(), listing.boxes[i].numpy(), size, orientation) is None:
                self.findings.add("warning", UNTOLD)
                return


def is_as_stored(stated: Sequence[int], boxes: np.ndarray, size: Sequence[int], orientation: int) -> bool | None:
    """Whether boxes are for an image's pixels as stored, not for the upright image; None if that is unclear.

    Args:
        stated: (H, W) by the annotation, 0 if not stated.
        boxes: (M, 4) or more columns.
        size: (H, W) of the upright image.
        orientation: EXIF's number: how the stored pixels are turned or mirrored.
    """
    if orientation == 1 or not len(boxes):
        return False
    if orientation < 5 or size[0] == size[1]:
        return None  # both have the same size
    if min(stated) > 0:
        return tuple(stated) == (size[1], size[0])
    upright, stored = (bool(_fit(boxes, np.array([one])).all()) for one in (size, size[::-1]))
    return None if upright and stored else stored


def exchanged(path: Path, size: Sequence[int], stated: Sequence[int]) -> str:
    """Return the message for an image of `size` (H, W) whose annotation says `stated` (H, W)."""
    both = f"{path} is {size[1]} x {size[0]} pixels, but its annotation is for {stated[1]} x {stated[0]}"
    if tuple(stated) == (size[1], size[0]):
        return f"{both}: width and height are exchanged there, or the image was turned afterwards; correct it"
    return f"{both}: correct the annotation, or take the image out"


def _fits_into(values: np.ndarray, owners: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return which images (N,) of these sizes (N, 2) contain all their boxes."""
    outside = ~_fit(values, sizes[owners])
    return np.bincount(owners[outside], minlength=len(sizes)) == 0


def _fit(values: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return which boxes (M,) have an area and lie within images of `sizes` (M, 2), up to rounding."""
    with np.errstate(invalid="ignore"):
        within = (values[:, :2] >= -WORTH_SAYING) & (values[:, 2:4] <= sizes[:, ::-1] + WORTH_SAYING)
        return np.asarray((within & (values[:, 2:4] > values[:, :2])).all(axis=1))
