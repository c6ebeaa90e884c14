"""What a checkpoint says of a person's images: what scripts/predict.py does."""

import argparse
import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from project.checkpoint_file import write_text
from project.data.image_files import find_images, fit_image, looks_inverted, read_image
from project.run.errors import RunError, UsageError
from project.run.machine import settle_threads
from project.tasks import load_task

INVERTED = "looks inverted: try --invert"


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; {self.prog} --help says more")


def main(arguments: list[str]) -> None:
    """Print a table of what a checkpoint says of images; write it as well if asked.

    Raises:
        UsageError: the command line makes no sense, or the checkpoint cannot be read.
        RunError: some of the images could not be read; the others were dealt with.
    """
    parser = Parser(prog="predict.py", description="Print what a checkpoint says of images.")
    parser.add_argument("checkpoint", help="a best.ckpt")
    parser.add_argument("images", nargs="+", help="image files, or folders of them")
    parser.add_argument("--output", metavar="FILE", help="write the table to a .csv or .json file, every class in it")
    parser.add_argument("--invert", action="store_true", help="swap light and dark before looking")
    parser.add_argument("--batch_size", type=int, default=256, metavar="INT", help="images looked at at once [256]")
    parser.add_argument("--device", default=None, help="cpu, cuda or mps; by default the best there is")
    given = parser.parse_args(arguments)
    if given.output:
        _check_output(given.output)
    if given.device is not None and given.device.partition(":")[0] not in ("cpu", "cuda", "mps"):
        raise UsageError(f"--device {given.device}: expected cpu, cuda or mps")
    if given.batch_size < 1:
        raise UsageError(f"--batch_size is 1 or more, got {given.batch_size}")
    settle_threads(1)
    try:
        task = load_task(given.checkpoint, given.device or best_device())
        paths = find_images(given.images)
    except (OSError, ValueError, RuntimeError, AssertionError) as error:
        raise UsageError(" ".join(str(error).split())) from error

    predictions = Predictions(task, given.invert, given.batch_size)
    rows = []
    width = max(5, *(len(_printable(path)) for path in paths))
    print(f"{'image':<{width}}  {'class':<12} probability")
    for row in predictions.rows(paths):
        rows.append(row)
        note = f"  {INVERTED}" if row["looks_inverted"] else ""
        print(f"{_printable(row['image']):<{width}}  {row['class']:<12} {100 * row['probability']:6.2f} %{note}")
    if given.output:
        write_rows(rows, Path(given.output))
        print(f"written: {given.output}")
    inverted = sum(row["looks_inverted"] for row in rows)
    if inverted:
        print(
            f"note: {inverted} of {len(rows)} images look inverted, dark on light where the training images were "
            "light on dark; --invert swaps them",
            file=sys.stderr,
        )
    if predictions.unreadable:
        raise RunError("\n".join([f"{len(predictions.unreadable)} files left out:", *predictions.unreadable]))


def _printable(path: object) -> str:
    """Return a path in one line, whatever characters are in it."""
    return "".join(c if c.isprintable() else "?" for c in str(path))


def _check_output(output: str) -> None:
    path = Path(output)
    if path.suffix.lower() not in (".csv", ".json"):
        raise UsageError(f"--output {output}: expected a name that ends in .csv or .json")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise UsageError(f"--output {output}: {'it is a folder' if path.is_dir() else 'its folder does not exist'}")


def best_device() -> str:
    """Return the fastest kind of device that this machine has."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


class Predictions:
    """A task's answers for image files, in batches, so that memory does not grow with their number.

    Args:
        task: a task in evaluation mode, on its device.
        invert: whether light and dark are swapped before the task looks.
        batch_size: images looked at at once.
    """

    def __init__(self, task: Any, invert: bool = False, batch_size: int = 256) -> None:
        self.task = task
        self.invert = invert
        self.batch_size = batch_size
        self.unreadable: list[str] = []

    def rows(self, paths: list[Path]) -> Iterator[dict[str, Any]]:
        """Yield a row for each image that could be read; the others are noted in `unreadable`."""
        hparams = self.task.hparams
        for start in range(0, len(paths), self.batch_size):
            read: list[tuple[Path, Tensor]] = []
            for path in paths[start : start + self.batch_size]:
                try:
                    image = fit_image(read_image(path, hparams["in_channels"]), hparams["image_size"])
                except ValueError as error:
                    self.unreadable.append(str(error))
                    continue
                read.append((path, 255 - image if self.invert else image))
            if read:
                yield from self._answers(read)

    @torch.inference_mode()
    def _answers(self, read: list[tuple[Path, Tensor]]) -> Iterator[dict[str, Any]]:
        names, mean = self.task.hparams["class_names"], self.task.hparams["mean"]
        images = torch.stack([image for _, image in read]).to(self.task.device)
        classes, probabilities = (t.cpu() for t in self.task.predict(self.task.preprocess(images)))
        for (path, image), k, p in zip(read, classes.tolist(), probabilities.tolist(), strict=True):
            yield {
                "image": str(path),
                "class": names[k],
                "probability": round(p[k], 6),
                "looks_inverted": looks_inverted(image, mean),
                "probabilities": {name: round(value, 6) for name, value in zip(names, p, strict=True)},
            }


def write_rows(rows: list[dict[str, Any]], path: Path) -> None:
    """Write rows as JSON, or as CSV with a column p_NAME for each class.

    Raises:
        RunError: the file cannot be written.
    """
    if path.suffix.lower() == ".json":
        text = json.dumps(rows, indent=2, ensure_ascii=False) + "\n"
    else:
        flat = [
            {
                **{key: value for key, value in row.items() if key != "probabilities"},
                **{f"p_{name}": value for name, value in row["probabilities"].items()},
            }
            for row in rows
        ]
        table = io.StringIO()
        columns = list(flat[0]) if flat else ["image", "class", "probability", "looks_inverted"]
        writer = csv.DictWriter(table, columns)
        writer.writeheader()
        writer.writerows(flat)
        text = table.getvalue()
    try:
        write_text(text, path)
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror})") from error
