"""Lines on standard output and standard error: nothing in them, and nothing about these streams, can end a run."""

import io
import logging
import os
import sys
import warnings

from engine.contract.registry import printable

RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
LONGEST = 4000  # characters of a line on what is wrong: names in it can be of any length


console = ""  # the package whose console command this process runs, if it does


def script_command(script: str) -> str:
    """Return how to start a script: by a console command if this process was started by one."""
    return f"{console}-{script.replace('_', '-')}" if console else f"python scripts/{script}.py"


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


def quieten() -> None:
    """Silence what Lightning says of itself, and known warnings of libraries; Python shows others with their place."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for pattern in (
        ".*LeafSpec.*is deprecated.*",  # of Lightning's own making, with newer releases of torch
        ".*all_gather is deprecated.*",  # the same
        ".*does not have many workers.*",  # the images are in memory
        ".*dataloader is not resumable.*",  # ours is: its data module keeps the position
        ".*smaller than the logging interval.*",
        ".*It is recommended to use `self.log\\('(train|val|test)/.*",  # a task's are joined over the processes already
        "You defined a `validation_step` but have no `val_dataloader`.*",  # asked for with --data.val_size 0
        ".*is not supported by the model summary.*",
    ):
        warnings.filterwarnings("ignore", message=pattern)
    if not is_main_process():  # the others would say the same
        warnings.simplefilter("ignore")
