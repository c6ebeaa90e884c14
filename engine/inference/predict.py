"""The work of scripts/predict.py: a checkpoint's or an exported file's predictions for user files."""

import contextlib
import csv
import io
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from PIL import Image
from torch import Tensor

from engine.config.arguments import OVERLAP, check_output, predict_arguments
from engine.contract.answers import Answers
from engine.contract.errors import UserError
from engine.contract.input import Input, Item
from engine.contract.parts import parts
from engine.contract.registry import brief, printable
from engine.contract.task import Task
from engine.errors import RunError, UsageError, one_line
from engine.inference.box_formats import FORMATS, Boxes, check_new, names_below
from engine.inference.cells import harmless, harmless_back, text_of
from engine.inference.load import is_program, load_model
from engine.inference.model import Model
from engine.inference.videos import Videos
from engine.inference.views import joined_views
from engine.inputs.drawing import to_image
from engine.inputs.folder import Findings, Folder
from engine.inputs.reading import read_text
from engine.inputs.tiles import Tile
from engine.resume.checkpoint_file import write_text
from engine.shortcuts import settle_threads
from engine.terminal import complain, say


class Stream(Protocol):
    """Files of many inputs each, such as videos; the answers to one go into files of its own."""

    suffixes: ClassVar[frozenset[str]]

    def __init__(self, task: Any, output: str | None, paths: list[Path]) -> None: ...

    def answer(self, predictions: Any, draw: Callable[..., Image.Image]) -> list[str]: ...


STREAMS: list[type[Stream]] = [Videos]
TABLES = (".csv", ".json")
TABLE = "predictions.csv"  # beside pictures
MASK = "_mask"  # appended to a picture's name
LONGEST = 220  # bytes of a picture's name
NOTHING = "nothing found"
NUMERIC = {"pixels": ".1f", "number": ".5g"}  # formats of a table's columns by kind
PIXELS = ("mask", "image")  # parts of an answer that are saved as files of their own


def main(arguments: list[str]) -> None:
    """Print a table of predictions; write it, or pictures with it, if --output is given.

    Raises:
        UsageError: the command line is wrong, or the checkpoint cannot be read.
        RunError: some files could not be read (the others were predicted), or the output cannot be written.
    """
    given = predict_arguments(arguments, parts().tasks)
    for former, present in given.renamed.items():
        complain(f"note: {former} is now {present}")
    if given.format != "csv" and (given.output is None or _is_table(given.output)):
        raise UsageError(f"--format {given.format} writes several files: give --output FOLDER")
    if given.output is not None:
        _check_output(given.output)
    check_device(given.device)
    if given.batch_size < 1:
        raise UsageError(f"--batch_size is 1 or more, got {given.batch_size}")
    settle_threads(1)
    findings = Findings(answered=frozenset(suffix for kind in STREAMS for suffix in kind.suffixes))
    streams, others = split_streams(given.images)
    try:
        model = load_model(given.checkpoint, given.device or ("cpu" if is_program(given.checkpoint) else best_device()))
        task = model.task
        paths = task.input.find(others, findings) if others else []
    except (OSError, UserError) as error:
        raise UsageError(one_line(error)) from error
    ask_with(task, given.asked, model.is_program)
    if streams and given.format != "csv":
        raise UsageError(f"--format {given.format} is for images, and {next(iter(streams.values()))[0]} is none")
    opened = [kind(task, given.output, files) for kind, files in streams.items()]
    annotations = None if given.format == "csv" else Annotations(task, given.format, Path(given.output), paths)
    if given.tta is not None:
        model = joined_views(model, given.tta)
    if given.letterbox and not task.takes_any_size:
        raise UsageError(
            f"--letterbox is for tasks that take images of any size; task {task.task_name} letterboxes them anyway"
        )

    cut = None
    if given.tile is not None:
        check_cut(cut := Cut(given.tile, OVERLAP if given.overlap is None else given.overlap), model)
    elif given.overlap is not None:
        raise UsageError("--overlap is that of tiles: give --tile as well")
    whole = task.takes_any_size and not given.letterbox
    predictions = Predictions(model, given.invert, given.batch_size, whole, cut)
    has_pictures = given.output is not None and not _is_table(given.output) and annotations is None
    folder = Drawings(task, Path(given.output), paths) if has_pictures and paths else None
    answers = []
    thrown_away = 0
    for stream in opened:
        predictions.unreadable += stream.answer(predictions, draw)
    screen = Screen(task, paths)
    for prediction in predictions.of(paths):
        screen.show(prediction, task.rows(prediction.answer))
        if folder is not None:
            folder.add(prediction)
        thrown_away += folder is None and "image" in prediction.answer
        answers.append(prediction._replace(answer={k: v for k, v in prediction.answer.items() if k not in PIXELS}))
    if annotations is not None:
        say(f"written: {given.output} ({annotations.write(answers)} files)")
    elif given.output is not None and paths:
        table = Path(given.output) if folder is None else Path(given.output) / TABLE
        write_table(task, answers, table, {} if folder is None else folder.names)
        say(f"written: {given.output}{'' if folder is None else f' ({len(answers)} pictures, predictions.csv)'}")
    for finding in findings.of("warning"):
        more = ", ..." if finding.count > len(finding.files) else ""
        complain(f"note: {finding.count} {finding.what} ({', '.join(finding.files)}{more})")
    if thrown_away:
        complain("note: the output images were not kept; --output FOLDER writes them")
    for name, (_, of_several) in task.input.hints.items():
        if odd := sum(prediction.remarks[name] for prediction in answers):
            complain(f"note: {odd} of {len(answers)} {task.input.word} {of_several}")
    if predictions.unreadable:
        what = "left out or read in part" if streams else "left out"
        raise RunError(f"{len(predictions.unreadable)} files {what}:", *predictions.unreadable)


