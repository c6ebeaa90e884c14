"""What --profiler chooses: where its result goes, and what stands in for it when none is asked for."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from lightning.pytorch.profilers import (
    AdvancedProfiler,
    PassThroughProfiler,
    Profiler,
    PyTorchProfiler,
    SimpleProfiler,
)

from engine.errors import UsageError

NOTHING = nullcontext()
PROFILERS: dict[str, type[Profiler]] = {
    "simple": SimpleProfiler,
    "advanced": AdvancedProfiler,
    "pytorch": PyTorchProfiler,
}


class NoProfiler(PassThroughProfiler):
    """Measures nothing, and takes no time: Lightning's own enters a new context some fifty times a step."""

    def profile(self, action_name: str) -> AbstractContextManager[None]:  # type: ignore[override]
        return NOTHING


def profiler(name: str | None, folder: Path | None) -> Profiler:
    """Return a profiler by name, which writes its results to profile files in a run's folder.

    Raises:
        UsageError: there is none of that name, or no folder to write to.
    """
    if name is None:
        return NoProfiler()
    if name not in PROFILERS:
        raise UsageError(f"--profiler is one of {', '.join(PROFILERS)}, got {name!r}")
    if folder is None:
        raise UsageError(f"--profiler {name} writes to the run's folder, and --fast_dev_run has none: leave one out")
    return PROFILERS[name](dirpath=folder, filename="profile")
