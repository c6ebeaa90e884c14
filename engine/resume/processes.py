"""The processes of a run: the role of this one, and its launcher."""

import os

from engine.errors import UsageError
from engine.terminal import RANKS, is_main_process

# Holds the run's name for the processes that Lightning starts for other devices.
NAME_VARIABLE = "PROJECT_RUN_NAME"


def is_started_by_another() -> bool:
    """Whether this process was started by the run's first one, for another device."""
    return NAME_VARIABLE in os.environ and os.environ.get("LOCAL_RANK", "0") != "0"


def is_restart() -> bool:
    """Whether torchrun or SLURM has started this same command again, after a failure or a requeue."""
    return any(int(os.environ.get(name) or 0) > 0 for name in ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"))


def launched() -> tuple[int, int] | None:
    """Return the number of processes per machine, and of machines, that torchrun or srun started; else None."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["GROUP_WORLD_SIZE"])
    if "SLURM_STEP_ID" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        machines = int(os.environ.get("SLURM_NNODES") or 1)
        return int(os.environ.get("SLURM_NTASKS") or machines) // machines, machines
    return None


def check_rank(global_rank: int) -> None:
    """Refuse a main process (by its Trainer) that the environment calls another: it would print and lock nothing.

    Raises:
        UsageError: names the environment variables that a launcher left behind.
    """
    if global_rank == 0 and not is_main_process():
        left = ", ".join(f"{name}={os.environ[name]}" for name in RANKS if os.environ.get(name, "0") != "0")
        raise UsageError(
            f"{left} in the environment contradicts that this is the run's main process: unset it, or start all "
            "processes with torchrun or srun"
        )
