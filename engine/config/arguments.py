"""Command lines of every script but train.py, parsed before torch is imported.

SCRIPT_arguments parses one script's arguments. --help prints its page and exits; a wrong flag raises UsageError.
"""

import argparse
import contextlib
import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from engine.config.config import CommandLine, read_command_line
from engine.config.options import from_signature
from engine.contract.registry import brief
from engine.contract.renamed import RENAMED
from engine.errors import UsageError
from engine.inputs.reading import UnfitFile, regular
from engine.terminal import script_command

EXPORT_FORMATS = ("onnx", "torch", "safetensors")
IMAGES = 1000  # on which export.py compares the file with its checkpoint
TOLERANCE = 1e-4  # largest difference allowed in that comparison
EVALUATE_HELP = """usage: {command} CKPT [--FLAG VALUE ...]
flags: --split test|val, --data PATH, --data.OPTION VALUE, --bootstrap INT,
       --tta flip|multiscale, --accelerator TEXT, --precision TEXT

Evaluate a checkpoint on the test images of its own training data, or on the
validation images if there is no test split. --data.root names the folder if the
data has moved; nothing is downloaded without --data.download true. --data names
other data with the same classes: a folder's test images, else its validation
images. A folder without splits is evaluated whole, or with --split val on the
images that training would hold out.

--bootstrap INT: resample the images so many times, such as 1000, and print the
95 % confidence interval of every metric that is a mean over images.
--tta flip: join the answers for an image and its mirror image.
--tta multiscale: join the answers for an image at 0.8, 1 and 1.25 times its
size."""
OVERLAP = 0.2  # of neighbouring tiles
TTA = ("flip", "multiscale")  # kinds of test-time augmentation
MIN_RESAMPLES = 100  # with fewer, an interval's ends are left to chance
EVALUATE_TRAINER = ("accelerator", "devices", "precision", "limit_test_batches")


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; {self.prog} --help says more")


def check_output(output: str, suffixes: Sequence[str]) -> Path:
    """Return an output file's path, checked before any work is done.

    Raises:
        UsageError: its suffix is not in `suffixes`, or no file can be written there.
    """
    path = Path(output)
    if path.suffix.lower() not in suffixes:
        raise UsageError(f"--output {output}: expected a name that ends in {' or '.join(suffixes)}")
    try:
        if not path.absolute().parent.is_dir():
            raise UsageError(f"--output {output}: its folder does not exist")
        if not os.access(path.absolute().parent, os.W_OK):
            raise UsageError(f"--output {output}: its folder cannot be written to")
        with contextlib.suppress(FileNotFoundError):
            regular(path)
    except UnfitFile as error:
        raise UsageError(f"--output {error}") from error
    except OSError as error:
        raise UsageError(f"--output {brief(output)}: {error.strerror}") from error
    return path


def asked_options(tasks: Mapping[str, Any]) -> dict[str, str]:
    """Return the help text of every option in `Task.asked`, which may be set when predicting, by name."""
    return {
        option.key: f"{option.help} ({name})"
        for name, task in tasks.items()
        for option in from_signature(task, "")
        if option.key in task.asked
    }


def _add_asked(parser: argparse.ArgumentParser, tasks: Mapping[str, Any]) -> None:
    for name, text in asked_options(tasks).items():
        parser.add_argument(f"--{name}", type=float, metavar="NUMBER", help=text)


def _take_asked(given: argparse.Namespace, tasks: Mapping[str, Any]) -> argparse.Namespace:
    """Move the given options of `Task.asked` to `given.asked`."""
    options = {name: vars(given).pop(name) for name in asked_options(tasks)}
    given.asked = {name: value for name, value in options.items() if value is not None}
    return given


def evaluate_arguments(arguments: list[str], tasks: Mapping[str, Any]) -> tuple[CommandLine, dict[str, float]]:
    """Return the command line, and the values given for options of `Task.asked`.

    Raises:
        UsageError: the command line is invalid.
    """
    line = read_command_line(arguments, positional=True)
    options = asked_options(tasks)
    if line.wants_help is not None:
        page = EVALUATE_HELP.replace("{command}", script_command("evaluate"))
        print(page, *(textwrap.fill(f"--{name} NUMBER: {text}.", 80) for name, text in options.items()), sep="\n")
        raise SystemExit
    if len(line.positional) != 1:
        raise UsageError(f"expected one checkpoint, got {len(line.positional)}: evaluate.py CKPT")
    if line.config_files or line.print_config:
        raise UsageError("evaluate.py takes no --config and no --print_config: the checkpoint holds its configuration")
    split = line.flags.get("split")
    if split not in (None, "test", "val"):
        raise UsageError(f"--split is test or val, got {split!r}")
    if line.flags.get("tta", TTA[0]) not in TTA:
        raise UsageError(f"--tta is {' or '.join(TTA)}, got {line.flags['tta']!r}")
    if "bootstrap" in line.flags:
        given = str(line.flags["bootstrap"])
        if not given.isdecimal() or int(given) < MIN_RESAMPLES:
            raise UsageError(f"--bootstrap is the number of resamples, {MIN_RESAMPLES} or more, got {given}")
        line.flags["bootstrap"] = int(given)
    asked = {}
    for flag in options.keys() & line.flags.keys():
        try:
            asked[flag] = float(text := line.flags.pop(flag))
        except (TypeError, ValueError) as error:
            raise UsageError(f"--{flag} is a number, got {text!r}") from error
    for flag in line.flags:
        if not flag.startswith("data.") and flag not in (*EVALUATE_TRAINER, "split", "bootstrap", "tta"):
            raise UsageError(f"evaluate.py takes no --{flag}: the checkpoint holds its own training options")
    return line, asked


