"""Errors that a person can mend, and how a script reports them: one clear line and the right exit status."""

import atexit
import contextlib
import importlib
import os
import signal
import sys
import threading

from project.machine import keep_memory, share_cores


class RunError(Exception):
    """Something went wrong while running; exit status 1."""

    status = 1


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
    if "Original Traceback" in text:
        text = text.strip().splitlines()[-1].partition(": ")[2] or text
    return " ".join(text.split())


def printable(text: object) -> str:
    """Return text, such as the name of a file, as one line, whatever characters are in it."""
    return "".join(c if c.isprintable() else "?" for c in str(text))


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
    _put_matplotlib_off()
    try:
        importlib.import_module(module).main(sys.argv[1:])
        sys.stdout.flush()
    except RunError as error:
        if os.environ.get("PROJECT_TRACEBACK"):  # for whoever looks for a fault in the code, not in its use
            raise
        print(f"error: {error}", file=sys.stderr)
        return error.status
    except Stopped as stop:
        print(stop, file=sys.stderr)
        return stop.status
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone, `| head` say: no message, and none at exit either
        return 1
    return 0


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
