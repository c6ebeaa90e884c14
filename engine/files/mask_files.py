"""Reading masks: files that give each pixel's class as a number, by a palette or as a colour.

(H, W) is a size in pixels, K a number of classes.
"""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from engine.contract.errors import UserError
from engine.files.class_file import Colour
from engine.inputs.image_files import opened
from engine.inputs.letterbox import IGNORE
from engine.machine import available_cores

LOSSY = {".jpg", ".jpeg", ".jpe", ".jfif"}  # compression that changes class numbers
WHITE_16 = 65535  # 255 in 16 bits
SOLID = 0.2  # smallest share of a class's pixels that start a 2 x 2 block of that class; fewer look like soft edges
FEW_THIN = 5  # so many such classes are no sign of soft edges yet
NEARLY_WHITE = 240
SHOWN = 6  # values or colours that an error lists
JPEG = "which changes class numbers: store masks as PNG; black and white ones after a threshold"


@dataclass(frozen=True)
class MaskCode:
    """The meaning of values in masks. `IGNORE` (255) means no class, except in black and white masks.

    Args:
        num_values: values 0 .. num_values - 1 are valid.
        colours: the colour of each value; if given, all masks are read by colour, with palettes too.
        binary: masks are black and white: 255 is the value 1.
        order: the class of each value, or IGNORE; empty if each value is its class.
        named: whether the user has given the values names.
        ignored: further values that mean no class.
        palette: without `colours`, the colour of each number, which all palettes must share.
    """

    num_values: int
    colours: tuple[Colour, ...] = ()
    binary: bool = False
    order: tuple[int, ...] = ()
    named: bool = True
    ignored: tuple[int, ...] = ()
    palette: Mapping[int, Colour] = field(default_factory=dict)


@dataclass(frozen=True)
class Pixels:
    """A mask as stored in its file.

    Args:
        values: numbers (H, W), or colours (H, W, 3).
        palette: the colour of each number that occurs, if the file has a palette.
        two_tone: whether the file has one bit per pixel: 0 is black, 1 is white.
    """

    values: np.ndarray
    palette: Mapping[int, Colour] = field(default_factory=dict)
    two_tone: bool = False


def read_mask(path: Path, code: MaskCode) -> np.ndarray:
    """Return a mask's classes (H, W), uint8 in 0 .. K - 1 or `IGNORE`.

    Raises:
        UserError: the file is not a mask, or has other classes; names it.
    """
    pixels = read_pixels(path)
    if code.colours:
        values = _values_by_colour(pixels, path, code.colours)
    else:
        values = _numbers(pixels, path)
        check_palette(pixels.palette, code.palette, path)
    if code.binary:
        values = np.where(values == IGNORE, 1, values)
    if code.ignored:
        values = np.where(np.isin(values, code.ignored), IGNORE, values)
    wrong = (values >= code.num_values) & (values != IGNORE)
    if wrong.any():
        raise UserError(
            f"{path} holds the class {values[wrong].max()}, but there are {code.num_values}, from 0 to "
            f"{code.num_values - 1} ({IGNORE} is for no class): correct it, or add the class to classes.txt"
        )
    table = np.full(IGNORE + 1, IGNORE, np.uint8)
    table[: code.num_values] = code.order or range(code.num_values)
    return table[values]


def read_pixels(path: Path) -> Pixels:
    """Return the content of a mask's file.

    Raises:
        UserError: the file is not a mask; names it.
    """
    with opened(path) as file:
        kind, mode, values = file.format, file.mode, np.asarray(file)
        palette = file.getpalette("RGB") if mode in ("P", "PA") else None
    if kind in ("JPEG", "MPO"):
        raise UserError(f"{path} is a mask stored as JPEG, {JPEG}")
    if mode in ("RGBA", "LA", "PA"):
        alpha = values[..., -1]
        if alpha.min() != alpha.max():
            raise UserError(f"{path} is transparent in parts, which has no meaning in a mask: flatten it")
        values = values[..., :3] if mode == "RGBA" else values[..., 0]
    elif mode not in ("1", "L", "P", "RGB") and not mode.startswith("I"):
        raise UserError(f"{path} is not a mask: expected grey, a palette or RGB, got mode {mode}")
    if values.ndim == 3 or values.dtype in (bool, np.uint8):
        known = _colours_used(values, palette) if palette else {}
        return Pixels(values.astype(np.uint8), known, two_tone=values.dtype == bool)
    values = np.where(values == WHITE_16, IGNORE, values)
    if values.min() < 0 or values.max() > IGNORE:
        outside = values.min() if values.min() < 0 else values.max()
        raise UserError(f"{path} holds the value {outside}: a mask's values are from 0 to {IGNORE}")
    return Pixels(values.astype(np.uint8))


