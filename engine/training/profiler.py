"""The profiler that --profiler chooses, writing to the run's folder."""

from pathlib import Path

from lightning.pytorch.profilers import (
    AdvancedProfiler,
    Profiler,
    PyTorchProfiler,
    SimpleProfiler,
)

from engine.errors import UsageError

PROFILERS: dict[str, type[Profiler]] = {
    "simple": SimpleProfiler,
    "advanced": AdvancedProfiler,
    "pytorch": PyTorchProfiler,
}


def profiler(name: str | None, folder: Path | None) -> Profiler | None:
    """Return a profiler by name, which writes profile files into a run's folder; None without a name.

    Raises:
        UsageError: unknown name, or no folder to write to.
    """
    if name is None:
        return None
    if name not in PROFILERS:
        raise UsageError(f"--profiler is one of {', '.join(PROFILERS)}, got {name!r}")
    if folder is None:
        raise UsageError(f"--profiler {name} writes to the run's folder, and --fast_dev_run has none: leave one out")
    return PROFILERS[name](dirpath=folder, filename="profile")
