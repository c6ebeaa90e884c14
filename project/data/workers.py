"""The processes that load batches: how they begin, so that none is left and none is waited for in vain."""

import multiprocessing.queues
import signal
from typing import Any

from torch._utils import ExceptionWrapper


def begin(number: int) -> None:
    """Set up a loading process, which has inherited the signal handlers of the one that trains.

    Requests to stop are that one's business; when it ends a loading process, nothing may hold that back. A batch that
    cannot be handed over, as shared memory is full, would be dropped and waited for without end: an error takes its
    place.
    """
    for name in ("SIGINT", "SIGUSR1", "SIGUSR2"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # The hook that Python's own process pools use for this; by itself a queue prints a traceback and goes on.
    multiprocessing.queues.Queue._on_queue_feeder_error = _hand_over  # type: ignore[attr-defined]


def _hand_over(queue: Any, error: Exception, batch: Any) -> None:
    try:
        raise RuntimeError(f"DataLoader worker cannot hand over a batch ({error})") from error
    except RuntimeError:
        queue.put((batch[0], ExceptionWrapper(where="in a loading process")))
