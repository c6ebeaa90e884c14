"""How a script starts and ends: the machine settled before torch is imported, one line for what a user can mend."""

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
        main: what the script does; it imports torch, which this function does not, within itself.
        of_several: whether the script can be one of several processes, which torchrun, SLURM or Lightning started.
    """
    end_process(run(main, of_several))


def run(main: Command, of_several: bool = False) -> int:
    """Run `main` on the command line's arguments; print what a person can mend, and return the status."""
    settle()  # before anything imports torch
    make_usable()
    try:
        if of_several:
            check_environment()
        else:  # any other process would say nothing
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