def split_streams(names: Sequence[str]) -> tuple[dict[type[Stream], list[Path]], list[str]]:
    """Return the streams among the files and in the folders given, by kind, and the files and folders that hold more.

    Raises:
        UsageError: a folder cannot be read.
    """
    streams: dict[type[Stream], list[Path]] = {}
    others = []
    for name in names:
        path, has_more = Path(name), True
        for kind in STREAMS:
            try:
                inside = [path / one for one in Folder(name).below(kind.suffixes)] if name and path.is_dir() else []
                has_more &= not inside or next(Folder(name).below(), None) is not None
            except UserError as error:
                raise UsageError(str(error)) from error
            if path.is_file() and path.suffix.lower() in kind.suffixes:
                inside, has_more = [path], False
            if inside:
                streams.setdefault(kind, []).extend(inside)
        if has_more:
            others.append(name)
    return streams, others


def _is_table(output: str) -> bool:
    return Path(output).suffix.lower() in TABLES


def _check_output(output: str) -> None:
    if _is_table(output):
        check_output(output, TABLES)
        return
    path = Path(output)
    try:
        is_folder = path.is_dir() or not (path.exists() or (path.suffix and not output.endswith("/")))
    except OSError as error:
        raise UsageError(f"--output {brief(output)}: {error.strerror}") from error
    if not output or not is_folder:
        raise UsageError(f"--output {output}: expected a folder, or a name that ends in .csv or .json")


def check_device(device: str | None) -> None:
    """Refuse a --device of an unknown kind, or one that this machine lacks.

    Raises:
        UsageError: it is unknown, or cannot be used.
    """
    if device is None:
        return
    if device.partition(":")[0] not in ("cpu", "cuda", "mps"):
        raise UsageError(f"--device {device}: expected cpu, cuda or mps")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {device}: {one_line(error)}") from error


class Cut(NamedTuple):
    """How large pictures are cut into tiles."""

    side: int  # of a tile, in pixels
    overlap: float  # smallest overlap of neighbours, as a share of a tile


def check_cut(cut: Cut, model: Model) -> None:
    """Refuse tiles that a model cannot answer or a task cannot join.

    Raises:
        UsageError: the size or the overlap is out of range, or the input or the task does not define tiles.
    """
    task = model.task
    if type(task).answer_of_tiles is Answers.answer_of_tiles or type(task.input).tiles is Input.tiles:
        raise UsageError(f"--tile: task {task.task_name} cannot join the answers for tiles")
    smallest = 1 if model.is_program else task.backbone.strides[-1]
    if cut.side < smallest:
        raise UsageError(f"--tile is a side in pixels, {smallest} or more with this network, got {cut.side}")
    if not 0 <= cut.overlap < 1:
        raise UsageError(f"--overlap is a share of a tile, 0 or more and below 1, got {cut.overlap:g}")


