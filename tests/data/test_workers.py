"""Loading processes that fail end the loading at once, with an error that says so; signals to stop are not theirs."""

import os
import re
import signal
import sys
import time

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from project.data import workers
from project.run.errors import cause_in_machine

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are not forked there")


class Odd(Dataset):
    """Four samples; the second one makes the loading process do as `what` says."""

    def __init__(self, what):
        self.what = what

    def __len__(self):
        return 4

    def __getitem__(self, index):
        if index == 1 and self.what == "is killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if index == 1 and self.what == "hangs":
            time.sleep(1000)
        if index == 1 and self.what == "asked to stop":
            for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
                os.kill(os.getpid(), number)
        return (lambda: index) if index == 1 and self.what == "cannot be handed over" else torch.tensor(index)


def load(what, timeout=60.0):
    loader = DataLoader(
        Odd(what), num_workers=1, collate_fn=list, worker_init_fn=workers.begin, timeout=timeout,
        multiprocessing_context="fork",
    )  # fmt: skip
    return [batch[0] for batch in loader]


@pytest.mark.parametrize(
    ("what", "timeout", "message"),
    [
        ("is killed", 60.0, "a process that loads batches failed .*use --data.num_workers 0.*"),
        ("cannot be handed over", 60.0, "a process that loads batches failed .*use --data.num_workers 0.*"),
        ("hangs", 1.0, "a process that loads batches hangs .*use --data.num_workers 0.*"),
    ],
)
def test_a_loading_process_that_fails_ends_the_loading_in_one_line(what, timeout, message):
    with pytest.raises(RuntimeError) as caught:
        load(what, timeout)
    cause = cause_in_machine(caught.value)
    assert cause is not None and re.fullmatch(message, cause)


def test_requests_to_stop_do_not_reach_it():
    assert load("asked to stop") == [0, 1, 2, 3]


def test_other_errors_are_no_lack_of_the_machine():
    assert cause_in_machine(RuntimeError("shape mismatch")) is None
    assert "out of memory" in str(cause_in_machine(MemoryError()))
