"""A checkpoint whose state is not one that this run can go on from is refused by a line, and nothing saved is lost."""

import functools
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import RunError, UsageError
from engine.inference import evaluate
from engine.resume.checkpoint_file import read_checkpoint, write_checkpoint
from project.data import DATA
from scripts import train
from tests.runs import run, workplace_of_a_module
from tests.tiny import TASK

STATE = ("optimizer_states", 0, "state", 0)
POSITION = next(module.__name__ for module in DATA.values() if TASK in module.tasks)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    with workplace_of_a_module(tmp_path_factory):
        run("--name", "saved", "--max_epochs", 1, "--optim.ema", 0.9)
        yield Path("checkpoints/saved/last.ckpt")


def put(value: Any, *path: Any) -> Callable[[Any], None]:
    """Return what sets a value at a place; a function as the value is given the one that is there."""

    def change(content: Any) -> None:
        holder = functools.reduce(operator.getitem, path[:-1], content)
        holder[path[-1]] = value(holder[path[-1]]) if callable(value) else value

    return change


def with_two_values(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {**state, next(iter(state)): torch.ones(2)}


def drop(*path: Any) -> Callable[[Any], None]:
    return lambda content: functools.reduce(operator.getitem, path[:-1], content).pop(path[-1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put([], "loops"), "its state has no loops.fit_loop"),
        (put(None, "loops", "fit_loop", "epoch_progress", "current", "processed"), "progress.current.processed is"),
        (put(-1, "global_step"), "its global_step is -1"),
        (put(True, "epoch"), "its epoch is True"),
        (put(3, "run", "name"), "its run.name is 3"),
        (drop("run", "tracker_id"), "its state has no run.tracker_id"),
        (put(1.5, "lr_schedulers"), "its lr_schedulers is 1.5"),
        (put("x", "callbacks", "RunCheckpoints", "best_value"), "best_value is 'x'"),
        (put(7, "epoch_means", "sums"), "epoch_means.sums is 7"),
        (put(lambda sums: sums[:, :0], "epoch_means", "sums"), r"epoch_means have shape \(1, 0, 2\)"),
        (put({"until": "x"}, "course"), "its course is"),
        (drop("current_model_state"), "its current_model_state is None"),
        (put(with_two_values, "current_model_state"), r"weight is \(2,\)"),
        (drop("averaging_state"), "its averaging_state is None"),
        (drop("callbacks", "AveragedWeights"), "callbacks.AveragedWeights is None"),
    ],
)  # fmt: skip
def test_what_is_not_a_state_is_refused_before_anything_is_made_of_it(saved, change, words):
    content = read_checkpoint(saved)
    change(content)
    write_checkpoint(content, Path("changed.ckpt"))
    with pytest.raises(UsageError, match=f"--ckpt_path: changed.ckpt cannot be resumed from: .*{words}"):
        train.main(["--ckpt_path", "changed.ckpt", "--max_epochs", "2", "--name", "other"])
    assert not Path("checkpoints/other").exists()


@pytest.mark.parametrize("config", ["text", {"data": "mnist"}, {"backbone": {}}, {"optim": {"name": 3}}])
def test_a_configuration_that_is_none_is_refused(saved, config):
    content = read_checkpoint(saved)
    content["run"]["config"] = config if isinstance(config, str) else content["run"]["config"] | config
    write_checkpoint(content, Path("changed.ckpt"))
    with pytest.raises(UsageError, match="its configuration is|of its configuration has no name|run.config is"):
        train.main(["--ckpt_path", "changed.ckpt", "--max_epochs", "2", "--name", "other"])
    with pytest.raises(UsageError, match="its configuration is|of its configuration has no name"):
        evaluate.main(["changed.ckpt"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put({}, "loops", "fit_loop", "epoch_loop.batch_progress", "total"), "epoch_loop.batch_progress.total is {}"),
        (put("x", "loops", "fit_loop", "epoch_loop.batch_progress", "current", "ready"), "current.ready is 'x'"),
        (put([], "optimizer_states"), "the state of 0 optimisers, and this run has 1"),
        (put({}, "optimizer_states", 0), "its optimizer_states is {}"),
        (put({}, *STATE[:3]), "its optimizer_states are empty after 10 steps"),
        (put([], "optimizer_states", 0, "param_groups"), r"param_groups is \[\]"),
        (put(lambda ids: ids[1:], "optimizer_states", 0, "param_groups", 0, "params"), "param_groups.0.params is"),
        (put({}, "optimizer_states", 0, "state", 99), "optimizer_states have parameter 99"),
        (put(None, *STATE), "state.0 is None"),
        (drop(*STATE, "exp_avg"), "state.0 is"),
        (put(torch.zeros(3), *STATE, "exp_avg"), r"state.0.exp_avg is \(3,\)"),  # which ended the whole process
        (put(torch.tensor(1), *STATE, "step"), r"state.0.step is \(\)"),
        (put([], "lr_schedulers"), "without a schedule"),
        (put("x", "lr_schedulers", 0, "last_epoch"), "lr_schedulers.last_epoch is 'x'"),
        (put(["x", "x"], "lr_schedulers", 0, "base_lrs"), "base_lrs.0 is 'x'"),
        (put([], POSITION), "it has no position in the data"),
        (put("x", POSITION, "batches"), "its position in the data has batches 'x'"),
    ],
)  # fmt: skip
def test_a_state_that_is_not_of_this_run_is_refused_before_it_is_taken_over(saved, change, words):
    content = read_checkpoint(saved)
    change(content)
    write_checkpoint(content, Path("changed.ckpt"))
    with pytest.raises((RunError, UsageError), match=words):
        train.main(["--ckpt_path", "changed.ckpt", "--max_epochs", "2", "--name", "other"])


@pytest.mark.parametrize("optimiser", ["adamw", "adam", "sgd", "rmsprop"])
def test_every_optimiser_goes_on_from_what_it_saved(saved, optimiser):
    run("--name", optimiser, "--max_epochs", 1, "--optim", optimiser)
    train.main(["--ckpt_path", f"checkpoints/{optimiser}/last.ckpt", "--max_epochs", "2"])
    assert read_checkpoint(f"checkpoints/{optimiser}/last.ckpt")["global_step"] == 20