def ask_with(task: Task, asked: Mapping[str, float], is_program: bool = False) -> None:
    """Set a task's options for predicting, such as score_threshold, from the command line.

    Raises:
        UsageError: the task has no such option, or refuses the value.
    """
    for option, value in asked.items():
        if option not in task.asked:
            names = ", ".join(name for name, other in parts().tasks.items() if option in other.asked)
            raise UsageError(f"--{option} is for {names}, and this checkpoint's task is {task.task_name}")
        try:
            task.ask_with(option, value, is_program)
        except UserError as error:
            raise UsageError(f"--{option} {value:g}: {error}") from error


def best_device() -> str:
    """Return the fastest device type of this machine: cuda, mps or cpu."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


class Prediction(NamedTuple):
    """A task's answer for one file."""

    path: Path
    answer: dict[str, Any]
    remarks: dict[str, bool]  # which of `Input.hints` apply to the file
    size: tuple[int, int]  # (H, W) of the file


def draw(task: Any, prediction: Prediction, min_side: int = 0, picture: Tensor | None = None) -> Image.Image:
    """Return the picture of an answer: the output image, or the file's image with the answer drawn in.

    A smaller image with objects is enlarged to about `min_side` pixels, so that its texts are legible. `picture`
    (3, H, W) is the file's image, if it has been read already.
    """
    answer = prediction.answer
    if "image" in answer:
        return to_image(answer["image"])
    image = task.input.picture(prediction.path) if picture is None else picture
    factor = min_side // max(image.shape)
    if factor > 1 and "objects" in answer:
        image = image.repeat_interleave(factor, dim=1).repeat_interleave(factor, dim=2)
        sides = ("x0", "y0", "x1", "y1")
        answer = {"objects": [{**o, **{side: factor * o[side] for side in sides}} for o in answer["objects"]]}
    return to_image(task.draw(image, answer))


class Predictions:
    """A task's answers for files, in batches, so that memory does not grow with their number.

    Args:
        model: a task with the function that computes its outputs.
        invert: invert values first, such as light and dark.
        batch_size: files per batch; fewer if they are larger than the training size.
        whole: predict at native size instead of letterboxed to the training size.
        cut: predict tiles, each like a file of its own, and join their answers.
    """

    def __init__(
        self,
        model: Model,
        invert: bool = False,
        batch_size: int = 32,
        whole: bool = False,
        cut: Cut | None = None,
    ) -> None:
        self.model = model
        self.task = model.task
        self.invert = invert
        self.batch_size = batch_size
        self.whole = whole
        self.cut = cut
        self.unreadable: list[str] = []

    def of(self, paths: list[Path]) -> Iterator[Prediction]:
        """Yield a prediction for each readable file; messages about the others go to `unreadable`.

        Raises:
            RunError: memory is exhausted, the network cannot take a file's size, or its outputs are not finite.
        """
        return self.of_items(self._read(paths))

    def of_items(self, items: Iterable[tuple[Any, Item]]) -> Iterator[Prediction]:
        """Yield a prediction for each item, as `of` does; `Prediction.path` is what the item belongs to."""
        batches = self._batches(items) if self.cut is None else ([item] for item in items)
        for batch in batches:
            sizes = [item.original for _, item in batch]
            with torch.inference_mode(), self._explained(batch[0][0]):
                if self.cut is None:
                    answers = self.task.answers(self._outputs(batch), sizes)
                else:
                    answers = [self.task.answer_of_tiles(self._of_tiles(*batch[0]), sizes[0])]
            for (path, item), answer, size in zip(batch, answers, sizes, strict=True):
                yield Prediction(path, answer, self.task.input.remarks(item.raw), size)

    def _read(self, paths: list[Path]) -> Iterator[tuple[Path, Item]]:
        for path in paths:
            try:
                item = self.task.input.read(path, self.whole or self.cut is not None, self.invert)
            except UserError as error:
                self.unreadable.append(str(error))
            else:
                yield path, item

    def _batches(self, items: Iterable[tuple[Any, Item]]) -> Iterator[list[tuple[Any, Item]]]:
        """Yield batches of items, each with what it belongs to."""
        batch: list[tuple[Any, Item]] = []
        for what, item in items:
            if batch and not self.task.input.may_join([item for _, item in batch], item, self.batch_size):
                yield batch
                batch = []
            batch.append((what, item))
        if batch:
            yield batch

    def _of_tiles(self, path: Path, item: Item) -> Iterator[tuple[Tile, dict[str, Tensor]]]:
        """Yield the tiles of a file, each with its outputs."""
        assert self.cut is not None
        for batch in self._batches(self.task.input.tiles(item.raw, *self.cut, self.whole)):
            outputs = self._outputs([(path, content) for _, content in batch])
            for i, (tile, _) in enumerate(batch):
                yield tile, {name: value[i] for name, value in outputs.items()}

    def _outputs(self, batch: list[tuple[Path, Item]]) -> dict[str, Tensor]:
        outputs = self.model.outputs(self.task.input.stack([item.raw for _, item in batch]))
        for name, value in outputs.items():
            if value.is_floating_point() and not bool(value.isfinite().all()):
                raise RunError(f"{batch[0][0]}: its {name} are not finite numbers: the training had failed")
        return outputs

    @contextlib.contextmanager
    def _explained(self, path: Path) -> Iterator[None]:
        """Turn an error raised in the context into a line that names the file, unless it is a bug."""
        try:
            yield
        except torch.OutOfMemoryError as error:
            raise RunError(f"out of memory at {path}: try a smaller --batch_size") from error
        except (AssertionError, RuntimeError, ValueError, LookupError, TypeError) as error:
            if self.model.is_program:  # an error in the file, not in our code
                what = f"the file's outputs are not those of task {self.task.task_name}"
                raise RunError(f"{what} ({one_line(error)[:200]})") from error
            if not self.whole or not isinstance(error, UserError):
                raise
            raise RunError(f"{path}: {one_line(error)}; try --letterbox") from error


