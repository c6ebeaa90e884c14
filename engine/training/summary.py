"""A run's results: summary.json, and the closing lines on the screen."""

import json
import math
import os
import platform
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from engine.resume.checkpoint_file import write_text
from engine.terminal import script_command
from engine.training.progress import is_of_a_class, measured_rows, percent_or_number

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

NO_BREAK = "\u00a0"
MAX_CLASSES = 24  # shown on the screen; summary.json has all
PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "timm", "wandb")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def hardware(device: torch.device, processes: int) -> dict[str, Any]:
    """Describe the run's machine: processor, cores, threads, device, number of processes and GPU."""
    described: dict[str, Any] = {"processor": _processor(), "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    described |= {"device": device.type, "processes": processes}
    if device.type == "cuda":
        described["gpu"] = torch.cuda.get_device_name(device)
    return described


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def git_state() -> dict[str, Any] | None:
    """Return the current folder's git commit, and whether tracked files have changed; None outside a working tree.

    A stranger's repository can make git run programs named in its configuration: a file system monitor, hooks,
    filters. All of these are off here.
    """
    options = ["-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}"]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "NOTHING_FOR_GIT": ""}

    def git(*arguments: str) -> str:
        command = ["git", *options, *arguments]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=5, check=True, env=environment)
        return done.stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        for line in git("config", "--show-scope", "--name-only", "--list").splitlines():
            scope, _, name = line.partition("\t")
            if scope in ("local", "worktree") and name.startswith("filter."):
                options.append(f"--config-env={name}=NOTHING_FOR_GIT")
        # Compare only a submodule's commit: for its changes git would run in its folder, with its configuration.
        return {"commit": commit, "changed": bool(git("status", "--porcelain", "-uno", "--ignore-submodules=dirty"))}
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None


def peak_memory_mb(device: torch.device) -> float:
    """Return the peak memory use in MiB: the GPU's if there is one, else this process's (nan on Windows)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if resource is None:
        return math.nan
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def write_summary(summary: Mapping[str, Any], folder: Path) -> None:
    """Write a run's summary.json."""
    write_text(json.dumps(_finite(summary), indent=2, allow_nan=False) + "\n", folder / "summary.json")


def _finite(value: Any) -> Any:
    """Replace nan and infinity by None: JSON has neither."""
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def closing_lines(
    summary: Mapping[str, Any], folder: Path | None, written: Mapping[str, Path], more: Mapping[str, str]
) -> list[str]:
    """Return the closing lines of a finished run, `more` last; a rehearsal has no folder."""
    metrics = {k: v for k, v in summary["metrics"].items() if k.startswith("test/") and not is_of_a_class(k)}
    rows = measured_rows(metrics)
    rows += _by_class(summary["metrics"])
    if part := _measured_in_part(summary):
        rows.append(("measured", part))
    best = summary["best"]
    if best["value"] is not None:
        value = percent_or_number(best["metric"], best["value"])
        rows.append(("best", f"{best['metric']} {value}, epoch {best['epoch']}"))
    seconds = summary["seconds"]
    parts = ", ".join(f"{name} {seconds[name]:.1f} s" for name in ("setup", "fit", "test", "total"))
    rows.append(("time", f"{parts}; {summary['images_per_second']:,.0f} images/s"))
    if folder is not None:
        rows.append(("folder", f"{folder}/"))
        rows += [(name, str(path)) for name, path in written.items()]
        rows.append(("use it", f"{script_command('predict')} {folder}/best.ckpt IMAGES"))
    rows += more.items()
    width = max(12, *(len(label) + 1 for label, _ in rows))
    return [f"{label:<{width}}{text}" for label, text in rows]


def _measured_in_part(summary: Mapping[str, Any]) -> str:
    """Return how many images the test and the last validation used, if not all; else ''."""
    counts = {split: (used, summary["images"].get(split, used)) for split, used in summary["measured"].items()}
    names = (("test", "test"), ("val", "validation"))
    parts = [(*counts[split], name) for split, name in names if split in counts]
    return ", ".join(f"{used:,} of {num:,} {name} images" for used, num, name in parts if 0 < used < num)


def _by_class(metrics: Mapping[str, float]) -> list[tuple[str, str]]:
    """Return the test's metric of each class, best first, wrapped to lines; only the best and worst of many classes."""
    measured = sorted(((value, name) for name, value in metrics.items() if is_of_a_class(name)), reverse=True)
    if not measured:
        return []
    measure = measured[0][1].split("/")[1]
    # No line breaks between a class and its number.
    each = [f"{name.split('/', 2)[2]} {100 * value:.1f} %".replace(" ", NO_BREAK) for value, name in measured]
    if len(each) > MAX_CLASSES:
        half = MAX_CLASSES // 2
        each = [*each[:half], "...", *each[-half:]]
    lines = textwrap.wrap(", ".join(each), 66)
    return [(f"{measure}, each" if i == 0 else "", line.replace(NO_BREAK, " ")) for i, line in enumerate(lines)]
