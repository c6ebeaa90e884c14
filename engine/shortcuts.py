"""Shortcuts for speed: settings of the process, and private parts of libraries, that no result depends on.

All are off with PROJECT_PLAIN=1 in the environment, which shows whether one of them is behind a fault. Each says
what it relies on and what it gains; tests/engine/test_shortcuts.py has a test of each. Nothing of torch is imported
here, because some of this has to be settled before that.
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

# glibc's numbers for what mallopt sets.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
SPIN_SECONDS = 50e-6  # about as long as falling asleep and waking up takes
# A function of C that pauses as often as its argument says: endbr64; pause; dec edi; jnz to the pause; ret.
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
    """Have threads that wait for each other soon fall asleep, before torch is imported; a person's own settings stay.

    By default they spin for milliseconds, which on a busy machine, or in a container with a quota, takes the cores from
    the very threads that are waited for.
    Relies on GOMP_SPINCOUNT, a variable of GNU's OpenMP.
    """
    if not plain() and not any(name in os.environ for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")):
        os.environ["GOMP_SPINCOUNT"] = str(spins())


def spins() -> int:
    """Return how many times GNU's OpenMP has to pause for SPIN_SECONDS: it counts, and processors differ tenfold."""
    return min(10_000, max(100, round(SPIN_SECONDS / pause_seconds())))


@functools.cache
def pause_seconds(count: int = 200, tries: int = 5) -> float:
    """Return how long one pause takes: measured on x86, where processors differ, or if that cannot be done assumed."""
    code = PAUSES.get(platform.machine()) if sys.platform == "linux" else None
    if code is None:
        return 5e-9  # there it is a turn of a loop
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:  # a hardened system runs no code that was written just now
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
    """Have the C library keep freed memory for the next step, where it is glibc and nobody has set it otherwise.

    By default it returns large blocks to the system and fetches them again, page by page, at each step: a step of 500
    images then took 58 to 67 ms instead of 26. Relies on glibc's `mallopt`, called by ctypes.
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
    """Share the cores out among a run's processes on this machine; a person's OMP_NUM_THREADS stays.

    torch counts the machine's cores, also where a container's quota allows fewer.
    """
    import torch

    if plain() or "OMP_NUM_THREADS" in os.environ:
        return
    if "SLURM_PROCID" in os.environ:  # srun has given each process cores of its own
        processes = 1
    threads = max(1, available_cores() // processes)
    torch.set_num_threads(min(threads, torch.get_num_threads()))
    if processes > 1:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # for the processes that Lightning will start


def end_process(status: int) -> None:
    """End this process with a status, at once if no thread is left that Python would wait for.

    What is registered with `atexit` is called, by the private `atexit._run_exitfuncs`. Python would then take apart,
    piece by piece, what torch and Lightning have built: 1.8 s (a run of two seconds took 9.1 s instead of 7.3 s,
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
    """Within, a hub of weights that cannot be reached is not asked again and again, for most of a minute.

    Relies on `huggingface_hub.constants.HF_HUB_OFFLINE`, which is read at each request; its variable of that name in
    the environment is read once, at import.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    if not plain() and not can_be_reached(constants.ENDPOINT):
        constants.HF_HUB_OFFLINE = True  # what is in the cache is found all the same
        logging.getLogger("timm").setLevel(logging.ERROR)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def can_be_reached(address: str) -> bool:
    """Return whether something answers at an address, within CONNECT_SECONDS."""
    if any(name.lower() in ("https_proxy", "all_proxy") for name in os.environ):
        return True  # the proxy knows, and we do not
    parts = urllib.parse.urlsplit(address)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 443), timeout=CONNECT_SECONDS):
            return True
    except OSError:
        return False
