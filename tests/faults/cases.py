"""The faults: each function takes an empty folder and a number of tries, and returns (tried, survived, remark)."""

import contextlib
import os
import random
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from engine.resume.checkpoint_file import read_checkpoint
from engine.resume.compare import differences
from project.data.mnist import MNISTDataModule
from tests.faults.bad_input import BAD_INPUT, last_error, refused, write_bad_files
from tests.tiny import PATIENCE, QUICK, TINY_SUMS, run_script, start_script, write_tiny

Outcome = tuple[int, int, str]
# Long enough, in epochs of ten steps, for several kills; with what a resume could get wrong.
RUN = [*QUICK, "--max_epochs", 30, "--save_every_steps", 4, "--optim.ema", 0.9, "--backbone.dropout", 0.1]
TWO = ["--accelerator", "cpu", "--devices", 2, "--strategy", "ddp", "--data.batch_size", 15]


def whole_run(folder: Path, name: str = "whole", *flags: object) -> None:
    """Run `name` without a fault: what the others are compared with."""
    write_tiny(folder / "data")
    done = run_script("train", *RUN, "--name", name, *flags, cwd=folder)
    assert done.returncode == 0, done.stderr


def start(folder: Path, name: str, *flags: object, **environment: str) -> subprocess.Popen[str]:
    """Start run `name`, or resume it if it has saved anything."""
    last = folder / "checkpoints" / name / "last.ckpt"
    if last.exists():
        return start_script("train", "--ckpt_path", last.relative_to(folder), cwd=folder, **environment)
    return start_script("train", *RUN, "--name", name, *flags, cwd=folder, **environment)


def wait_for(process: subprocess.Popen[str], text: str) -> list[str]:
    """Read the process's lines until one holds `text`, or they end."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            break
    return lines


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the end; return the exit status and what was printed."""
    try:
        output, _ = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        for pid in [pid for pid in _all_processes() if _descends(pid, process.pid)]:
            os.kill(pid, signal.SIGKILL)
        output, _ = process.communicate()
        return 999, output
    return process.returncode, output


def finish(folder: Path, name: str) -> bool:
    """Go on with a run until it is finished; return whether its last.ckpt is the whole run's, to the last bit."""
    status, output = end(start(folder, name))
    if status != 0:
        print(f"{name}: exit {status}\n{output}")
        return False
    return equal(folder, name)


def equal(folder: Path, name: str, other: str = "whole") -> bool:
    """Return whether the last.ckpt of two runs are equal to the last bit."""
    found = differences(*(read_checkpoint(folder / "checkpoints" / n / "last.ckpt") for n in (other, name)))
    if found:
        print(f"{name} differs from {other}: {found[:5]}")
    return not found


