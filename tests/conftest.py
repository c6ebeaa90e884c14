"""What many tests need: a folder of their own with the stand-in for MNIST in it, one thread, and a clean process.

Nothing here imports torch before the first test: the process that shares the tests out to others never needs it.
"""

import gc
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.machine import available_cores

pytest.register_assert_rewrite("engine.testing")  # so that its checks say what they compared
MAX_PROCESSES = 4  # each imports torch, and takes about a gigabyte


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at these options
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run folders of tests in a process per core, unless -n, or another option that needs one process, is given.

    Single files are run in this process: they end before others would have imported torch. So are tests without
    pytest-xdist, or with -p no:xdist.
    """
    option = config.option
    is_worker, has_xdist = hasattr(config, "workerinput"), hasattr(option, "numprocesses")
    if is_worker or not has_xdist or option.numprocesses is not None or option.dist != "no":
        return
    one_process = option.usepdb or option.collectonly or option.capture == "no" or option.keyword
    if not one_process and any(Path(arg).is_dir() for arg in config.args):
        option.numprocesses, option.dist = min(available_cores(), MAX_PROCESSES), "worksteal"


def process_state() -> dict[str, Any]:
    """Return what a test could leave behind for the next one; tests run in any order."""
    import torch

    from engine.resume.stops import SIGNALS

    return {
        "current folder": os.getcwd(),
        "signal handlers": [signal.getsignal(number) for number in SIGNALS],
        "threads of torch": torch.get_num_threads(),
        "type of new tensors": torch.get_default_dtype(),
        "deterministic operations": torch.are_deterministic_algorithms_enabled(),
        "gradients": torch.is_grad_enabled(),
        "silenced logging": logging.root.manager.disable,
        "import path": [path for path in sys.path if "site-packages/" not in path],  # where libraries add their own
        "command line": list(sys.argv),
        "tracked run": getattr(sys.modules.get("wandb"), "run", None),
    }


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Put the environment back, where a run leaves variables for its processes; fail a test that leaves more."""
    environment, before = dict(os.environ), process_state()
    yield
    if "WANDB_SERVICE" in os.environ.keys() - environment.keys():  # its process, which would serve later tests as well
        sys.modules["wandb"].teardown()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # it does not wait for the end of that process
            gc.collect()
    environment["PYTEST_CURRENT_TEST"] = os.environ["PYTEST_CURRENT_TEST"]  # pytest's own, by phase
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
    left = {name: (before[name], value) for name, value in process_state().items() if value != before[name]}
    assert not left, f"left behind, as (before, after): {left}"


@pytest.fixture(scope="session", autouse=True)
def tiny_runs() -> Iterator[None]:
    """Runs have one thread: more would only wait for each other."""
    import torch

    torch.set_num_threads(1)
    yield


@pytest.fixture(scope="session", autouse=True)
def without_reports() -> Iterator[None]:
    """Runs draw no report, which takes longer than all else in them; see `reports`."""
    from engine.report import main, write  # noqa: F401, `main` keeps the function itself
    from tests.tiny import no_report

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "write_report", no_report)
        yield


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs write their report, for tests that look at it."""
    from engine.report import main, write

    monkeypatch.setattr(write, "write_report", main.write_report)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder with data/MNIST/raw, whose sums MNISTDataModule accepts."""
    from tests.tiny import at_tiny

    return at_tiny(monkeypatch, tmp_path)
