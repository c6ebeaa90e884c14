import ctypes
import mmap
import os
import platform
import subprocess
import sys

import pytest

from engine import machine


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content)


def test_cores_are_those_of_the_containers_quota(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)), raising=False)
    own, groups = tmp_path / "own", tmp_path / "groups"
    assert machine.available_cores(own, groups) == 16
    own.write_text("0::/outer/inner\n")
    assert machine.available_cores(own, groups) == 16
    write(groups, cpu__max="max 100000\n")
    write(groups / "outer" / "inner", cpu__max="max 100000\n")
    assert machine.available_cores(own, groups) == 16
    write(groups / "outer", cpu__max="350000 100000\n")  # a quota holds for all groups within
    assert machine.available_cores(own, groups) == 3
    write(groups, cpu__max="50000 100000\n")
    assert machine.available_cores(own, groups) == 1
    own.write_text("4:memory:/x\n3:cpu,cpuacct:/job\n0::/\n")
    (groups / "cpu.max").unlink()
    write(groups / "cpu", cpu__cfs_quota_us="-1\n", cpu__cfs_period_us="100000\n")
    assert machine.available_cores(own, groups) == 16
    write(groups / "cpu" / "job", cpu__cfs_quota_us="200000\n", cpu__cfs_period_us="100000\n")
    assert machine.available_cores(own, groups) == 2


@pytest.mark.parametrize(("processes", "quota", "threads"), [(1, 2, 2), (1, 1, 1), (2, 2, 1), (4, 2, 1)])
def test_threads_are_shared_out_and_a_persons_own_number_stays(monkeypatch, processes, quota, threads):
    import torch

    chosen = []
    monkeypatch.setattr(machine, "available_cores", lambda: quota)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    monkeypatch.setenv("OMP_NUM_THREADS", "")  # so that it is put back, whatever is done to it
    monkeypatch.delenv("OMP_NUM_THREADS")
    machine.settle_threads(processes)
    assert chosen == [threads] and os.environ.get("OMP_NUM_THREADS") == (str(threads) if processes > 1 else None)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    machine.settle_threads(processes)
    assert chosen == [threads]
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setenv("SLURM_PROCID", "0")  # whose processes have cores of their own already
    machine.settle_threads(processes)
    assert chosen == [threads, quota]


def test_threads_that_wait_soon_sleep_unless_a_person_says_otherwise(monkeypatch):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    machine.share_cores()
    assert "GOMP_SPINCOUNT" not in os.environ
    monkeypatch.delenv("OMP_WAIT_POLICY")
    machine.share_cores()
    assert int(os.environ.pop("GOMP_SPINCOUNT")) > 0


@pytest.mark.parametrize(("pause", "count"), [(23.5e-9, 2128), (50e-9, 1000), (1e-12, 10_000), (1.0, 100)])
def test_threads_spin_for_a_time_whatever_a_pause_takes(monkeypatch, pause, count):
    monkeypatch.setattr(machine, "_pause_seconds", lambda: pause)
    assert machine.spins() == count


@pytest.mark.parametrize("where", [("linux", "x86_64"), ("linux", "aarch64"), ("win32", "AMD64")])
@pytest.mark.parametrize("refused", [False, True])
def test_a_pause_is_measured_or_assumed_on_every_machine(monkeypatch, where, refused):
    def refuse(*arguments, **options):
        raise PermissionError

    if refused or where[1] != "x86_64":  # else the processor's own
        monkeypatch.setattr(sys, "platform", where[0])
        monkeypatch.setattr(platform, "machine", lambda: where[1])
    if refused:
        monkeypatch.setattr(mmap, "mmap", refuse)
    pause = machine._pause_seconds.__wrapped__()
    assert pause > 0 and (not refused or pause in (5e-9, 5e-8))


def test_this_is_settled_before_torch_is_imported():
    code = "import sys; import engine.errors; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


FAULTS = """
import resource, sys
from engine.machine import keep_memory
keep_memory()
from ctypes import CDLL, c_void_p, c_size_t, c_int
libc = CDLL("libc.so.6")
libc.malloc.restype, libc.malloc.argtypes = c_void_p, [c_size_t]
libc.free.argtypes, libc.memset.argtypes = [c_void_p], [c_void_p, c_int, c_size_t]
def use():
    block = libc.malloc(64 << 20)
    libc.memset(block, 1, 64 << 20)
    libc.free(block)
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def glibc():
    try:
        return hasattr(ctypes.CDLL("libc.so.6"), "mallopt")
    except OSError:
        return False


@pytest.mark.skipif(not glibc(), reason="the C library is not glibc")
@pytest.mark.parametrize(("environment", "kept"), [({}, True), ({"MALLOC_MMAP_MAX_": "1000"}, False)])
def test_freed_memory_is_kept_for_the_next_step(environment, kept):
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], env={**variables, **environment}, capture_output=True, text=True, check=True
    )
    assert (int(done.stdout) < 100) == kept  # pages fetched anew; 16,384 for each of five blocks otherwise
