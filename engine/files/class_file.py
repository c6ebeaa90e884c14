"""classes.txt: the names of the classes, one per line, with or without their colours; or labelmap.txt with both."""

from collections import Counter
from pathlib import Path

from engine.contract.errors import UserError
from engine.inputs.reading import read_text

CLASSES = "classes.txt"
LABEL_MAP = "labelmap.txt"
Colour = tuple[int, int, int]


def read_class_file(path: Path) -> tuple[tuple[str, ...], tuple[Colour, ...]]:
    """Return the class names in a classes.txt, and their colours, if any: lines of NAME or NAME RED GREEN BLUE.

    In a labelmap.txt, as CVAT writes it, lines are NAME:RED,GREEN,BLUE:PARTS:ACTIONS, and # begins a comment.

    Raises:
        UserError: it has no names, an empty line, a name or colour twice, or colours for only some classes.
    """
    try:
        lines = read_text(path).rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as text ({error})") from error
    names, colours = [], []
    for line in lines:
        if path.name == LABEL_MAP:
            if line.startswith("#") or not line.strip():
                continue
            name, _, rest = line.partition(":")
            line = f"{name} {rest.partition(':')[0].replace(',', ' ')}"
        words = line.split()
        colour = words[-3:] if len(words) > 3 and all(w.isdecimal() and int(w) < 256 for w in words[-3:]) else []
        names.append(" ".join(words[: len(words) - len(colour)]))
        if colour:
            colours.append((int(colour[0]), int(colour[1]), int(colour[2])))
    if not names or not all(names):
        raise UserError(f"{path} has {'an empty line' if names else 'no lines'}: expected one class per line")
    for kind, found in (("class", names), ("colour", colours)):
        twice, count = Counter(found).most_common(1)[0] if found else ("", 0)
        if count > 1:
            raise UserError(f"{path} has the {kind} {twice} twice")
    if colours and len(colours) != len(names):
        raise UserError(f"{path} gives colours to {len(colours)} of {len(names)} classes: give them to all or to none")
    return tuple(names), tuple(colours)
