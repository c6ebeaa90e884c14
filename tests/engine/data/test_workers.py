"""Loading processes that fail end the loading at once, with an error that says so; signals to stop are not theirs."""

import multiprocessing
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from engine.data import workers
from engine.errors import cause_in_machine
from engine.resume.lightning_internals import set_loader_patience

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
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
                os.kill(os.getpid(), number)
        return (lambda: index) if index == 1 and self.what == "cannot be handed over" else torch.tensor(index)


def loader(what, timeout=60.0):
    options = {"worker_init_fn": workers.begin, "multiprocessing_context": workers.context()}
    return DataLoader(Odd(what), num_workers=1, collate_fn=list, timeout=timeout, **options)


def load(what, timeout=60.0):
    return [batch[0] for batch in loader(what, timeout)]


@pytest.mark.parametrize(
    ("what", "timeout", "message"),
    [
        ("is killed", 60.0, "a worker that loads batches failed .*use --data.num_workers 0.*"),
        ("cannot be handed over", 60.0, "a worker that loads batches failed .*use --data.num_workers 0.*"),
        ("hangs", 1.0, "a worker that loads batches hangs .*use --data.num_workers 0.*"),
    ],
)
def test_a_loading_process_that_fails_ends_the_loading_in_one_line(what, timeout, message):
    with pytest.raises(RuntimeError) as caught:
        load(what, timeout)
    cause = cause_in_machine(caught.value)
    assert cause is not None and re.fullmatch(message, cause)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere PyTorch ends it by SIGTERM")
def test_requests_to_stop_do_not_reach_it():
    assert load("asked to stop") == [0, 1, 2, 3]


def test_one_that_hangs_is_killed_at_the_end():
    batches = iter(loader("hangs"))
    next(batches)
    (process,) = batches._workers
    set_loader_patience(0.1)
    try:
        batches._shutdown_workers()
    finally:
        set_loader_patience()
    process.join(60)  # the system may take its time
    assert not process.is_alive() and process.exitcode == -signal.SIGKILL


def train_and_hang(connection):
    batches = iter(loader("hangs"))
    next(batches)
    connection.send(batches._workers[0].pid)
    next(batches)


@pytest.mark.skipif(sys.platform != "linux", reason="the system ends it there")
def test_one_that_hangs_ends_with_the_process_that_trains():
    context = multiprocessing.get_context("fork")
    reads, writes = context.Pipe(duplex=False)
    parent = context.Process(target=train_and_hang, args=[writes])
    parent.start()
    stat = Path("/proc") / str(reads.recv()) / "stat"
    assert stat.exists()
    parent.kill()
    parent.join()
    until = time.monotonic() + 60
    while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z" and time.monotonic() < until:
        time.sleep(0.05)
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def begin_late():
    os.getppid = lambda: 1
    workers.begin(0)


@pytest.mark.skipif(sys.platform != "linux", reason="processes are not forked there")
def test_one_that_begins_after_that_process_has_ended_ends_as_well():
    process = workers.context().Process(target=begin_late)
    process.start()
    process.join()
    assert process.exitcode == 1


def test_other_errors_are_no_lack_of_the_machine():
    assert cause_in_machine(RuntimeError("shape mismatch")) is None
    assert "out of memory" in str(cause_in_machine(MemoryError()))
