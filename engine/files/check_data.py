"""The work of scripts/check_data.py: report the content of a folder of images, and its mistakes."""

import shlex
import statistics
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from engine.config.arguments import check_data_arguments
from engine.config.options import default_task
from engine.contract.errors import UserError
from engine.contract.parts import own_data, parts
from engine.contract.registry import look_up
from engine.errors import RunError, UsageError
from engine.files.checks import Checked, check_folder
from engine.files.folders import FolderDataModule, told_by_side
from engine.files.listing import Layout
from engine.inputs.folder import Finding
from engine.terminal import say, script_command

WIDTH = 80
SMALL = 160  # pixels; for larger images the suggested command keeps the default image size
GREY = {"1", "L", "LA", "I", "F", "I;16", "I;16B"}  # Pillow's modes without colours
SHOWN_CLASSES = 40
NAME_WIDTH = 20  # of a class


def main(arguments: list[str]) -> None:
    """Print a folder's layout, a table of its classes, the findings, and a command that trains on it.

    Raises:
        UsageError: the command line is wrong, or there is no such folder.
        RunError: training would fail: the layout is unknown, or a finding is an error.
    """
    given = check_data_arguments(arguments)
    path = Path(given.path).expanduser()
    if not path.is_dir():
        raise UsageError(f"there is no folder {path}")
    try:
        if own_data(path) is not FolderDataModule:  # IDX files, for example: there are no image files to check
            data = own_data(path)(path=str(path))
            data.setup("fit")
            say(f"{data.describe()}; {len(data.class_names)} classes, {data.input}, for --task {data.tasks[0]}")
            return
        task = None if given.task is None else look_up("task", given.task, parts().tasks).takes
        classes = None if given.classes is None else given.classes.split(",")
        checked = check_folder(path, given.ignore, given.labels, task, classes)
    except UserError as error:
        raise RunError(str(error)) from error
    for line in report(checked):
        say(line.rstrip())
    errors = sum(finding.count for finding in checked.layout.findings.of("error"))
    if errors:
        raise RunError(f"training on {path} would fail: {errors} error{'s' * (errors != 1)}, see above")
    options = [] if given.ignore is None else ["--data.ignore", given.ignore]
    options += [] if given.labels is None else ["--data.labels", given.labels]
    options += [] if given.classes is None else ["--data.classes", given.classes]
    for line in ("", "train on it with", suggestion(checked, given.path, options)):
        say(line)


def report(checked: Checked) -> Iterator[str]:
    """Yield the lines of the table and of the findings."""
    layout = checked.layout
    yield f"{layout.kind}, for --task {layout.task}"
    yield ""
    yield from _table(checked)
    yield ""
    yield from _looks(checked)
    for severity in ("error", "warning", "note"):
        for finding in layout.findings.of(severity):
            yield ""
            yield from _said(finding)
    if not layout.findings.of("error", "warning"):
        yield ""
        yield "nothing is wrong with it"


def suggestion(checked: Checked, path: str, options: Sequence[str] = ()) -> str:
    """Return a command that trains on a folder, with options that suit its images."""
    words = ["--data", path, *options]
    if checked.layout.task != default_task():
        words += ["--task", checked.layout.task]
    if checked.looks:
        size = _median_size(checked)
        if checked.layout.targets.is_image and checked.layout.splits["train"].partners is None:
            size = size[0], size[1] // 2  # two images in one
        if max(size) <= SMALL:
            words += ["--data.image_size", ",".join(map(str, dict.fromkeys(size)))]
        if all(look.mode in GREY for look in checked.looks):
            words += ["--data.channels", "1"]
    if told_by_side(checked.layout.class_names):
        words += ["--data.flip", "false"]
    return " ".join([script_command("train"), *map(shlex.quote, words)])  # in one line, to be copied


def _median_size(checked: Checked) -> tuple[int, int]:
    sizes = [look.size for look in checked.looks.elements()]
    return int(statistics.median(size[0] for size in sizes)), int(statistics.median(size[1] for size in sizes))


def _table(checked: Checked) -> Iterator[str]:
    """Yield a row per class: its images per split, and its number of boxes or share of the pixels."""
    layout = checked.layout
    unit = layout.targets.unit
    yield " " * NAME_WIDTH + "".join(f"{split:>10}{unit and f'{unit:>8}'}" for split in layout.splits)
    yield "images".ljust(NAME_WIDTH) + "".join(
        f"{len(listing):>10,}{' ' * 8 * bool(unit)}" for listing in layout.splits.values()
    )
    if layout.targets.is_numbers:
        yield from _ranges(layout)
        return
    for k, name in enumerate(layout.class_names[:SHOWN_CLASSES]):
        row = f"  {textwrap.shorten(name, NAME_WIDTH - 3, placeholder='...'):<{NAME_WIDTH - 2}}"
        for split in layout.splits:
            row += f"{checked.images[split][k]:>10,}"
            if unit == "boxes":
                row += f"{checked.amounts[split][k]:>8,}"
            elif unit == "pixels":
                row += f"{100 * checked.amounts[split][k] / max(1, checked.amounts[split].sum()):>6.1f} %"
        yield row
    if len(layout.class_names) > SHOWN_CLASSES:
        yield f"  and {len(layout.class_names) - SHOWN_CLASSES} more classes"


def _ranges(layout: Layout) -> Iterator[str]:
    """Yield a line per number and split: its mean, standard deviation, and range."""
    for k, name in enumerate(layout.class_names[:SHOWN_CLASSES]):
        for split, listing in layout.splits.items():
            assert listing.numbers is not None
            own = listing.numbers[:, k].double()
            shown = textwrap.shorten(name, NAME_WIDTH - 3, placeholder="...")
            yield (
                f"  {shown:<{NAME_WIDTH - 2}}{split:>6}  mean {own.mean():.4g}, sd {own.std(correction=0):.4g}, "
                f"{own.min():.4g} to {own.max():.4g}"
            )
    if len(layout.class_names) > SHOWN_CLASSES:
        yield f"  and {len(layout.class_names) - SHOWN_CLASSES} more numbers"


def _looks(checked: Checked) -> Iterator[str]:
    """Yield the images' smallest, largest and median size, and their modes."""
    if not checked.looks:
        return
    sizes = [look.size for look in checked.looks.elements()]
    areas = {size: size[0] * size[1] for size in sizes}
    smallest, largest = min(sizes, key=areas.__getitem__), max(sizes, key=areas.__getitem__)
    high, wide = _median_size(checked)
    shown = " to ".join(dict.fromkeys(f"{size[1]} x {size[0]}" for size in (smallest, largest)))
    yield f"sizes  {shown} pixels, wide by high" + (f"; median {wide} x {high}" if smallest != largest else "")
    modes: Counter[str] = Counter()
    for look, count in checked.looks.items():
        modes[look.mode] += count
    yield "modes  " + ", ".join(f"{count:,} {mode}" for mode, count in modes.most_common())
    turned = sum(count for look, count in checked.looks.items() if look.orientation > 1)
    if turned:
        yield f"turned {turned:,} by EXIF; they are trained on upright"


def _said(finding: Finding) -> Iterator[str]:
    head = f"{finding.count:,} {finding.what}" if finding.count else finding.what
    yield from textwrap.wrap(f"{finding.severity + ':':<9}{head}", WIDTH, subsequent_indent=" " * 9)
    for file in finding.files:
        yield from textwrap.wrap(
            file, WIDTH, initial_indent=" " * 11, subsequent_indent=" " * 13, break_on_hyphens=False
        )
    if finding.count > len(finding.files) > 0:
        yield " " * 11 + "..."
