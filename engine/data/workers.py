"""The processes that load batches: how they begin, so that none is left and none is waited for in vain."""

import multiprocessing
import os
import signal
from typing import Any

from engine.machine import FORKS
from engine.resume.lightning_internals import die_with_parent, report_lost_batches

if FORKS:
    from multiprocessing.context import ForkContext, ForkProcess
    from multiprocessing.popen_fork import Popen

    class _Started(Popen):
        """A process that is ended by SIGKILL, as it ignores SIGTERM."""

        def terminate(self) -> None:
            self.kill()

    class _Process(ForkProcess):
        @staticmethod
        def _Popen(process: Any) -> Popen:
            return _Started(process)

    class _Context(ForkContext):
        Process = _Process


def context() -> Any:
    """Return how loading processes are started: on Linux forked, whatever Python's default, else by that default.

    Only forked processes share a cache with the one that trains.
    """
    return _Context() if FORKS else None


def begin(number: int) -> None:
    """Set up a loading process, which has inherited the signal handlers of the one that trains.

    Requests to stop are that one's business, also where SLURM, systemd or a terminal sends them to every process: it
    still needs batches until its state is saved. A batch that cannot be handed over, as shared memory is full, would be
    dropped and waited for without end: an error takes its place.
    """
    for name in ("SIGINT", "SIGUSR1", "SIGUSR2"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN if FORKS else signal.SIG_DFL)  # a forked one is ended without it
    die_with_parent()  # even if this one hangs
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:  # it ended before that
        os._exit(1)
    report_lost_batches()
