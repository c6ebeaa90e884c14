"""Starts and ends a script: settles the machine before torch is imported, and prints a user's error as one line."""

import os
import runpy
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from engine import terminal
from engine.errors import RunError, Stopped, cause_in_machine, check_environment, one_line
from engine.shortcuts import end_process, settle
from engine.terminal import RANKS, complain, make_usable

Command = Callable[[list[str]], None]


def console() -> None:
    """Run a console command: PACKAGE-NAME runs scripts/NAME.py, which is installed beside the engine."""
    terminal.console, _, name = Path(sys.argv[0]).stem.partition("-")
    script = Path(__file__).parents[1] / "scripts" / f"{name.replace('-', '_')}.py"
    runpy.run_path(str(script), run_name="__main__")


def run_command(main: Command, of_several: bool = False) -> None:
    """Run a script's `main` on the command line's arguments, and end the process with its status.

    Args:
        main: does the script's work. It imports torch itself, so that --help needs no torch.
        of_several: whether the script can be one of several processes, started by torchrun, SLURM or Lightning.
    """
    end_process(run(main, of_several))


def run(main: Command, of_several: bool = False) -> int:
    """Run `main` on the command line's arguments; print an error the user can fix, and return the exit status."""
    settle()  # before anything imports torch
    make_usable()
    try:
        if of_several:
            check_environment()
        else:  # with another rank than 0 this process would print nothing
            for name in RANKS:
                os.environ.pop(name, None)
        main(sys.argv[1:])
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
        sys.stderr.close()  # the reader of our output, such as `| head`, has gone: no message, also none at exit
        return 1
    except OSError as error:
        if error.errno is None:  # raised by code, not by the system
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
    if os.environ.get("PROJECT_TRACEBACK"):  # to find a bug in the code
        traceback.print_exception(error)
    for i, line in enumerate(lines):
        complain(line if i else f"error: {line}")
    return status