def _colours_used(values: np.ndarray, palette: list[int]) -> dict[int, Colour]:
    """Return the colour of each number in `values` (H, W); {} for a ramp of greys, which adds no information."""
    occurs = np.zeros(IGNORE + 1, bool)
    occurs[values] = True
    colours = np.array(palette).reshape(-1, 3)
    numbers = np.flatnonzero(occurs[: len(colours)])
    if (colours[numbers] == numbers[:, None]).all():
        return {}
    return {
        k: (red, green, blue) for k, (red, green, blue) in zip(numbers.tolist(), colours[numbers].tolist(), strict=True)
    }


def _numbers(pixels: Pixels, path: Path) -> np.ndarray:
    """Return a mask's numbers (H, W); grey may be stored as three equal channels."""
    values = pixels.values
    if values.ndim == 2:
        return values
    if (values[..., :1] != values).any():
        found = np.unique(values.reshape(-1, 3), axis=0)[:SHOWN]
        raise UserError(
            f"{path} is a mask of colours ({', '.join(map(_text, found))}) of unknown "
            "meaning: list the classes' colours in classes.txt beside the folders, in lines of NAME RED GREEN BLUE"
        )
    return values[..., 0]


def _values_by_colour(pixels: Pixels, path: Path, colours: tuple[Colour, ...]) -> np.ndarray:
    """Return the index (H, W) of each pixel's colour in `colours`."""
    values = pixels.values
    if values.ndim == 3:
        return _places(values, path, colours)
    if pixels.palette:
        known = {k: colour for k, colour in pixels.palette.items() if k != IGNORE or colour in colours}
        table = np.full(IGNORE + 1, IGNORE)
        table[list(known)] = _places(np.array([*known.values()]).reshape(-1, 3), path, colours)
        lacking = values[(table[values] == IGNORE) & (values != IGNORE)]
        if lacking.size:
            raise UserError(f"{path} holds the number {lacking[0]}, which has no colour in its palette")
        return table[values]
    greys = values * np.uint8(IGNORE) if pixels.two_tone else values
    of_grey = {red: k for k, (red, green, blue) in enumerate(colours) if red == green == blue}
    if set(np.unique(greys).tolist()) <= of_grey.keys():
        table = np.zeros(IGNORE + 1, np.int64)
        table[list(of_grey)] = list(of_grey.values())
        return table[greys]
    doubtful = [v for v in np.unique(values).tolist() if of_grey.get(v, v) != v and v < len(colours)]
    if doubtful:
        raise UserError(
            f"{path} is grey, and {doubtful[0]} may be the number of one class or the colour of another in "
            "classes.txt: store it in colours"
        )
    return values


def _places(pixels: np.ndarray, path: Path, colours: tuple[Colour, ...]) -> np.ndarray:
    """Return the index in `colours` of each colour: (..., 3) -> (...)."""
    packed = _packed(pixels)
    known = _packed(np.array(colours))
    order = np.argsort(known)
    place = np.searchsorted(known[order], packed).clip(max=len(known) - 1)
    unknown = known[order][place] != packed
    if unknown.any():
        others = len(np.unique(packed[unknown])) - 1
        more = f" (and {others} more: were its edges softened?)" if others else ""
        raise UserError(
            f"{path} has the colour {_text(pixels[unknown][0])}, which is not in classes.txt{more}: correct the mask, "
            "or add the colour"
        )
    return order[place]


def _packed(colours: np.ndarray) -> np.ndarray:
    """Pack each colour into one number: (..., 3) -> (...)."""
    return colours.astype(np.int64) @ np.array([65536, 256, 1])


def check_palette(own: Mapping[int, Colour], others: Mapping[int, Colour], path: Path) -> None:
    """Refuse a palette that contradicts those of other files: another colour for a number, or the reverse.

    Raises:
        UserError: names the file, the number and the colours.
    """
    for number, colour in own.items():
        if others.get(number, colour) != colour:
            differs = f"number {number} has the colour {_text(colour)}, but {_text(others[number])} in other masks"
        elif number not in others and colour in others.values():
            differs = f"number {number} has the colour {_text(colour)}, which has another number in other masks"
        else:
            continue
        raise UserError(
            f"{path} has a different palette ({differs}): list the classes' colours in classes.txt beside the "
            "folders, in lines of NAME RED GREEN BLUE"
        )


