"""Reading masks: files that say the class of each pixel, by a number, a palette or colours.

(H, W) is a size in pixels, K a number of classes.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from engine.contract.errors import UserError
from engine.inputs.image_files import opened
from engine.inputs.letterbox import IGNORE
from engine.inputs.reading import read_text
from engine.machine import available_cores

LOSSY = {".jpg", ".jpeg", ".jpe", ".jfif"}  # these change class numbers
WHITE_16 = 65535  # of 16 bits, what 255 is of 8
SOLID = 0.2  # the least share of a class's pixels within 2 x 2 pixels of the same class
FEW_THIN = 5  # classes whose pixels all lie apart, which is no sign of softened edges yet
NEARLY_WHITE = 240
SHOWN = 6  # values or colours that an error names
JPEG = "which changes class numbers: store masks as PNG; black and white ones after a threshold"
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class MaskCode:
    """What the values in masks mean. `IGNORE` means no class, always but in black and white masks.

    Args:
        num_values: values 0 .. num_values - 1 have a meaning.
        colours: the colour of each value, by which masks are read then, those of a palette, too.
        binary: black and white masks: 255 is the value 1.
        order: the class of each value, or IGNORE, if not the value itself.
        named: whether somebody has given the values names.
        ignored: further values that mean no class.
        palette: without colours, the colour that palettes give a number, which has to be the same in all of them.
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
    """A mask as its file has it.

    Args:
        values: (H, W) of numbers, or (H, W, 3) of colours.
        palette: the colour of each number that occurs, for a file with a palette.
        two_tone: whether the file has one bit a pixel, whose numbers 0 and 1 are black and white.
    """

    values: np.ndarray
    palette: Mapping[int, Colour] = field(default_factory=dict)
    two_tone: bool = False