def alive(group: int) -> list[int]:
    """Return the processes of a group that still run."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            state, _, pgrp = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(pgrp) == group and state != "Z":
                found.append(int(entry.name))
    return found


def killed(folder: Path, tries: int) -> Outcome:
    """kill -9 at a random moment, every third inside a save; the same run goes on until it ends by itself."""
    whole_run(folder)
    generator = random.Random(tries)
    kills = inside = runs = good = 0
    unloadable = stuck = 0
    while kills < tries:
        name = f"killed{runs}"
        runs += 1
        while True:
            want_inside = kills % 3 == 0
            process = start(folder, name, **({"TINY_SLOW_SAVES": "1"} if want_inside else {}))
            marker = folder / "saving"
            marker.unlink(missing_ok=True)
            wait_for(process, "wandb ")  # training is about to start
            until = time.monotonic() + generator.uniform(0.2, 2.5)
            while process.poll() is None and (time.monotonic() < until or (want_inside and not marker.exists())):
                time.sleep(0.002)
            if kills >= tries or process.poll() is not None:
                status, output = end(process)
                if status == 0:
                    good += equal(folder, name)
                else:
                    stuck += 1
                    print(f"{name}: exit {status}\n{output}")
                break
            inside += marker.exists()
            os.killpg(process.pid, signal.SIGKILL)
            end(process)
            kills += 1
            last = folder / "checkpoints" / name / "last.ckpt"
            if last.exists():
                try:
                    read_checkpoint(last)
                except ValueError as error:
                    unloadable += 1
                    print(error)
            elif (folder / "checkpoints" / name).exists():  # nothing was saved yet: its name is free again by hand
                subprocess.run(["rm", "-r", str(folder / "checkpoints" / name)], check=True)
    remark = (
        f"{inside} inside a save; {unloadable} unloadable, {stuck} stuck, {good} of {runs} runs equal to the last bit"
    )
    return kills, kills - unloadable - stuck - (runs - good), remark


def signalled(folder: Path, tries: int) -> Outcome:
    """SIGTERM, SIGINT and SIGUSR1 while training: state saved, the right exit status, and a resume that is exact."""
    whole_run(folder)
    good = 0
    expected = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGUSR1: 138}
    for i in range(tries):
        number = list(expected)[i % 3]
        process = start(folder, f"signalled{i}")
        wait_for(process, "epoch 2/")
        process.send_signal(number)
        status, output = end(process)
        if status != expected[number] or "resume with --ckpt_path" not in output:
            print(f"{number.name}: exit {status}\n{output}")
            continue
        good += finish(folder, f"signalled{i}")
    return tries, good, "exit 143, 130, 138; resumed and equal"


def disk_full(folder: Path, tries: int) -> Outcome:
    """No more room for a checkpoint: one line, exit 1, what was saved before is whole, and the run goes on from it."""
    whole_run(folder)
    good = 0
    for i in range(tries):
        process = start(folder, f"full{i}")
        wait_for(process, "epoch 2/")
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (100_000, 100_000))
        status, output = end(process)
        if status != 1 or "could not be written" not in output or "Traceback" in output:
            print(f"exit {status}\n{output}")
            continue
        good += finish(folder, f"full{i}")
    return tries, good, "exit 1, one line; resumed and equal"


def damaged(folder: Path, tries: int) -> Outcome:
    """last.ckpt with a flipped bit, cut short, or empty: said aloud, and the run goes on from the one before."""
    whole_run(folder)
    generator = random.Random(0)
    good = 0
    for i in range(tries):
        process = start(folder, f"damaged{i}")
        wait_for(process, "epoch 3/")
        os.killpg(process.pid, signal.SIGKILL)
        end(process)
        path = folder / "checkpoints" / f"damaged{i}" / "last.ckpt"
        content = bytearray(path.read_bytes())
        if i % 3 == 0:
            content[len(content) // 4 + generator.randrange(len(content) // 2)] ^= 1 << generator.randrange(8)
        path.write_bytes([content, content[: len(content) // 2], b""][i % 3])
        status, output = end(start(folder, f"damaged{i}"))
        if status != 0 or "resuming from" not in output:
            print(f"exit {status}\n{output}")
            continue
        good += equal(folder, f"damaged{i}")
    return tries, good, "went on from previous.ckpt; equal"


def dead_tracker(folder: Path, tries: int) -> Outcome:
    """The tracker's process is killed: training goes on, exits 0, and its weights are those of an untracked run."""
    whole_run(folder)
    good = 0
    for i in range(tries):
        process = start(folder, f"tracker{i}", "--wandb", "offline", "--log_every_n_steps", 2)
        wait_for(process, "epoch 2/")
        others = [pid for pid in _all_processes() if _descends(pid, process.pid) and _is_tracker(pid)]
        for pid in others:
            os.kill(pid, signal.SIGKILL)
        status, output = end(process)
        if status != 0 or not others:
            print(f"exit {status}, {len(others)} tracker processes\n{output}")
            continue
        good += equal(folder, f"tracker{i}")
    return tries, good, "exit 0; equal to an untracked run"