def _text(colour: Iterable[int]) -> str:
    return " ".join(str(int(value)) for value in colour)


@dataclass
class Survey:
    """The numbers that occur in masks.

    Args:
        counts: (256,) pixels of each number.
        solid: (256,) those that start a 2 x 2 block of their number.
        white_is_one: whether every 1 is the white of a file with one bit per pixel.
        palette: the colour of each number, by the files' palettes.
        first: the first file that holds each number.
    """

    counts: np.ndarray = field(default_factory=lambda: np.zeros(IGNORE + 1, np.int64))
    solid: np.ndarray = field(default_factory=lambda: np.zeros(IGNORE + 1, np.int64))
    white_is_one: bool = True
    palette: dict[int, Colour] = field(default_factory=dict)
    first: dict[int, Path] = field(default_factory=dict)

    @property
    def values(self) -> set[int]:
        """The numbers that occur."""
        return set(self.first)

    @property
    def is_black_and_white(self) -> bool:
        """Whether all pixels are black or white: 0 and 255, or 1 in files with one bit per pixel."""
        return (
            self.values <= {0, 1, IGNORE}
            and self.values > {0}
            and IGNORE in self.values
            and (1 not in self.values or self.white_is_one)
        )

    def without(self, number: int) -> "Survey":
        """Return the survey without a number."""
        counts = self.counts.copy()
        counts[number] = 0
        return replace(self, counts=counts, first={k: path for k, path in self.first.items() if k != number})

    def fault(self, root: str, num_named: int = 0) -> str:
        """Return why the numbers cannot be classes, '' if they can; `num_named` of them have names."""
        values = sorted(self.values - {IGNORE})
        if self.values == {IGNORE}:
            return f"the masks in {root} hold only {IGNORE}, which is for no class: there is nothing to learn"
        if not values or values[-1] < max(num_named, 3):
            return ""
        thin = [v for v in values[1:] if self.solid[v] < SOLID * self.counts[v]]
        soft = len(thin) > FEW_THIN and len(thin) > len(values) / 2
        if not soft and (num_named or values[-1] + 1 <= 2 * len(values)):
            return ""
        shown = " ".join(map(str, values[:SHOWN])) + (f" ... {values[-1]}" if len(values) > SHOWN else "")
        path = self.first[thin[0] if thin else values[1] if len(values) > 1 else values[0]]
        if (
            self.counts[0] + self.counts[IGNORE] > self.counts.sum() / 2
            and max(self.values) > NEARLY_WHITE
            and len(values) > 2
        ):
            return (
                f"the masks in {root} are black and white with soft edges ({len(values) - 1} greys between, first in "
                f"{path}): apply a threshold, so that only 0 and {IGNORE} are left"
            )
        return (
            f"the masks in {root} hold the numbers {shown}, first in {path}: classes are numbered from 0 without gaps; "
            "renumber them, or list the class of each grey v in classes.txt, in lines of NAME v v v"
        )


def survey(paths: Iterable[Path], skip: bool = False, palettes: bool = True) -> Survey:
    """Read all masks and return the numbers in them.

    Args:
        paths: the masks.
        skip: pass over files that cannot be read.
        palettes: compare palettes.

    Raises:
        UserError: a file is not a mask and `skip` is false, or its palette contradicts another's; names it.
    """
    found = Survey()
    for path, own, pixels in _read_all(paths, skip):
        occur = np.flatnonzero(own.counts).tolist()
        found.counts += own.counts
        found.solid += own.solid
        found.white_is_one &= pixels.two_tone or 1 not in occur
        for value in occur:
            found.first.setdefault(value, path)
        if palettes:
            check_palette(pixels.palette, found.palette, path)
        found.palette = {**pixels.palette, **found.palette}
    return found


def _read_all(paths: Iterable[Path], skip: bool) -> Iterator[tuple[Path, Survey, Pixels]]:
    def read(path: Path) -> tuple[Path, Survey, Pixels] | None:
        try:
            pixels = read_pixels(path)
            values = _numbers(pixels, path)
        except ValueError:
            if skip:
                return None
            raise
        same = values[:-1, :-1]
        same = same[(same == values[1:, :-1]) & (same == values[:-1, 1:]) & (same == values[1:, 1:])]
        counts, solid = (np.bincount(v.ravel(), minlength=IGNORE + 1) for v in (values, same))
        return path, Survey(counts, solid), Pixels(np.empty(0), pixels.palette, pixels.two_tone)

    with ThreadPoolExecutor(available_cores()) as pool:
        yield from (one for one in pool.map(read, paths) if one is not None)
