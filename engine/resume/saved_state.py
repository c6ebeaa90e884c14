"""Checks that a run can resume from a checkpoint's state: right types, and the shapes of this run."""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from engine.contract.errors import UserError
from engine.contract.optim import OPTIMISERS, Course
from engine.contract.registry import brief, is_count

# The entries of every resumable checkpoint and their types, by dotted name.
KINDS: dict[str, type | tuple[type, ...]] = {
    "epoch": int,
    "global_step": int,
    "pytorch-lightning_version": str,
    "loops.fit_loop.epoch_progress.current.processed": int,
    "optimizer_states": list,
    "lr_schedulers": list,
    "callbacks.RunCheckpoints.metric": str,
    "callbacks.RunCheckpoints.best_value": (int, float, type(None)),
    "callbacks.RunCheckpoints.best_epoch": (int, type(None)),
    "run.name": str,
    "run.config": dict,
    "run.tracker_id": str,
    "validation_pending": (int, type(None)),
    "epoch_means.names": list,
    "epoch_means.sums": (Tensor, type(None)),
}
AVERAGED = "current_model_state"  # key of the trained weights, if a run averages them
PROBE = torch.Size((3, 2))  # a shape that no counter has


def check_kinds(checkpoint: Mapping[str, Any]) -> None:
    """Refuse a state in which an entry is missing or of the wrong type.

    Raises:
        UserError: names the entry and what is wrong with it.
    """
    for dotted, kind in KINDS.items():
        value: Any = checkpoint
        for part in dotted.split("."):
            if not isinstance(value, Mapping) or part not in value:
                raise UserError(f"its state has no {dotted}")
            value = value[part]
        if not isinstance(value, kind) or (isinstance(value, int) and not is_count(value)):
            raise UserError(f"its {dotted} is {brief(value)}")
    not_better = checkpoint["callbacks"]["RunCheckpoints"].get("not_better", 0)  # older files have none
    if not is_count(not_better):
        raise UserError(f"its callbacks.RunCheckpoints.not_better is {brief(not_better)}")
    if "course" in checkpoint:  # older files have none
        _check_like("course", dataclasses.asdict(Course(until=0)), checkpoint["course"])
    averages = checkpoint["run"]["config"].get("optim", {})
    if AVERAGED in checkpoint or (isinstance(averages, Mapping) and averages.get("ema")):
        weights, averaging = checkpoint["state_dict"], {"n_averaged": torch.empty((), dtype=torch.int64)}
        _check_like(AVERAGED, weights, checkpoint.get(AVERAGED))
        _check_like("averaging_state", averaging, checkpoint.get("averaging_state"))
        own = checkpoint["callbacks"].get("AveragedWeights")
        _check_like("callbacks.AveragedWeights", {"latest_update_step": 0}, own)
    sums, names = checkpoint["epoch_means"]["sums"], checkpoint["epoch_means"]["names"]
    if sums is not None and tuple(sums.shape[1:]) not in ((len(names), 2), (len(names) + 1,)):  # of earlier versions
        raise UserError(f"its epoch_means have shape {tuple(sums.shape)} for {len(names)} names")


def check_fits(checkpoint: Mapping[str, Any], trainer: pl.Trainer) -> None:
    """Refuse states of loops, optimisers and schedules that do not fit this run's own.

    Call it once the Trainer has its optimisers, before it loads the checkpoint's state into them.

    Raises:
        UserError: names the entry that differs.
    """
    _check_like("loops.fit_loop", trainer.fit_loop.state_dict(), checkpoint["loops"]["fit_loop"])
    saved = checkpoint["optimizer_states"]
    if len(saved) != len(trainer.optimizers):
        raise UserError(f"it has the state of {len(saved)} optimisers, and this run has {len(trainer.optimizers)}")
    for optimiser, state in zip(trainer.optimizers, saved, strict=True):
        _check_optimiser(optimiser, state, checkpoint["global_step"])
    schedules = [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs]
    if len(checkpoint["lr_schedulers"]) < len(schedules):
        raise UserError("it was saved without a schedule of the learning rate, and this run has one")
    for schedule, state in zip(schedules, checkpoint["lr_schedulers"], strict=False):
        _check_like("lr_schedulers", schedule, state)


def _check_optimiser(optimiser: Optimizer, saved: Any, steps: int) -> None:
    name = "optimizer_states"
    if not isinstance(saved, Mapping) or not isinstance(saved.get("state"), Mapping):
        raise UserError(f"its {name} is {brief(saved)}")
    groups = [{"params": group["params"]} for group in optimiser.state_dict()["param_groups"]]
    _check_like(f"{name}.param_groups", groups, saved.get("param_groups"))
    kept = _kept_each_step(optimiser)
    if steps and kept and not saved["state"]:
        raise UserError(f"its {name} are empty after {steps:,} steps")
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    for number, state in saved["state"].items():
        if not isinstance(number, int) or not 0 <= number < len(parameters):
            raise UserError(f"its {name} have parameter {brief(number)}, and there are {len(parameters)}")
        expected = {
            key: torch.empty(parameters[number].shape if value.shape == PROBE else value.shape, device="meta")
            for key, value in kept.items()
        }
        _check_like(f"{name}.state.{number}", expected, state)


def _kept_each_step(optimiser: Optimizer) -> dict[str, Tensor]:
    """Return the tensors that an optimiser of ours keeps for a parameter of shape PROBE; none for other optimisers."""
    if not any(type(optimiser).__name__.lower() == name for name in OPTIMISERS):
        return {}
    probe = nn.Parameter(torch.zeros(PROBE))
    probe.grad = torch.zeros(PROBE)
    taken = inspect.signature(type(optimiser)).parameters
    trial = type(optimiser)([probe], **{key: value for key, value in optimiser.defaults.items() if key in taken})
    trial.step()
    return {key: value for key, value in trial.state[probe].items() if isinstance(value, Tensor)}


def _check_like(name: str, expected: Any, saved: Any) -> None:
    """Refuse a saved value of another type, length or shape, or with missing keys; expected None allows any number."""
    like = expected is None and (saved is None or isinstance(saved, (int, float, Tensor)))
    if isinstance(expected, Mapping):
        like = isinstance(saved, Mapping) and expected.keys() <= saved.keys()
    elif isinstance(expected, (list, tuple)):
        like = isinstance(saved, (list, tuple)) and len(saved) == len(expected)
    elif isinstance(expected, Tensor):
        like = isinstance(saved, Tensor) and saved.shape == expected.shape
        like = like and saved.is_floating_point() == expected.is_floating_point()
    elif isinstance(expected, bool):
        like = isinstance(saved, bool)
    elif isinstance(expected, int):
        like = is_count(saved)
    elif isinstance(expected, float):
        like = isinstance(saved, (int, float)) and not isinstance(saved, bool)
    if not like:
        was = tuple(saved.shape) if isinstance(saved, Tensor) else brief(saved)
        raise UserError(f"its {name} is {was}, unlike this run's own")
    if isinstance(expected, (Mapping, list, tuple)):
        for key in expected if isinstance(expected, Mapping) else range(len(expected)):
            _check_like(f"{name}.{key}", expected[key], saved[key])
