"""Errors the user can fix, each with its exit status."""

import os
import signal
import traceback

# Variables of torchrun, SLURM and Lightning about a run's processes; all are whole numbers.
COUNTS = (
    *("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE"),
    *("MASTER_PORT", "TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"),
    *("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS", "SLURM_NNODES", "SLURM_JOB_ID"),
)


class RunError(Exception):
    """Something went wrong while running; exit status 1. Each argument is a line of its message."""

    status = 1

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


class UsageError(RunError):
    """The command line or the configuration is invalid; nothing was started. Exit status 2."""

    status = 2


class Stopped(BaseException):
    """A signal stopped the run, whose state is saved; exit status 128 + the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number
        self.status = 128 + number


def one_line(error: BaseException) -> str:
    """Return an error's message in one line; for an error passed on by a DataLoader worker, the original message."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    if "Original Traceback" in text:
        text = text.strip().splitlines()[-1].partition(": ")[2] or text
    return " ".join(text.split())


def raised_by(package: str, error: BaseException) -> bool:
    """Whether a package's own code raised an error, rather than code that it called."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and f"{os.sep}{package}{os.sep}" in frames[-1].filename


def cause_in_machine(error: Exception) -> str | None:
    """Return the machine's failure that caused an error, such as full memory, and a remedy; else None."""
    text = one_line(error)
    signs = ("DefaultCPUAllocator", "Storage size calculation overflowed", "out of memory")
    if isinstance(error, MemoryError) or any(sign in text for sign in signs):
        return f"out of memory ({text[:200]}): use smaller images, batches or networks"
    if text.startswith("DataLoader timed out"):
        return (
            f"a worker that loads batches hangs ({text}): use --data.num_workers 0, or a longer --timeout_minutes if "
            "batches may take that long"
        )
    if text.startswith("DataLoader worker") or isinstance(error, (ConnectionError, EOFError)):
        return (
            f"a worker that loads batches failed ({text[:200]}): it was killed, or memory or shared memory is full; "
            "use --data.num_workers 0, or give a container more shared memory (docker run --shm-size 2g)"
        )
    return None


def check_environment() -> None:
    """Refuse invalid environment variables about a run's processes, on which torch and Lightning would fail later.

    Raises:
        UsageError: names the variable.
    """
    for name in COUNTS:
        value = os.environ.get(name, "0")
        if not (value.isascii() and value.isdigit()):
            raise UsageError(f"the environment variable {name} is a whole number, got {value!r}: correct or unset it")
    interactive = os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")  # there Lightning ignores SLURM
    tasks = 1 if interactive else int(os.environ.get("SLURM_NTASKS") or 1)
    if tasks > 1 and "SLURM_NTASKS_PER_NODE" not in os.environ and "TORCHELASTIC_RUN_ID" not in os.environ:
        raise UsageError(
            f"SLURM_NTASKS is {tasks}: ask SLURM for --ntasks-per-node and start with srun; or, for a run of one "
            "process, unset SLURM_NTASKS"
        )