def dead_rank(folder: Path, tries: int) -> Outcome:
    """One of two processes is killed, or hangs: the other ends too, non-zero, in time, and nothing is left running."""
    write_tiny(folder / "data")
    good = 0
    for i in range(tries):
        process = start(folder, f"rank{i}", *TWO, "--timeout_minutes", 0.1)
        wait_for(process, "epoch 2/")
        second = next(pid for pid in alive(process.pid) if pid != process.pid and _is_rank(pid, 1))
        target, number = [(second, signal.SIGKILL), (second, signal.SIGSTOP), (process.pid, signal.SIGKILL)][i % 3]
        os.kill(target, number)
        status, output = end(process)
        time.sleep(1)
        left = alive(process.pid)
        if status in (0, 999) or left:
            print(f"{number.name} to rank {int(target == second)}: exit {status}, left {left}\n{output}")
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            continue
        good += 1
    return tries, good, "killed, stopped, first one killed; exit non-zero, no survivors"


def _is_rank(pid: int, rank: int) -> bool:
    with contextlib.suppress(OSError):
        return f"LOCAL_RANK={rank}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return False


def two_resumed(folder: Path, tries: int) -> Outcome:
    """Two processes stopped by a signal within an epoch and resumed equal two that were not."""
    whole_run(folder, "two", *TWO, "--max_epochs", 8)
    good = 0
    for i in range(tries):
        process = start(folder, f"two{i}", *TWO, "--max_epochs", 8)
        wait_for(process, "epoch 2/")
        process.send_signal(signal.SIGTERM)
        status, output = end(process)
        if status != 143:
            print(f"exit {status}\n{output}")
            continue
        status, output = end(start(folder, f"two{i}"))
        good += status == 0 and equal(folder, f"two{i}", "two")
    return tries, good, "stopped, resumed, equal"


def restarted(folder: Path, tries: int) -> Outcome:
    """Under torchrun --max-restarts a killed process brings all of them back, and the run goes on by itself."""
    whole_run(folder, "again", *TWO, "--max_epochs", 8)
    good = 0
    for i in range(tries):
        name = f"again{i}"
        flags = [*RUN, *TWO, "--name", name, "--max_epochs", 8]
        process = start_script("train", *flags, cwd=folder, TINY_TORCHRUN="2")
        wait_for(process, "epoch 2/")
        second = next(pid for pid in _all_processes() if _is_rank(pid, 1) and _descends(pid, process.pid))
        os.kill(second, signal.SIGKILL)
        status, output = end(process)
        if status != 0:
            print(f"exit {status}\n{output}")
            continue
        good += equal(folder, name, "again")
    return tries, good, "restarted, resumed, equal"


def _is_tracker(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"wandb-core" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def _all_processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]


def _descends(pid: int, ancestor: int) -> bool:
    while pid > 1:
        if pid == ancestor:
            return True
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return False


def bad_input(folder: Path, tries: int) -> Outcome:
    """Command lines that cannot be meant: one line that says why, the right status, and nothing written or run."""
    write_tiny(folder / "data")
    write_bad_files(folder)
    good = 0
    with contextlib.chdir(folder), mock.patch.object(MNISTDataModule, "sums", TINY_SUMS):
        for arguments, status, message in BAD_INPUT:
            fine = refused(arguments) == (status, True, True) and message in last_error()
            fine = fine and not (folder / "checkpoints").exists() and not (folder / "nowhere").exists()
            if not fine:
                print(f"{arguments}: {last_error()}")
            good += fine
    return len(BAD_INPUT), good, "one line, the right status, nothing written"


# kind of fault, function, tries in the quick table, tries in the whole one
CASES: list[tuple[str, Callable[[Path, int], Outcome], int, int]] = [
    ("bad input", bad_input, 1, 1),
    ("kill -9", killed, 3, 100),
    ("SIGTERM, SIGINT, SIGUSR1", signalled, 3, 9),
    ("disk full", disk_full, 1, 3),
    ("damaged last.ckpt", damaged, 3, 9),
    ("tracker killed", dead_tracker, 1, 3),
    ("process of two killed or hung", dead_rank, 3, 6),
    ("two processes stopped and resumed", two_resumed, 1, 3),
    ("torchrun restart", restarted, 1, 3),
]
