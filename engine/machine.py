"""What the machine gives this process: cores that others may want too, and memory that it may keep.

Nothing of torch is imported here, because some of this has to be settled before that.
"""

import contextlib
import ctypes
import functools
import mmap
import os
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")
MEMINFO = Path("/proc/meminfo")
# glibc's numbers for what mallopt sets.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
SPIN_SECONDS = 50e-6  # about as long as falling asleep and waking up takes
# A function of C that pauses as often as its argument says: endbr64; pause; dec edi; jnz to the pause; ret.
PAUSES = {"x86_64": bytes.fromhex("f30f1efa f390 ffcf 75fa c3")}


def share_cores() -> None:
    """Have threads that wait for each other soon fall asleep, before torch is imported; a person's own settings stay.

    By default they spin for milliseconds, which on a busy machine, or in a container with a quota, takes the cores from
    the very threads that are waited for: see docs/template/performance.md.
    """
    if not any(name in os.environ for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")):
        os.environ["GOMP_SPINCOUNT"] = str(spins())


def spins() -> int:
    """Return how many times GNU's OpenMP has to pause for SPIN_SECONDS: it counts, and processors differ tenfold."""
    return min(10_000, max(100, round(SPIN_SECONDS / _pause_seconds())))


@functools.cache
def _pause_seconds(count: int = 200, tries: int = 5) -> float:
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

    By default it returns large blocks to the system and fetches them again, page by page, at each step: see
    docs/template/performance.md.
    """
    if not sys.platform.startswith("linux") or any(
        name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ
    ):
        return
    with contextlib.suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def available_cores(own_cgroups: Path = OWN_CGROUPS, cgroups: Path = CGROUPS) -> int:
    """Return how many cores this process may use: no more than its affinity, or the quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *(int(quota) for quota in _quotas(own_cgroups, cgroups))]))


def available_memory(own_cgroups: Path = OWN_CGROUPS, cgroups: Path = CGROUPS, meminfo: Path = MEMINFO) -> int:
    """Return how many bytes this process may still take: what the machine has free, or what its container is left."""
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text(encoding="utf-8").splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):  # not Linux: half of what the machine has
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2 if hasattr(os, "sysconf") else 2**32
    return max(0, min([free, *_memory_left(own_cgroups, cgroups)]))


def settle_threads(processes: int) -> None:
    """Share the cores out among a run's processes on this machine; a person's OMP_NUM_THREADS stays.

    torch counts the machine's cores, also where a container's quota allows fewer.
    """
    import torch

    if "OMP_NUM_THREADS" in os.environ:
        return
    if "SLURM_PROCID" in os.environ:  # srun has given each process cores of its own
        processes = 1
    threads = max(1, available_cores() // processes)
    torch.set_num_threads(min(threads, torch.get_num_threads()))
    if processes > 1:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # for the processes that Lightning will start


def forget_absent_gpus() -> None:
    """Where torch finds no GPU, say so once and for all.

    Lightning has torch ask the driver's library instead of the driver, and without that library torch would search the
    disk for it at each step of the optimiser.
    """
    import torch

    if not torch.cuda.is_available():
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")


def _quotas(own_cgroups: Path, cgroups: Path) -> Iterator[float]:
    """Yield the quota, in cores, of each control group that this process is in, of either version."""
    for folder, version in _groups("cpu", own_cgroups, cgroups):
        with contextlib.suppress(OSError, ValueError):
            if version == 1:
                quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
            else:
                # "max 100000" where there is none, which is no number.
                quota, period = map(int, (folder / "cpu.max").read_text(encoding="utf-8").split())
            if quota > 0:
                yield quota / period


def _memory_left(own_cgroups: Path, cgroups: Path) -> Iterator[int]:
    """Yield the bytes left to each control group that this process is in; files that were read do not count as used."""
    names = {1: ("memory.limit_in_bytes", "memory.usage_in_bytes"), 2: ("memory.max", "memory.current")}
    for folder, version in _groups("memory", own_cgroups, cgroups):
        with contextlib.suppress(OSError, ValueError):
            limit, used = (_number(folder / name) for name in names[version])
            lines = (folder / "memory.stat").read_text(encoding="utf-8").splitlines()
            counts = {name: int(count) for name, count in (line.split() for line in lines)}
            yield limit - used + counts.get("inactive_file", 0)


def _number(path: Path) -> int:
    return int(path.read_text(encoding="utf-8"))


def _groups(controller: str, own_cgroups: Path, cgroups: Path) -> Iterator[tuple[Path, int]]:
    """Yield the folder of each control group that this process is in, and the version of its format."""
    try:
        lines = own_cgroups.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = cgroups / controller if controllers else cgroups
        # Within a container the path may be that of the host, of which only the root can be seen.
        for folder in [root, *(root / part for part in _with_parents(path))]:
            yield folder, 1 if controllers else 2


def _with_parents(path: str) -> Iterator[str]:
    parts = [part for part in path.split("/") if part not in ("", "..")]
    for end in range(1, len(parts) + 1):
        yield "/".join(parts[:end])
