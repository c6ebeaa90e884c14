"""Errors that a person can mend, and how a script reports them: one clear line and the right exit status."""

import atexit
import contextlib
import importlib
import os
import signal
import sys
import threading
import traceback

from project.machine import keep_memory, share_cores
from project.run.terminal import RANKS, complain, make_usable

# What torchrun, SLURM or Lightning say of this process and the others, as whole numbers.
COUNTS = (
    *("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE"),
    *("MASTER_PORT", "TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"),
    *("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS", "SLURM_NNODES", "SLURM_JOB_ID"),
)
# The programs that can be several processes.
OF_SEVERAL = ("project.run.train", "project.run.evaluate")


class RunError(Exception):
    """Something went wrong while running; exit status 1. Each argument is a line of its message."""

    status = 1

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


class UsageError(RunError):
    """What was asked for makes no sense; nothing was started. Exit status 2."""

    status = 2


class Stopped(BaseException):
    """A signal asked the run to end, and its state is saved; exit status 128 + the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number
        self.status = 128 + number


def one_line(error: BaseException) -> str:
    """Return an error's message in one line; of one that a loading process passed on, what it was there."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    if "Original Traceback" in text:
        text = text.strip().splitlines()[-1].partition(": ")[2] or text
    return " ".join(text.split())


def cause_in_machine(error: Exception) -> str | None:
    """Return what the machine lacked, and a remedy, if that is behind an error; else None."""
    text = one_line(error)
    signs = ("DefaultCPUAllocator", "Storage size calculation overflowed", "out of memory")
    if isinstance(error, MemoryError) or any(sign in text for sign in signs):
        return f"out of memory ({text[:200]}): use smaller images, batches or networks"
    if text.startswith("DataLoader timed out"):
        return (
            f"a process that loads batches hangs ({text}): use --data.num_workers 0, or a longer --timeout_minutes if "
            "batches may take that long"
        )
    if text.startswith("DataLoader worker") or isinstance(error, (ConnectionError, EOFError)):
        return (
            f"a process that loads batches failed ({text[:200]}): it was killed, or memory or shared memory is full; "
            "use --data.num_workers 0, or give a container more shared memory (docker run --shm-size 2g)"
        )
    return None


def check_environment() -> None:
    """Refuse variables about this run's processes that make no sense; torch and Lightning would fail on them later.

    Raises:
        UsageError: names the variable.
    """
    for name in COUNTS:
        value = os.environ.get(name, "0")
        if not (value.isascii() and value.isdigit()):
            raise UsageError(f"the environment variable {name} is a whole number, got {value!r}: correct or unset it")
    interactive = os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")  # there Lightning ignores SLURM
    tasks = 1 if interactive else int(os.environ.get("SLURM_NTASKS") or 1)
    if tasks > 1 and "SLURM_NTASKS_PER_NODE" not in os.environ and "TORCHELASTIC_RUN_ID" not in os.environ:
        raise UsageError(
            f"SLURM_NTASKS is {tasks}: ask SLURM for --ntasks-per-node and start with srun; or, for a run of one "
            "process, unset SLURM_NTASKS"
        )


def main(module: str) -> None:
    """Run a module's `main` on the command line's arguments, and end the process with its status."""
    status = run(module)
    # Python would now take a second and more to take apart, piece by piece, what torch and Lightning have built.
    if all(thread.daemon or thread is threading.main_thread() for thread in threading.enumerate()):
        atexit._run_exitfuncs()
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def run(module: str) -> int:
    """Run a module's `main` on the command line's arguments; print what a person can mend, and return the status."""
    share_cores()  # before anything imports torch
    keep_memory()
    make_usable()
    _put_matplotlib_off()
    try:
        if module in OF_SEVERAL:
            check_environment()
        else:  # any other process would say nothing
            for name in RANKS:
                os.environ.pop(name, None)
        importlib.import_module(module).main(sys.argv[1:])
        sys.stdout.flush()
    except RunError as error:
        return _report(error, error.status, *error.args)
    except Stopped as stop:
        complain(stop)
        return stop.status
    except KeyboardInterrupt:
        complain("interrupted")
        return 128 + signal.SIGINT
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone, `| head` say: no message, and none at exit either
        return 1
    except OSError as error:
        if error.errno is None:  # raised in somebody's code, not by the system
            raise
        return _report(error, 1, one_line(error))
    except (MemoryError, RuntimeError) as error:
        cause = cause_in_machine(error)
        if cause is None:
            raise
        return _report(error, 1, cause)
    return 0


def _report(error: Exception, status: int, *lines: object) -> int:
    """Print an error the user can fix, one line per argument; return the exit status."""
    if os.environ.get("PROJECT_TRACEBACK"):  # for whoever looks for a fault in the code, not in its use
        traceback.print_exception(error)
    for i, line in enumerate(lines):
        complain(line if i else f"error: {line}")
    return status


def _put_matplotlib_off() -> None:
    """Have torchmetrics do without matplotlib, which it would import at once: most of a second at each start.

    It needs it to draw a metric only. Whoever draws here imports it when that is due.
    """
    from lightning_utilities.core.imports import RequirementCache

    check = getattr(RequirementCache, "_check_available", None)
    if check is None:  # another version of it: starting takes that much longer
        return

    def unless_matplotlib(self: RequirementCache) -> None:
        if self.requirement == "matplotlib":
            self.available, self.message = False, "matplotlib is not imported here"
        else:
            check(self)

    RequirementCache._check_available = unless_matplotlib  # type: ignore[method-assign]