def read_mask(path: Path, code: MaskCode) -> np.ndarray:
    """Return the classes (H, W) of uint8 that a mask says, in 0 .. K - 1 or `IGNORE`.

    Raises:
        UserError: the file is no mask, or one with other classes; names it.
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
            f"{path} holds the class {values[wrong].max()}, and there are {code.num_values}, from 0 to "
            f"{code.num_values - 1} ({IGNORE} is for no class): mend it, or add the class to classes.txt"
        )
    table = np.full(IGNORE + 1, IGNORE, np.uint8)
    table[: code.num_values] = code.order or range(code.num_values)
    return table[values]


def read_pixels(path: Path) -> Pixels:
    """Return what is in a mask's file.

    Raises:
        UserError: the file is no mask; names it.
    """
    with opened(path) as file:
        kind, mode, values = file.format, file.mode, np.asarray(file)
        palette = file.getpalette("RGB") if mode in ("P", "PA") else None
    if kind in ("JPEG", "MPO"):
        raise UserError(f"{path} is a mask stored as JPEG, {JPEG}")
    if mode in ("RGBA", "LA", "PA"):
        alpha = values[..., -1]
        if alpha.min() != alpha.max():
            raise UserError(f"{path} is transparent in parts, and what that means is not known: flatten the mask")
        values = values[..., :3] if mode == "RGBA" else values[..., 0]
    elif mode not in ("1", "L", "P", "RGB") and not mode.startswith("I"):
        raise UserError(f"{path} is no mask: those are grey, with a palette or RGB, and this is {mode}")
    if values.ndim == 3 or values.dtype in (bool, np.uint8):
        known = _colours_used(values, palette) if palette else {}
        return Pixels(values.astype(np.uint8), known, two_tone=values.dtype == bool)
    values = np.where(values == WHITE_16, IGNORE, values)
    if values.min() < 0 or values.max() > IGNORE:
        outside = values.min() if values.min() < 0 else values.max()
        raise UserError(f"{path} holds the value {outside}: a mask's are from 0 to {IGNORE}")
    return Pixels(values.astype(np.uint8))


def _colours_used(values: np.ndarray, palette: list[int]) -> dict[int, Colour]:
    """Return the colour of each number (H, W) that occurs; nothing for a ramp of greys, which says no more."""
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
    """Return the numbers (H, W) in a mask; grey may be stored as three equal channels."""
    values = pixels.values
    if values.ndim == 2:
        return values
    if (values[..., :1] != values).any():
        found = np.unique(values.reshape(-1, 3), axis=0)[:SHOWN]
        raise UserError(
            f"{path} is a mask of colours ({', '.join(map(_text, found))}), and nothing "
            "says what they mean: give each class's in classes.txt beside the folders, as lines of NAME RED GREEN BLUE"
        )
    return values[..., 0]


def _values_by_colour(pixels: Pixels, path: Path, colours: tuple[Colour, ...]) -> np.ndarray:
    """Return which of `colours` each pixel has (H, W)."""
    values = pixels.values
    if values.ndim == 3:
        return _places(values, path, colours)
    if pixels.palette:
        known = {k: colour for k, colour in pixels.palette.items() if k != IGNORE or colour in colours}
        table = np.full(IGNORE + 1, IGNORE)
        table[list(known)] = _places(np.array([*known.values()]).reshape(-1, 3), path, colours)
        lacking = values[(table[values] == IGNORE) & (values != IGNORE)]
        if lacking.size:
            raise UserError(f"{path} holds the number {lacking[0]}, which its palette gives no colour")
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
            f"{path} is grey, and {doubtful[0]} can be the number of a class or the colour of another in classes.txt: "
            "store it in colours"
        )
    return values


def _places(pixels: np.ndarray, path: Path, colours: tuple[Colour, ...]) -> np.ndarray:
    """Return the place in `colours` of each colour (..., 3) -> (...)."""
    packed = _packed(pixels)
    known = _packed(np.array(colours))
    order = np.argsort(known)
    place = np.searchsorted(known[order], packed).clip(max=len(known) - 1)
    unknown = known[order][place] != packed
    if unknown.any():
        others = len(np.unique(packed[unknown])) - 1
        more = f" (and {others} more: were its edges softened?)" if others else ""
        raise UserError(
            f"{path} has the colour {_text(pixels[unknown][0])}, which is not in classes.txt{more}: mend it, or add "
            "that"
        )
    return order[place]


def _packed(colours: np.ndarray) -> np.ndarray:
    """Make one number of each colour: (..., 3) -> (...)."""
    return colours.astype(np.int64) @ np.array([65536, 256, 1])


def check_palette(own: Mapping[int, Colour], others: Mapping[int, Colour], path: Path) -> None:
    """Refuse a palette by which a number has another colour than in other files, or a colour another number.

    Raises:
        UserError: names the file, the number and the colours.
    """
    for number, colour in own.items():
        if others.get(number, colour) != colour:
            differs = f"number {number} has the colour {_text(colour)}, and {_text(others[number])} in other masks"
        elif number not in others and colour in others.values():
            differs = f"number {number} has the colour {_text(colour)}, which has another number in other masks"
        else:
            continue
        raise UserError(
            f"{path} has a palette of its own ({differs}): say what colours mean, in classes.txt beside the folders, "
            "as lines of NAME RED GREEN BLUE"
        )


def _text(colour: Iterable[int]) -> str:
    return " ".join(str(int(value)) for value in colour)


@dataclass
class Survey:
    """The numbers that occur in masks.

    Args:
        counts: (256,) how many pixels have each number.
        solid: (256,) how many of them are the first of 2 x 2 pixels of that number.
        white_is_one: whether each 1 is the white of a file of one bit a pixel.
        palette: the colours that palettes give the numbers.
        first: for each number the first file that holds it.
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
        """Whether there is nothing but black and white, 0 and 255, or 1 in files of one bit a pixel."""
        return (
            self.values <= {0, 1, IGNORE}
            and self.values > {0}
            and IGNORE in self.values
            and (1 not in self.values or self.white_is_one)
        )

    def without(self, number: int) -> "Survey":
        """Return a survey that has not seen a number."""
        counts = self.counts.copy()
        counts[number] = 0
        return replace(self, counts=counts, first={k: path for k, path in self.first.items() if k != number})

    def fault(self, root: str, num_named: int = 0) -> str:
        """Return why the numbers cannot be those of classes, '' if they can; `num_named` of these have names."""
        values = sorted(self.values - {IGNORE})
        if self.values == {IGNORE}:
            return f"the masks in {root} hold {IGNORE} alone, which is for no class: there is nothing to learn"
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
                f"{path}): store them with 0 and {IGNORE} alone, as a threshold gives them"
            )
        return (
            f"the masks in {root} hold the numbers {shown}, first in {path}: those of classes follow one another from "
            "0; renumber them, or name in classes.txt what each grey v stands for, as lines of NAME v v v"
        )


def survey(paths: Iterable[Path], skip: bool = False, palettes: bool = True) -> Survey:
    """Return the numbers that occur in masks, all of which are read; with `skip` those that cannot be are passed over.

    `palettes`: whether these are compared.

    Raises:
        UserError: a file is no mask, or has another palette than others; names it.
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


def read_class_file(path: Path) -> tuple[tuple[str, ...], tuple[Colour, ...]]:
    """Return the names in a classes.txt, and their colours if it has them: lines of NAME or NAME RED GREEN BLUE.

    Raises:
        UserError: it has no names, one twice, or colours for some only.
    """
    try:
        lines = read_text(path).rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as text ({error})") from error
    names, colours = [], []
    for line in lines:
        words = line.split()
        colour = words[-3:] if len(words) > 3 and all(w.isdecimal() and int(w) < 256 for w in words[-3:]) else []
        names.append(" ".join(words[: len(words) - len(colour)]))
        if colour:
            colours.append((int(colour[0]), int(colour[1]), int(colour[2])))
    if not names or not all(names):
        raise UserError(f"{path} has {'an empty line' if names else 'no lines'}: one class a line was expected")
    for kind, found in (("class", names), ("colour", colours)):
        twice, count = Counter(found).most_common(1)[0] if found else ("", 0)
        if count > 1:
            raise UserError(f"{path} has the {kind} {twice} twice")
    if colours and len(colours) != len(names):
        raise UserError(f"{path} gives colours to {len(colours)} of {len(names)} classes: give them to all, or none")
    return tuple(names), tuple(colours)
