"""The processes of a run: which this one is, who started it, and how they find each other again after a restart."""

import os
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from engine.errors import UsageError
from engine.terminal import RANKS, is_main_process

# The processes that Lightning starts for a run's other devices find its name here.
NAME_VARIABLE = "PROJECT_RUN_NAME"


def is_started_by_another() -> bool:
    """Whether this process was started by the run's first one, for another device."""
    return NAME_VARIABLE in os.environ and os.environ.get("LOCAL_RANK", "0") != "0"


def is_restart() -> bool:
    """Whether torchrun or SLURM has started this same command again, after a failure or a requeue."""
    return any(int(os.environ.get(name) or 0) > 0 for name in ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"))


def launched() -> tuple[int, int] | None:
    """Return how many processes torchrun or srun has started per machine, and on how many machines; else None."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["GROUP_WORLD_SIZE"])
    if "SLURM_STEP_ID" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        machines = int(os.environ.get("SLURM_NNODES") or 1)
        return int(os.environ.get("SLURM_NTASKS") or machines) // machines, machines
    return None


def check_rank(global_rank: int) -> None:
    """Refuse to be a run's main process by its Trainer and not by the environment: nothing would be said or guarded.

    Raises:
        UsageError: names the variables that a launcher left behind.
    """
    if global_rank == 0 and not is_main_process():
        left = ", ".join(f"{name}={os.environ[name]}" for name in RANKS if os.environ.get(name, "0") != "0")
        raise UsageError(
            f"{left} in the environment does not fit the main process of a run, which this is: unset it, or start all "
            "processes with torchrun or srun"
        )


def torchrun_store() -> Any:
    """Return torchrun's own store of keys and values, which outlives the processes, or None without torchrun."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    return dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)


def join_again(trainer: Any, timeout: timedelta) -> None:
    """After a restart by torchrun, form the process group under keys of its own.

    Torch would form it in the store that the processes before the restart used too, and then find their addresses
    there, where nobody answers any more (seen with torch 2.15). Lightning takes a group that is already there.
    """
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = torchrun_store()
    if attempt == "0" or store is None or trainer.world_size == 1:
        return
    device = trainer.strategy.root_device
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=dist.PrefixStore(f"attempt{attempt}", store),
        rank=int(os.environ["RANK"]),
        world_size=int(os.environ["WORLD_SIZE"]),
        timeout=timeout,
    )