class Screen:
    """Prints a table row by row, if there are paths: the image, the task's columns, and remarks about the image."""

    def __init__(self, task: Any, paths: list[Path]) -> None:
        self.columns, self.hints = task.columns, task.input.hints
        self.width = max([5, *(len(printable(path)) for path in paths)])
        cells = [f"{name:<12}" if kind == "text" else f"{name:>{_width(name)}}" for name, kind in self.columns.items()]
        if paths:
            say(f"{'image':<{self.width}}  {' '.join(cells)}")

    def show(self, prediction: Prediction, rows: list[dict[str, Any]]) -> None:
        """Print the rows of one image."""
        odd = [of_one for name, (of_one, _) in self.hints.items() if prediction.remarks[name]]
        for row in rows:
            line = f"{printable(prediction.path):<{self.width}}  {self._cells(row)}"
            say("  ".join([line.rstrip(), *odd]))

    def _cells(self, row: Mapping[str, Any]) -> str:
        if all(row[name] is None for name in self.columns):
            return NOTHING
        cells = []
        for name, kind in self.columns.items():
            if kind == "text":
                cells.append(f"{row[name]:<12}")
            else:
                shown = f"{100 * row[name]:.2f} %" if kind == "percent" else f"{row[name]:{NUMERIC[kind]}}"
                cells.append(f"{shown:>{_width(name)}}")
        return " ".join(cells)


def _width(name: str) -> int:
    return max(8, len(name))


class Drawings:
    """A folder of pictures: each image with its answer drawn in, and its mask if there is one; or the output image.

    An existing file is replaced only if it is listed in the predictions.csv of an earlier run.

    Raises:
        UsageError: the folder cannot be made, or a file would be overwritten that predict.py did not write.
    """

    def __init__(self, task: Any, folder: Path, paths: list[Path]) -> None:
        self.task = task
        self.folder = folder
        self.names = _distinct_names(paths)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            there = {path.name for path in folder.iterdir()}
        except OSError as error:
            raise UsageError(f"--output {folder}: the folder cannot be made ({error.strerror})") from error
        ours = _drawn_before(folder / TABLE)
        files = [TABLE, *(f"{name}{end}.png" for name in self.names.values() for end in ("", MASK))]
        given = {path.resolve() for path in paths}
        foreign = [file for file in files if file in there and (file not in ours or (folder / file).resolve() in given)]
        if foreign:
            more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
            raise UsageError(
                f"--output {folder}: {foreign[0]}{more} there would be overwritten, but was not written by predict.py; "
                "choose another folder"
            )

    def add(self, prediction: Prediction) -> None:
        """Save the picture of a prediction.

        Raises:
            RunError: a picture cannot be written.
        """
        name = self.names[prediction.path]
        try:
            draw(self.task, prediction).save(self.folder / f"{name}.png")
            if "mask" in prediction.answer:
                self._save_mask(prediction.answer["mask"], self.folder / f"{name}{MASK}.png")
        except OSError as error:
            raise RunError(f"{self.folder} cannot be written ({error.strerror})") from error

    def _save_mask(self, mask: Tensor, path: Path) -> None:
        """Save class numbers (H, W) unchanged, with a palette of class colours for image viewers."""
        image = Image.frombytes("P", (mask.shape[1], mask.shape[0]), mask.numpy().tobytes())
        legend = self.task.legend()
        image.putpalette([v for name in self.task.hparams["class_names"] for v in legend.get(name, (0, 0, 0))])
        image.save(path)


