"""Each shortcut for speed alone, and a run without any of them."""

import ctypes
import mmap
import os
import platform
import socket
import subprocess
import sys

import pytest
from huggingface_hub import constants, is_offline_mode

from engine import shortcuts
from engine.resume.checkpoint_file import read_checkpoint
from engine.resume.compare import differences
from tests.tiny import QUICK, run_script


@pytest.mark.parametrize(("processes", "quota", "threads"), [(1, 2, 2), (1, 1, 1), (2, 2, 1), (4, 2, 1)])
def test_threads_are_shared_out_and_a_persons_own_number_stays(monkeypatch, processes, quota, threads):
    import torch

    chosen = []
    monkeypatch.setattr(shortcuts, "available_cores", lambda: quota)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    monkeypatch.setenv("OMP_NUM_THREADS", "")  # so that it is put back, whatever is done to it
    monkeypatch.delenv("OMP_NUM_THREADS")
    shortcuts.settle_threads(processes)
    assert chosen == [threads] and os.environ.get("OMP_NUM_THREADS") == (str(threads) if processes > 1 else None)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    shortcuts.settle_threads(processes)
    assert chosen == [threads]
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setenv("SLURM_PROCID", "0")  # whose processes have cores of their own already
    shortcuts.settle_threads(processes)
    assert chosen == [threads, quota]


def test_threads_that_wait_soon_sleep_unless_a_person_says_otherwise(monkeypatch):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    shortcuts.share_cores()
    assert "GOMP_SPINCOUNT" not in os.environ
    monkeypatch.delenv("OMP_WAIT_POLICY")
    shortcuts.share_cores()
    assert int(os.environ.pop("GOMP_SPINCOUNT")) > 0


@pytest.mark.parametrize(("pause", "count"), [(23.5e-9, 2128), (50e-9, 1000), (1e-12, 10_000), (1.0, 100)])
def test_threads_spin_for_a_time_whatever_a_pause_takes(monkeypatch, pause, count):
    monkeypatch.setattr(shortcuts, "pause_seconds", lambda: pause)
    assert shortcuts.spins() == count


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
    pause = shortcuts.pause_seconds.__wrapped__()
    assert pause > 0 and (not refused or pause in (5e-9, 5e-8))


def test_this_is_settled_before_torch_is_imported():
    code = "import sys; import engine.errors; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


FAULTS = """
import resource, sys
from engine.shortcuts import keep_memory
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
@pytest.mark.parametrize(
    ("environment", "kept"),
    [({}, True), ({"MALLOC_MMAP_MAX_": "1000"}, False), ({"PROJECT_PLAIN": "1"}, False)],
)
def test_freed_memory_is_kept_for_the_next_step(environment, kept):
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], env={**variables, **environment}, capture_output=True, text=True, check=True
    )
    assert (int(done.stdout) < 100) == kept  # pages fetched anew; 16,384 for each of five blocks otherwise


SETTLED = """
import os, threading
from engine import shortcuts
shortcuts.settle()
import torch
shortcuts.settle_threads(2)
print(*sorted(name for name in os.environ if name.startswith(("GOMP_", "OMP_"))), flush=True)
class Late:
    def __del__(self):
        print("taken apart", flush=True)
late = Late()
shortcuts.end_process(3)
"""


@pytest.mark.parametrize(("plain", "output"), [("0", "GOMP_SPINCOUNT OMP_NUM_THREADS\n"), ("1", "\ntaken apart\n")])
def test_plain_leaves_threads_and_the_end_of_the_process_to_python(plain, output):
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("GOMP_", "OMP_", "KMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", SETTLED],
        env={**variables, "PROJECT_PLAIN": plain},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, output)


@pytest.mark.parametrize(("plain", "asked"), [("0", False), ("1", True)])
def test_a_hub_that_cannot_be_reached_is_not_asked(monkeypatch, plain, asked):
    def refuse(*arguments, **options):
        raise OSError

    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PROJECT_PLAIN", plain)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "create_connection", refuse)
    with shortcuts.without_hub_retries():
        assert is_offline_mode() is not asked
    assert not is_offline_mode()
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")  # it knows what can be reached, and we do not
    assert shortcuts.can_be_reached(constants.ENDPOINT)


@pytest.mark.slow
def test_a_run_without_shortcuts_ends_with_the_same_weights(workplace):
    """As programs of their own: what is settled before torch is imported cannot be undone in this one."""
    for name, plain in (("fast", "0"), ("plain", "1")):
        done = run_script("train", *QUICK, "--max_epochs", 1, "--name", name, cwd=workplace, PROJECT_PLAIN=plain)
        assert done.returncode == 0, done.stderr
    files = [read_checkpoint(workplace / f"checkpoints/{name}/last.ckpt") for name in ("fast", "plain")]
    assert differences(*files) == []
