"""Shortcuts for speed: process settings and private parts of libraries that no result depends on.

PROJECT_PLAIN=1 in the environment turns all of them off, to find out whether one causes a fault. Each says what it
relies on and what it gains; tests/engine/test_shortcuts.py has a test of each. This module does not import torch at
the top, because some shortcuts must come before that import.
"""

import atexit
import contextlib
import ctypes
import functools
import logging
import mmap
import os
import platform
import socket
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator

from engine.machine import available_cores

# glibc's numbers of two mallopt parameters.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
SPIN_SECONDS = 50e-6  # about the time that a thread takes to fall asleep and wake up
# Machine code of a C function that pauses as often as its argument says: endbr64; pause; dec edi; jnz to pause; ret.
PAUSES = {"x86_64": bytes.fromhex("f30f1efa f390 ffcf 75fa c3")}

CONNECT_SECONDS = 3  # for a hub of weights to answer


def plain() -> bool:
    """Return whether PROJECT_PLAIN=1 turns all shortcuts off."""
    return os.environ.get("PROJECT_PLAIN") == "1"


def settle() -> None:
    """Settle threads and memory, before torch is imported."""
    share_cores()
    keep_memory()


def share_cores() -> None:
    """Make waiting threads fall asleep soon; call it before torch is imported. The user's own settings are kept.

    By default they spin for milliseconds. On a busy machine, or in a container with a quota, that takes cores from the
    very threads they wait for. Relies on GOMP_SPINCOUNT, a variable of GNU's OpenMP.
    """
    if not plain() and not any(name in os.environ for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")):
        os.environ["GOMP_SPINCOUNT"] = str(spins())


def spins() -> int:
    """Return the number of pauses in SPIN_SECONDS: OpenMP counts pauses, whose length differs tenfold by processor."""
    return min(10_000, max(100, round(SPIN_SECONDS / pause_seconds())))


@functools.cache
def pause_seconds(count: int = 200, tries: int = 5) -> float:
    """Return the duration of one pause: measured on x86, where processors differ, otherwise assumed."""
    code = PAUSES.get(platform.machine()) if sys.platform == "linux" else None
    if code is None:
        return 5e-9  # elsewhere a pause is one turn of a loop
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:  # hardened systems do not run code from writable memory
        return 5e-8
    page.write(code)
    pause = ctypes.CFUNCTYPE(None, ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    measured = []
    for _ in range(tries):
        start = time.perf_counter()
        pause(count)
        measured.append(time.perf_counter() - start)
    return min(measured) / count  # the others were interrupted


def keep_memory() -> None:
    """Make glibc keep freed memory for the next step, unless the user has set its options.

    By default it returns large blocks to the system and fetches them again, page by page, at each step: a step of 500
    images then took 58 to 67 ms instead of 26. Relies on glibc's `mallopt`, called through ctypes.
    """
    if (
        plain()
        or not sys.platform.startswith("linux")
        or any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    ):
        return
    with contextlib.suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def settle_threads(processes: int) -> None:
    """Divide the cores among a run's processes on this machine; the user's OMP_NUM_THREADS is kept.

    torch counts the machine's cores even if a container's quota allows fewer.
    """
    import torch

    if plain() or "OMP_NUM_THREADS" in os.environ:
        return
    if "SLURM_PROCID" in os.environ:  # srun has given each process its own cores
        processes = 1
    threads = max(1, available_cores() // processes)
    torch.set_num_threads(min(threads, torch.get_num_threads()))
    if processes > 1:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # for the processes that Lightning will start


def end_process(status: int) -> None:
    """End this process with a status, at once unless Python would wait for a thread.

    Functions registered with `atexit` are called, by the private `atexit._run_exitfuncs`. Python would then dismantle
    torch's and Lightning's objects one by one, which takes 1.8 s (a run of two seconds took 9.1 s instead of 7.3 s,
    medians of five each, on two shared cores).
    """
    if not plain() and all(thread.daemon or thread is threading.main_thread() for thread in threading.enumerate()):
        atexit._run_exitfuncs()
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


@contextlib.contextmanager
def without_hub_retries() -> Iterator[None]:
    """Avoid retries, which take most of a minute, if the hub of weights cannot be reached.

    Relies on `huggingface_hub.constants.HF_HUB_OFFLINE`, which is read at each request; the environment variable of
    that name is read only once, at import.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    if not plain() and not can_be_reached(constants.ENDPOINT):
        constants.HF_HUB_OFFLINE = True  # cached weights are still found
        logging.getLogger("timm").setLevel(logging.ERROR)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def can_be_reached(address: str) -> bool:
    """Return whether a server accepts connections at an address, within CONNECT_SECONDS."""
    if any(name.lower() in ("https_proxy", "all_proxy") for name in os.environ):
        return True  # only the proxy can tell
    parts = urllib.parse.urlsplit(address)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 443), timeout=CONNECT_SECONDS):
            return True
    except OSError:
        return False