class Annotations:
    """A folder of annotation files of a format in FORMATS, all of them new.

    Raises:
        UsageError: the task has no such files, or one exists.
    """

    def __init__(self, task: Any, form: str, folder: Path, paths: list[Path]) -> None:
        if form not in task.formats:
            names = ", ".join(name for name, other in parts().tasks.items() if form in other.formats)
            raise UsageError(f"--format {form} is for {names}, and this checkpoint's task is {task.task_name}")
        self.form, self.folder = FORMATS[form], folder
        self.class_names = task.hparams["class_names"]
        self.names = names_below(paths)
        check_new(self.form([Boxes(name, (0, 0), ()) for name in self.names.values()], self.class_names), folder)

    def write(self, predictions: list[Prediction]) -> int:
        """Write the files, without boxes that have no area at two decimals, and return their number.

        Raises:
            RunError: a file cannot be written.
        """
        images = []
        for p in predictions:
            objects = [o for o in p.answer["objects"] if o["x0"] < o["x1"] and o["y0"] < o["y1"]]
            images.append(Boxes(self.names[p.path], p.size, objects))
        files = self.form(images, self.class_names)
        try:
            for name, text in files.items():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                write_text(text, self.folder / name)
        except OSError as error:
            raise RunError(f"{self.folder} cannot be written ({error.strerror})") from error
        return len(files)


def _drawn_before(table: Path) -> set[str]:
    """Return the names of the table and of its pictures, if an earlier predict.py wrote them."""
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(table, errors="replace"), newline="")))
    except (OSError, csv.Error):
        return set()
    written = [row["picture"] for row in rows if row.get("picture") and row.get("image")]
    pictures = {Path(harmless_back(cell)) for cell in written}
    return {name for path in pictures for name in (table.name, path.name, f"{path.stem}{MASK}.png")}


def _distinct_names(paths: list[Path]) -> dict[Path, str]:
    """Return a distinct stem for each file's picture; files of the same name in several folders get numbers."""
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for path in paths:
        stem = path.stem
        if len(os.fsencode(stem)) > LONGEST:  # file systems allow 255, and a suffix follows
            stem = os.fsencode(stem)[:LONGEST].decode(errors="ignore")
        options = (stem if i == 1 else f"{stem}-{i}" for i in itertools.count(1))
        names[path] = next(name for name in options if not taken & {name, f"{name}{MASK}"})
        taken |= {names[path], f"{names[path]}{MASK}"}
    return names


def write_table(task: Any, predictions: list[Prediction], path: Path, names: Mapping[Path, str]) -> None:
    """Write answers as JSON, one entry per image; or as CSV, one line per row of the task.

    `names` are the stems of the pictures beside a CSV file, {} if there are none.

    Raises:
        RunError: the file cannot be written.
    """
    if path.suffix.lower() == ".json":
        entries = [{"image": text_of(p.path), **p.answer, **p.remarks} for p in predictions]
        text = json.dumps(entries, indent=2, ensure_ascii=False) + "\n"
    else:
        rows = [
            {"image": text_of(p.path), **row, **p.remarks}
            | ({"picture": text_of(Path(f"{names[p.path]}.png"))} if names else {})
            for p in predictions
            for row in task.rows(p.answer)
        ]
        table = io.StringIO()
        columns = (
            list(rows[0]) if rows else ["image", *task.columns, *task.input.hints, *(["picture"] if names else [])]
        )
        writer = csv.DictWriter(table, columns)
        writer.writeheader()
        writer.writerows({name: harmless(value) for name, value in row.items()} for row in rows)
        text = table.getvalue()
    try:
        write_text(text, path)
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror})") from error
