"""The benchmark's command line: measure the chosen parts, print a table, write the numbers."""

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.parts import LONG, PARTS, Bench
from benchmarks.table import HEADER, line
from engine.config.arguments import Parser, check_output
from engine.errors import RunError, UsageError
from engine.inference.predict import best_device
from engine.resume.checkpoint_file import write_text
from engine.training.summary import git_state, hardware, versions
from project.data import MNISTDataModule

REPEATS = 3


def main(arguments: list[str]) -> None:
    """Measure, print a table, and write all measurements if --output is given.

    Raises:
        UsageError: the command line is wrong.
        RunError: MNIST cannot be fetched, or a measured program failed.
    """
    parser = Parser(prog="benchmark.py", description="Measure speed, side by side with the lecture's loop.")
    parser.add_argument("--quick", action="store_true", help="a few batches of most parts, once: about 90 seconds")
    parser.add_argument("--only", metavar="PART", action="append", help=f"one of {', '.join(PARTS)}; can be repeated")
    parser.add_argument("--repeats", type=int, metavar="INT", help=f"how often each row is measured [{REPEATS}]")
    parser.add_argument("--output", metavar="FILE.json", help="write every single measurement")
    parser.add_argument("--data.root", dest="root", default="data", help="folder that holds MNIST/raw/ [data]")
    given = parser.parse_args(arguments)
    _check(given)
    try:
        MNISTDataModule(given.root).prepare_data()
    except OSError as error:
        raise RunError(str(error)) from error
    chosen = given.only or [part for part in PARTS if not (given.quick and part in LONG)]
    machine = hardware(torch.device(best_device()), 1)
    device = machine.get("gpu", f"{machine['cores']} cores, {machine['threads']} threads")
    print(f"{machine['processor']}, {device}; ", end="")
    print(f"torch {versions()['torch']}, lightning {versions()['lightning']}")
    print(f"\n{HEADER}", flush=True)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(given.root), given.repeats or (1 if given.quick else REPEATS), given.quick, Path(folder))
        for part in chosen:
            for row in PARTS[part](bench):
                rows.append(row)
                print(line(row), flush=True)
    if given.output:
        content = {
            "hardware": machine,
            "versions": versions(),
            "git": git_state(),
            "quick": given.quick,
            "rows": [asdict(row) | {"ratio": row.ratio, "reached": row.reached} for row in rows],
        }
        write_text(json.dumps(content, indent=2) + "\n", Path(given.output))
        print(f"written: {given.output}")


def _check(given: argparse.Namespace) -> None:
    for part in given.only or []:
        if part not in PARTS:
            raise UsageError(f"--only {part}: there is no such part; choose from {', '.join(PARTS)}")
    if given.repeats is not None and given.repeats < 1:
        raise UsageError(f"--repeats is 1 or more, got {given.repeats}")
    if given.output is not None:
        check_output(given.output, [".json"])
