"""The cores and the memory that this process may use, by its affinity and its container."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")
MEMINFO = Path("/proc/meminfo")
# macOS has os.fork too, but its libraries do not survive it.
FORKS = sys.platform == "linux" and hasattr(os, "fork")


def available_cores(own_cgroups: Path = OWN_CGROUPS, cgroups: Path = CGROUPS) -> int:
    """Return how many cores this process may use, as limited by its affinity and its container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *(int(quota) for quota in _quotas(own_cgroups, cgroups))]))


def available_memory(own_cgroups: Path = OWN_CGROUPS, cgroups: Path = CGROUPS, meminfo: Path = MEMINFO) -> int:
    """Return how many bytes this process may still take: the machine's free memory, or what its container has left."""
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text(encoding="utf-8").splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):  # not Linux: assume half of the machine's memory
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2 if hasattr(os, "sysconf") else 2**32
    return max(0, min([free, *_memory_left(own_cgroups, cgroups)]))


def _quotas(own_cgroups: Path, cgroups: Path) -> Iterator[float]:
    """Yield the quota, in cores, of each control group (version 1 or 2) of this process."""
    for folder, version in _groups("cpu", own_cgroups, cgroups):
        with contextlib.suppress(OSError, ValueError):
            if version == 1:
                quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
            else:
                # Without a quota the file holds "max 100000", and int("max") raises.
                quota, period = map(int, (folder / "cpu.max").read_text(encoding="utf-8").split())
            if quota > 0:
                yield quota / period


def _memory_left(own_cgroups: Path, cgroups: Path) -> Iterator[int]:
    """Yield the bytes left to each control group of this process; cached pages of files do not count as used."""
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
    """Yield the folder of each control group of this process, and its version."""
    try:
        lines = own_cgroups.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = cgroups / controller if controllers else cgroups
        # Within a container the path may be the host's, of which only the root is visible.
        for folder in [root, *(root / part for part in _with_parents(path))]:
            yield folder, 1 if controllers else 2


def _with_parents(path: str) -> Iterator[str]:
    parts = [part for part in path.split("/") if part not in ("", "..")]
    for end in range(1, len(parts) + 1):
        yield "/".join(parts[:end])
