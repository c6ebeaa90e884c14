"""Signals that stop a run: noted at once, obeyed when the run's state can be saved."""

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from types import FrameType

from engine.errors import Stopped
from engine.resume.lightning_internals import set_loader_patience

# A job scheduler can be told to send one shortly before a job's time is up: save, and requeue the job.
REQUEUE = tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name))  # not on Windows
SIGNALS = (signal.SIGTERM, signal.SIGINT, *REQUEUE)


class StopSignals:
    """Catches the signals that stop a run.

    While `training`, a signal is only noted in `received`, which RunCheckpoints checks at each step. At other times
    there is nothing to save, and the signal stops the run at once. A SIGINT after any other signal always does.
    """

    def __init__(self) -> None:
        self.received: int = 0
        self.training = False

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Catch the signals in this context, and restore their handlers afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield  # Python delivers signals to the main thread only
            return
        before = {number: signal.signal(number, self._note) for number in SIGNALS}
        if hasattr(signal, "SIGCHLD"):  # PyTorch's handler raises for each worker that is killed at the end
            before[signal.SIGCHLD] = signal.getsignal(signal.SIGCHLD)
        try:
            yield
        finally:
            set_loader_patience()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        again = bool(self.received) and number == signal.SIGINT
        self.received = self.received or number
        if again or not self.training:
            set_loader_patience(0.1)
            raise Stopped(number)


def requeue() -> str:
    """Put this SLURM job back in the queue; return a line that says whether it worked."""
    job = os.environ.get("SLURM_ARRAY_JOB_ID")
    job = f"{job}_{os.environ['SLURM_ARRAY_TASK_ID']}" if job else os.environ["SLURM_JOB_ID"]
    program = shutil.which("scontrol")
    if program is None:
        return f"job {job} could not be put back in the queue: there is no scontrol here"
    done = subprocess.run([program, "requeue", job], capture_output=True, text=True, check=False)
    if done.returncode:
        return f"job {job} could not be put back in the queue: {' '.join(done.stderr.split())}"
    return f"job {job} is back in the queue"
