"""What exactness and durability cost: the default fit with and without them, side by side.

    python -m tests.faults.cost --pairs 5

Without: no seeding of each step, no check of loss and gradients, no fsync. Both write their checkpoints each epoch.
Needs the real MNIST in data/, and an otherwise idle machine; prints medians and the spread.
"""

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from engine.resume import checkpoints, guard
from scripts import train


@contextlib.contextmanager
def unprotected() -> Iterator[None]:
    """Within, runs are neither exact nor guarded nor durable."""
    with (
        mock.patch.object(checkpoints.SeedEveryStep, "on_train_batch_start", lambda *arguments: None),
        mock.patch.object(guard.FiniteGuard, "on_before_backward", lambda *arguments: None),
        mock.patch.object(guard.FiniteGuard, "on_before_optimizer_step", lambda *arguments: None),
        mock.patch.object(os, "fsync", lambda handle: None),
    ):
        yield


def fit_seconds(arguments: list[str]) -> float:
    """Run the default recipe once, silently; return the seconds of its fit."""
    from engine.record.summary_file import read_summary

    name = f"cost{len(list(Path('checkpoints').glob('*')))}"
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        train.main(["--wandb", "disabled", "--name", name, *arguments])
    return float(read_summary(Path("checkpoints") / name)["seconds"]["fit"])


def main() -> None:
    """Measure in pairs, in turn, after one run that is not counted."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.cost", description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    given, rest = parser.parse_known_args()
    rest = ["--data.root", str(Path("data").absolute()), *rest]
    protected_times, bare_times = [], []
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        fit_seconds(["--max_epochs", "1", *rest])
        for i in range(given.pairs):
            for bare in (False, True) if i % 2 else (True, False):  # neither always goes first
                with unprotected() if bare else contextlib.nullcontext():
                    (bare_times if bare else protected_times).append(fit_seconds(rest))
    for label, times in (("with", protected_times), ("without", bare_times)):
        print(f"{label:<8} median {statistics.median(times):6.2f} s  ({min(times):.2f} to {max(times):.2f})")
    ratios = [a / b for a, b in zip(protected_times, bare_times, strict=True)]
    print(f"ratio    median {statistics.median(ratios):6.3f}    ({min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    sys.exit(main())