def predict_arguments(arguments: list[str], tasks: Mapping[str, Any]) -> argparse.Namespace:
    parser = Parser(prog="predict.py", description="Print a checkpoint's predictions for images.")
    parser.add_argument("checkpoint", help="a best.ckpt, or a file exported from it")
    parser.add_argument("images", nargs="+", help="image files, or folders of them")
    parser.add_argument(
        "--output",
        metavar="FILE|FOLDER",
        help="write the table to a .csv or .json file, or to a folder, together with a picture of each answer; only "
        "pictures written by predict.py are overwritten",
    )
    parser.add_argument("--invert", action="store_true", help="swap light and dark before predicting")
    parser.add_argument(
        "--letterbox",
        action="store_true",
        help="letterbox to the training size and scale the answers back, for tasks that predict at native size",
    )
    parser.add_argument(
        "--tile",
        type=int,
        metavar="PIXELS",
        help="cut large pictures into square tiles of this side, predict each like an image of its own, and join the "
        "answers",
    )
    parser.add_argument(
        "--overlap", type=float, metavar="SHARE", help=f"smallest overlap of tiles, as a share of one [{OVERLAP:g}]"
    )
    parser.add_argument(
        "--tta", choices=TTA, help="join the answers for an image and its mirror image, or at three sizes"
    )
    formats = dict.fromkeys(name for task in tasks.values() for name in task.formats)
    parser.add_argument(
        "--format",
        choices=("csv", *formats),
        default="csv",
        help="files in the folder --output: csv (a table, and pictures), or annotations, as of a labelled data set",
    )
    _add_asked(parser, tasks)
    parser.add_argument("--batch_size", type=int, default=32, metavar="INT", help="images per batch [32]")
    parser.add_argument("--device", default=None, help="cpu, cuda or mps; by default the best available")
    former = {f"--{name}": f"--{present}" for name, present in RENAMED.items()}
    pairs = [argument.partition("=") for argument in arguments]
    renamed = {flag: former[flag] for flag, _, _ in pairs if flag in former}
    parser.set_defaults(renamed=renamed)  # from the former name of each flag given to its present one
    given = parser.parse_args([f"{renamed.get(flag, flag)}{equals}{value}" for flag, equals, value in pairs])
    return _take_asked(given, tasks)


def export_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(prog="export.py", description="Write a checkpoint as a file that other programs can run.")
    parser.add_argument("checkpoint", help="a best.ckpt")
    parser.add_argument("--format", required=True, help=f"one of {', '.join(EXPORT_FORMATS)}")
    parser.add_argument("--output", metavar="FILE", help="file to write; by default beside the checkpoint")
    parser.add_argument(
        "--images",
        type=int,
        default=IMAGES,
        metavar="INT",
        help=f"most test images on which to compare the file with the checkpoint [{IMAGES}]",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=TOLERANCE,
        metavar="NUMBER",
        help=f"largest difference allowed, relative to an output's largest value if that exceeds 1 [{TOLERANCE:g}]",
    )
    parser.add_argument("--data", metavar="PATH", help="folder of images to compare on, with the same classes")
    parser.add_argument("--data.root", dest="root", metavar="DIR", help="folder of MNIST, if it has moved")
    return parser.parse_args(arguments)


def report_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(prog="report.py", description="Write a run's report again, or compare runs on one page.")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder, such as checkpoints/NAME")
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="page of a comparison; by default comparison.html beside the first run's folder",
    )
    return parser.parse_args(arguments)


