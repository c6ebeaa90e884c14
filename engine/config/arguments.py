"""Command lines of the scripts besides train.py, which are read before torch is imported.

SCRIPT_arguments takes a script's arguments apart. --help prints its page and exits; a wrong flag is a UsageError.
"""

import argparse
import contextlib
import os
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
IMAGES = 1000  # that an exported file is compared with its checkpoint on
TOLERANCE = 1e-4  # of that comparison
EVALUATE_HELP = """usage: {command} CKPT [--split test|val] [--data PATH] [--data.OPTION VALUE ...]
                   [--accelerator TEXT] [--precision TEXT]

Measure a checkpoint again on the test images of the data it was trained on, which
the file itself names; where that has none, on the validation images. --data.root
says where they are, if not where they were then; only with --data.download true is
anything fetched. --data names other data of the same classes: of a folder, its test
images, or else those for validation; one without splits is measured whole, or with
--split val what training would have held out."""
EVALUATE_TRAINER = ("accelerator", "devices", "precision", "limit_test_batches")


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; {self.prog} --help says more")


def check_output(output: str, suffixes: Sequence[str]) -> Path:
    """Return the path of a file to be written, which is checked before any work is done for it.

    Raises:
        UsageError: it has another ending, or no file can be there.
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
    """Return what the docstrings of tasks say of the options that may be set when one is asked, by name."""
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
    """Move the options that tasks are asked with, as far as they were given, to `given.asked`."""
    options = {name: vars(given).pop(name) for name in asked_options(tasks)}
    given.asked = {name: value for name, value in options.items() if value is not None}
    return given


def evaluate_arguments(arguments: list[str], tasks: Mapping[str, Any]) -> tuple[CommandLine, dict[str, float]]:
    """Return the command line, and the options that the task is asked with."""
    line = read_command_line(arguments, positional=True)
    options = asked_options(tasks)
    if line.wants_help is not None:
        page = EVALUATE_HELP.replace("{command}", script_command("evaluate"))
        print(page, *(f"\n--{name} NUMBER: {text}." for name, text in options.items()), sep="")
        raise SystemExit
    if len(line.positional) != 1:
        raise UsageError(f"expected one checkpoint, got {len(line.positional)}: evaluate.py CKPT")
    if line.config_files or line.print_config:
        raise UsageError("evaluate.py takes no --config and no --print_config: the checkpoint says what it is")
    split = line.flags.get("split")
    if split not in (None, "test", "val"):
        raise UsageError(f"--split is test or val, got {split!r}")
    asked = {}
    for flag in options.keys() & line.flags.keys():
        try:
            asked[flag] = float(text := line.flags.pop(flag))
        except (TypeError, ValueError) as error:
            raise UsageError(f"--{flag} is a number, got {text!r}") from error
    for flag in line.flags:
        if not flag.startswith("data.") and flag not in (*EVALUATE_TRAINER, "split"):
            raise UsageError(f"--{flag} cannot be changed by evaluating: what the checkpoint was trained with holds")
    return line, asked


def predict_arguments(arguments: list[str], tasks: Mapping[str, Any]) -> argparse.Namespace:
    parser = Parser(prog="predict.py", description="Print what a checkpoint says of images.")
    parser.add_argument("checkpoint", help="a best.ckpt, or what export.py made of it")
    parser.add_argument("images", nargs="+", help="image files, or folders of them")
    parser.add_argument(
        "--output",
        metavar="FILE|FOLDER",
        help="write the table to a .csv or .json file; or to a folder, with a picture of each answer, where it "
        "replaces pictures of its own only",
    )
    parser.add_argument("--invert", action="store_true", help="swap light and dark before looking")
    parser.add_argument(
        "--letterbox",
        action="store_true",
        help="for a task that takes whole images: scale them to the size trained on, and what is made of them back",
    )
    _add_asked(parser, tasks)
    parser.add_argument("--batch_size", type=int, default=32, metavar="INT", help="images looked at at once [32]")
    parser.add_argument("--device", default=None, help="cpu, cuda or mps; by default the best there is")
    former = {f"--{name}": f"--{present}" for name, present in RENAMED.items()}
    pairs = [argument.partition("=") for argument in arguments]
    renamed = {flag: former[flag] for flag, _, _ in pairs if flag in former}
    parser.set_defaults(renamed=renamed)  # the former and the present name of flags given
    given = parser.parse_args([f"{renamed.get(flag, flag)}{equals}{value}" for flag, equals, value in pairs])
    return _take_asked(given, tasks)


def export_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(prog="export.py", description="Write a checkpoint as a file that other programs can run.")
    parser.add_argument("checkpoint", help="a best.ckpt")
    parser.add_argument("--format", required=True, help=f"one of {', '.join(EXPORT_FORMATS)}")
    parser.add_argument("--output", metavar="FILE", help="where to; by default beside the checkpoint")
    parser.add_argument(
        "--images",
        type=int,
        default=IMAGES,
        metavar="INT",
        help=f"test images that the file is compared with the checkpoint on, at most [{IMAGES}]",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=TOLERANCE,
        metavar="NUMBER",
        help="largest difference allowed, as a share of an output's largest value where that is above 1 "
        f"[{TOLERANCE:g}]",
    )
    parser.add_argument("--data", metavar="PATH", help="a folder of images to compare on, of the classes trained on")
    parser.add_argument("--data.root", dest="root", metavar="DIR", help="where MNIST is, if not where it was")
    return parser.parse_args(arguments)


def report_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(prog="report.py", description="Make a run's report again, or compare runs on one page.")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder, such as checkpoints/NAME")
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="page of a comparison; by default comparison.html beside the first run's folder",
    )
    return parser.parse_args(arguments)


def demo_arguments(arguments: list[str], tasks: Mapping[str, Any]) -> argparse.Namespace:
    parser = Parser(prog="demo.py", description="A page in the browser to try a checkpoint on.")
    parser.add_argument("checkpoint", help="a best.ckpt")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0 lets others in [127.0.0.1]")
    parser.add_argument("--port", type=int, default=7860, metavar="INT", help="the first free one from there on [7860]")
    parser.add_argument("--device", default=None, help="cpu, cuda or mps; by default the best there is")
    _add_asked(parser, tasks)
    return _take_asked(parser.parse_args(arguments), tasks)


def check_data_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        prog="check_data.py",
        description="Look through a folder of images to train on.",
        epilog="What it knows: CLASS/*.jpg; images/ and masks/; Pascal VOC; COCO; YOLO; pairs in A/ and B/, or side by "
        "side in one file; each with train/, val/ and test/ or without. Exit status 1 if training would fail on "
        "something.",
    )
    parser.add_argument("path", help="the folder, as in --data PATH")
    parser.add_argument("--ignore", metavar="CLASS", help="a class of masks that does not count, as in --data.ignore")
    return parser.parse_args(arguments)


SHOW_DATA_HELP = """usage: {command} [--output FILE.png] [--FLAG VALUE ...]

Write a picture of eight training samples as a network sees them in the first epoch,
varied, with their targets. Flags are those of train.py: --data, --task, --data.OPTION,
--seed, --config and so on."""


def show_data_arguments(arguments: list[str]) -> tuple[str, list[str]]:
    """Return the picture's path, and the flags of train.py."""
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


def compare_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(prog="compare.py", description="Say whether two checkpoints are equal to the last bit.")
    parser.add_argument("first", metavar="CKPT", help="a checkpoint, such as checkpoints/NAME/last.ckpt")
    parser.add_argument("second", metavar="CKPT", help="the checkpoint to compare it with")
    return parser.parse_args(arguments)
