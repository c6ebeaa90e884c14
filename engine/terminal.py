"""Lines on standard output and standard error; neither their text nor a broken stream can end a run."""

import io
import logging
import os
import sys
import warnings
from collections.abc import Iterable
from typing import TypeVar

from engine.contract.registry import printable

RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
T = TypeVar("T")
LONGEST = 4000  # characters of an error line; names in it can have any length


console = ""  # the package whose console command this process runs, if any


def script_command(script: str) -> str:
    """Return the command that starts a script: a console command if this process was started by one."""
    return f"{console}-{script.replace('_', '-')}" if console else f"python scripts/{script}.py"


def is_main_process() -> bool:
    """Whether this is the run's main process, the only one that prints and writes."""
    return all(os.environ.get(name, "0") == "0" for name in RANKS)


def say(text: str) -> None:
    """Print a line to standard output, in the main process only; a failure is ignored."""
    if is_main_process():
        try:
            print(printable(text), flush=True)
        except BrokenPipeError:
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115, it stays open to the end
        except OSError:  # a full disk, which may have room again later
            sys.stdout = open(1, "w", encoding=sys.stdout.encoding, errors="backslashreplace", closefd=False)  # noqa: SIM115


def complain(text: object) -> None:
    """Print a line of at most LONGEST characters to standard error; a failure is ignored."""
    line = printable(text)
    try:
        print(line if len(line) <= LONGEST else f"{line[:LONGEST]}...", file=sys.stderr, flush=True)
    except OSError:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, it stays open to the end


def with_bar(items: Iterable[T], total: int, text: str) -> Iterable[T]:
    """Return `items`; while they are taken, a bar on standard error shows how many of `total` were, on a terminal."""
    if not sys.stderr.isatty():
        return items
    from rich.console import Console  # imported here because commands without a bar start faster
    from rich.progress import track

    return track(items, text, total=total, console=Console(stderr=True), transient=True)


def make_usable() -> None:
    """Make standard output and standard error accept any text, and open them if the caller closed them."""
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:  # otherwise the next file opened would get their number
        pass
    os.close(handle)
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w", closefd=False))  # noqa: SIM115, it stays open to the end
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):  # not a replacement by a calling program
            stream.reconfigure(errors="backslashreplace")


def quieten() -> None:
    """Silence Lightning's own messages and known warnings of libraries; Python shows others with file and line."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for pattern in (
        ".*LeafSpec.*is deprecated.*",  # caused by Lightning, with newer releases of torch
        ".*all_gather is deprecated.*",  # the same
        ".*does not have many workers.*",  # the images are in memory
        ".*dataloader is not resumable.*",  # it is: the data module keeps the position
        ".*smaller than the logging interval.*",
        ".*It is recommended to use `self.log\\('(train|val|test)/.*",  # metrics are over all processes already
        "You defined a `validation_step` but have no `val_dataloader`.*",  # asked for with --data.val_size 0
        ".*is not supported by the model summary.*",
    ):
        warnings.filterwarnings("ignore", message=pattern)
    if not is_main_process():  # the other processes would repeat them
        warnings.simplefilter("ignore")