def demo_arguments(arguments: list[str], tasks: Mapping[str, Any]) -> argparse.Namespace:
    parser = Parser(prog="demo.py", description="Try a checkpoint in the browser.")
    parser.add_argument("checkpoint", help="a best.ckpt")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 admits others [127.0.0.1]")
    parser.add_argument("--port", type=int, default=7860, metavar="INT", help="port, or else the next free one [7860]")
    parser.add_argument("--device", default=None, help="cpu, cuda or mps; by default the best available")
    _add_asked(parser, tasks)
    return _take_asked(parser.parse_args(arguments), tasks)


def check_data_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        prog="check_data.py",
        description="Check a folder of images before training on it.",
        epilog="Known layouts: CLASS/*.jpg; images/ and masks/; Pascal VOC; COCO; YOLO; labelme; CVAT; pairs in A/ and "
        "B/, or side by side in one file; each with train/, val/ and test/ or without. "
        "Exit status 1 if training would fail.",
    )
    parser.add_argument("path", help="the folder, as in --data PATH")
    parser.add_argument("--ignore", metavar="CLASS", help="mask class to ignore, as in --data.ignore")
    parser.add_argument("--labels", metavar="FILE.csv", help="table of files and labels, as in --data.labels")
    parser.add_argument("--task", help="the task to train; by default the one that the layout is for")
    parser.add_argument("--classes", metavar="NAMES", help="classes, or columns of numbers, as in --data.classes")
    return parser.parse_args(arguments)


SHOW_DATA_HELP = """usage: {command} [--output FILE.png] [--FLAG VALUE ...]

Write a picture of eight augmented training samples with their targets, as a
network sees them in the first epoch. The flags are those of train.py: --data,
--task, --data.OPTION, --seed, --config and so on."""


def show_data_arguments(arguments: list[str]) -> tuple[str, list[str]]:
    """Return the picture's path, and the flags for train.py's parser.

    Raises:
        UsageError: --output has no value.
    """
    if {"-h", "--help"} & set(arguments):
        print(SHOW_DATA_HELP.format(command=script_command("show_data")))
        raise SystemExit(0)
    output, flags = "data.png", []
    given = iter(arguments)
    for argument in given:
        name, has_value, value = argument.partition("=")
        if name != "--output":
            flags.append(argument)
        elif (output := value if has_value else next(given, "")) == "":
            raise UsageError("--output needs the name of a picture, such as samples.png")
    return output, flags


CROSSVAL_HELP = """usage: {command} FOLDER --folds K [--FLAG VALUE ...]

Train K runs, NAME-fold-1 to NAME-fold-K (--name NAME). Each is tested on
another part of the folder's images, and validated on --data.val_size of them.
Prints the mean and the standard deviation of each test measure, and writes a
report. The same command continues where it was stopped. The other flags are
those of train.py."""

NOT_OF_FOLDS = {  # flags of train.py that crossval.py sets itself, or cannot take
    "data.name": "the folder is its first argument",
    "data.fold": "it trains all folds",
    "ckpt_path": "the same command continues where it was stopped",
    "resume": "the same command continues where it was stopped",
}


def crossval_arguments(arguments: list[str]) -> tuple[str, int, str | None, list[str]]:
    """Return the folder, the number of folds, the name of their runs, and the other flags for train.py's parser.

    Raises:
        UsageError: the folder or the number is missing or wrong, or a flag is the folds' own.
    """
    line = read_command_line(arguments, positional=True)
    if line.wants_help is not None:
        print(CROSSVAL_HELP.format(command=script_command("crossval")))
        raise SystemExit(0)
    if len(line.positional) != 1:
        raise UsageError(f"expected one folder, got {len(line.positional)}: crossval.py FOLDER --folds 5")
    folds = str(line.flags.get("folds", ""))
    if not folds.isdecimal() or int(folds) < 2:
        raise UsageError(f"--folds is the number of parts, 2 or more, such as 5, got {folds or 'none'}")
    if line.flags.get("name") is True:
        raise UsageError("--name needs a name, from which those of the runs are made")
    for flag, instead in NOT_OF_FOLDS.items():
        if flag in line.flags:
            raise UsageError(f"crossval.py takes no --{flag.removesuffix('.name')}: {instead}")
    if line.print_config:
        raise UsageError("crossval.py takes no --print_config: each run's folder has its config.yaml")
    own = {key: "true" if value is True else value for key, value in line.flags.items() if key not in ("folds", "name")}
    flags = [f"--config={path}" for path in line.config_files] + [f"--{key}={value}" for key, value in own.items()]
    return line.positional[0], int(folds), line.flags.get("name"), flags


def compare_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(prog="compare.py", description="Tell whether two checkpoints are equal bit for bit.")
    parser.add_argument("first", metavar="CKPT", help="a checkpoint, such as checkpoints/NAME/last.ckpt")
    parser.add_argument("second", metavar="CKPT", help="the checkpoint to compare it with")
    return parser.parse_args(arguments)
