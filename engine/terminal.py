"""Lines on standard output and standard error: nothing in them, and nothing about these streams, can end a run."""

import io
import os
import sys

from engine.contract.registry import printable

RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
LONGEST = 4000  # characters of a line on what is wrong: names in it can be of any length


def is_main_process() -> bool:
    """Whether this is the one process, of all of a run's, that speaks and writes."""
    return all(os.environ.get(name, "0") == "0" for name in RANKS)


def say(text: str) -> None:
    """Print a line to standard output, in the main process only. Where that fails, the program goes on."""
    if is_main_process():
        try:
            print(printable(text), flush=True)
        except BrokenPipeError:
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115, it stays open to the end
        except OSError:  # a full disk, on which there may be room again later
            sys.stdout = open(1, "w", encoding=sys.stdout.encoding, errors="backslashreplace", closefd=False)  # noqa: SIM115


def complain(text: object) -> None:
    """Print a line of LONGEST characters at most to standard error. Where that fails, the program goes on."""
    line = printable(text)
    try:
        print(line if len(line) <= LONGEST else f"{line[:LONGEST]}...", file=sys.stderr, flush=True)
    except OSError:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, it stays open to the end


def make_usable() -> None:
    """Have standard output and standard error take any text, and be there even where the caller closed them."""
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:  # else the next file opened would get their number
        pass
    os.close(handle)
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w", closefd=False))  # noqa: SIM115, it stays open to the end
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):  # and not what a program that calls this one put in its place
            stream.reconfigure(errors="backslashreplace")
