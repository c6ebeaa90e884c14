"""The DataLoader's workers, set up so that none is left behind and none makes the training wait for ever."""

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
        """A process that is ended by SIGKILL, because it ignores SIGTERM."""

        def terminate(self) -> None:
            self.kill()

    class _Process(ForkProcess):
        @staticmethod
        def _Popen(process: Any) -> Popen:
            return _Started(process)

    class _Context(ForkContext):
        Process = _Process


def context() -> Any:
    """Return the multiprocessing context of workers: fork on Linux, else None for Python's default.

    Only forked workers share a cache with the training process.
    """
    return _Context() if FORKS else None


def begin(number: int) -> None:
    """Set up a worker, which has inherited the training process's signal handlers.

    Workers ignore signals that stop a run, even if SLURM, systemd or a terminal sends them to every process: training
    needs batches until its state is saved. A batch that cannot be sent becomes an error; see `report_lost_batches`.
    """
    for name in ("SIGINT", "SIGUSR1", "SIGUSR2"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN if FORKS else signal.SIG_DFL)  # forked workers are ended by SIGKILL
    die_with_parent()  # even if this worker hangs
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:  # it ended before die_with_parent
        os._exit(1)
    report_lost_batches()
