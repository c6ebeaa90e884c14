"""Reading masks: files that say the class of each pixel, by a number, a palette or colours.

(H, W) is a size in pixels, K a number of classes.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from project.data.image_files import opened
from project.files import read_text
from project.machine import available_cores
from project.ops.segmentation import IGNORE

LOSSY = {".jpg", ".jpeg"}  # these change class numbers
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class MaskCode:
    """What the values in masks mean. `IGNORE` means no class, always but in black and white masks.

    Args:
        num_values: values 0 .. num_values - 1 are classes.
        colours: the colour of each value, for masks of colours.
        binary: black and white masks: 255 is the value 1.
        order: the class of each value, if not the value itself.
        named: whether somebody has given the values names.
    """

    num_values: int
    colours: tuple[Colour, ...] = ()
    binary: bool = False
    order: tuple[int, ...] = ()
    named: bool = True


def read_mask(path: Path, code: MaskCode) -> np.ndarray:
    """Return the classes (H, W) of uint8 that a mask says, in 0 .. K - 1 or `IGNORE`.

    Raises:
        ValueError: the file is no mask, or one with other classes; names it.
    """
    values = read_values(path, code.colours)
    if code.binary:
        values = np.where(values == IGNORE, 1, values)
    wrong = (values >= code.num_values) & (values != IGNORE)
    if wrong.any():
        raise ValueError(
            f"{path} holds the class {values[wrong].max()}, and there are {code.num_values}, from 0 to "
            f"{code.num_values - 1} ({IGNORE} is for no class): mend it, or add the class to classes.txt"
        )
    table = np.full(IGNORE + 1, IGNORE, np.uint8)
    table[: code.num_values] = code.order or range(code.num_values)
    return table[values]


def read_values(path: Path, colours: tuple[Colour, ...] = ()) -> np.ndarray:
    """Return the values (H, W) in a mask: its numbers, indices of its palette, or which of `colours` a pixel has.

    Raises:
        ValueError: the file is no mask; names it.
    """
    with opened(path) as file:
        mode = "RGB" if file.mode == "RGBA" else file.mode
        values = np.asarray(file.convert(mode))
    if mode == "RGB":
        values = _values_of_colours(values, path, colours)
    elif mode not in ("1", "L", "P") and not mode.startswith("I"):
        raise ValueError(f"{path} is no mask: those are grey, with a palette or RGB, and this is {mode}")
    if values.dtype == bool:
        return values.astype(np.uint8)
    if values.dtype != np.uint8 and (values.min() < 0 or values.max() > IGNORE):
        outside = values.min() if values.min() < 0 else values.max()
        raise ValueError(f"{path} holds the value {outside}: a mask's are from 0 to {IGNORE}")
    return values.astype(np.uint8)


def _values_of_colours(pixels: np.ndarray, path: Path, colours: tuple[Colour, ...]) -> np.ndarray:
    if not colours:
        raise ValueError(
            f"{path} is a mask of colours, and nothing says what they mean: give each class's in classes.txt beside "
            "the folders, as lines of NAME RED GREEN BLUE"
        )
    packed = _packed(pixels)
    known = _packed(np.array(colours))
    order = np.argsort(known)
    place = np.searchsorted(known[order], packed).clip(max=len(known) - 1)
    unknown = known[order][place] != packed
    if unknown.any():
        red, green, blue = pixels[unknown][0].tolist()
        raise ValueError(
            f"{path} has the colour {red} {green} {blue}, which is not in classes.txt: mend it, or add that"
        )
    return order[place]


def _packed(colours: np.ndarray) -> np.ndarray:
    """Make one number of each colour: (..., 3) -> (...)."""
    return colours.astype(np.int64) @ np.array([65536, 256, 1])


def values_in(paths: Iterable[Path], skip: bool = False) -> set[int]:
    """Return the values that occur in masks, all of which are read; with `skip` those that cannot be are passed over.

    Raises:
        ValueError: a file is no mask; names it.
    """

    def count(path: Path) -> np.ndarray:
        try:
            return np.bincount(read_values(path).ravel(), minlength=IGNORE + 1)
        except ValueError:
            if skip:
                return np.zeros(IGNORE + 1, np.int64)
            raise

    counts = np.zeros(IGNORE + 1, np.int64)
    with ThreadPoolExecutor(available_cores()) as pool:
        for found in pool.map(count, paths):
            counts += found
    return set(np.flatnonzero(counts).tolist())


def read_class_file(path: Path) -> tuple[tuple[str, ...], tuple[Colour, ...]]:
    """Return the names in a classes.txt, and their colours if it has them: lines of NAME or NAME RED GREEN BLUE.

    Raises:
        ValueError: it has no names, one twice, or colours for some only.
    """
    try:
        lines = read_text(path).rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as text ({error})") from error
    names, colours = [], []
    for line in lines:
        words = line.split()
        colour = words[-3:] if len(words) > 3 and all(w.isdecimal() and int(w) < 256 for w in words[-3:]) else []
        names.append(" ".join(words[: len(words) - len(colour)]))
        if colour:
            colours.append((int(colour[0]), int(colour[1]), int(colour[2])))
    if not names or not all(names):
        raise ValueError(f"{path} has {'an empty line' if names else 'no lines'}: one class a line was expected")
    for kind, found in (("class", names), ("colour", colours)):
        twice = next((one for i, one in enumerate(found) if one in found[:i]), None)
        if twice is not None:
            raise ValueError(f"{path} has the {kind} {twice} twice")
    if colours and len(colours) != len(names):
        raise ValueError(f"{path} gives colours to {len(colours)} of {len(names)} classes: give them to all, or none")
    if len(names) > IGNORE:
        raise ValueError(f"{path} has {len(names)} classes: a mask can tell {IGNORE} apart")
    return tuple(names), tuple(colours)
