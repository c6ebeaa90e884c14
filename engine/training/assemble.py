"""From a resolved configuration to a data module, a task and the Trainer's arguments, or a one-line error."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from engine.config.config import check_derived
from engine.config.defaults import read_defaults
from engine.config.options import trainer_options
from engine.config.yaml_files import SECTIONS
from engine.contract.data import DataModule
from engine.contract.errors import UserError
from engine.contract.freezing import frozen_epochs
from engine.contract.optim import build_optimiser
from engine.contract.parts import build_data, find_data, is_path, parts
from engine.contract.registry import closest, options_of
from engine.contract.task import Task
from engine.errors import RunError, UsageError, one_line
from engine.files.folders import FolderDataModule
from engine.files.known_files import Known, as_known, changes
from engine.resume.processes import launched
from engine.training.run_folder import Resumed

LONGEST_MINUTES = 20_160  # waiting for longer than 24 days overflows in Python's multiprocessing
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps", "tpu", "hpu")


def check_values(config: Mapping[str, Any]) -> None:
    """Refuse run and Trainer options with impossible values.

    Raises:
        UsageError: names the option and what was expected.
        RunError: a GPU is asked for and there is none.
    """
    if not 0 <= config["seed"] < 2**32:
        raise UsageError(f"--seed is a number from 0 to 4294967295, got {config['seed']}")
    for key in ("max_epochs", "max_steps"):
        if config[key] == 0:
            raise UsageError(f"--{key} 0 leaves nothing to do: give 1 or more, or -1 for no limit")
        if config[key] is not None and config[key] < -1:
            raise UsageError(f"--{key} is 1 or more, or -1 for no limit, got {config[key]}")
    for key in ("accumulate_grad_batches", "log_every_n_steps", "num_nodes", "check_val_every_n_epoch"):
        if config[key] is not None and config[key] < 1:
            raise UsageError(f"--{key} is 1 or more, got {config[key]}")
    if config["gradient_clip_val"] is not None and config["gradient_clip_val"] < 0:
        raise UsageError(f"--gradient_clip_val is 0 or more, got {config['gradient_clip_val']}")
    for key in ("limit_train_batches", "val_check_interval"):
        if config[key] == 0:
            raise UsageError(f"--{key} 0 leaves nothing to do: give a number of batches, or a share of them")
    launched = any(name in os.environ for name in ("TORCHELASTIC_RUN_ID", "SLURM_JOB_ID", "NODE_RANK"))
    if config["num_nodes"] > 1 and not launched:
        raise UsageError(f"--num_nodes {config['num_nodes']}: start the run on each machine, with torchrun or srun")
    for key in ("save_every_steps", "save_every_minutes", "keep_every", "early_stop", "timeout_minutes"):
        if config[key] is not None and config[key] <= 0:
            raise UsageError(f"--{key} is above 0, got {config[key]}")
    if config["timeout_minutes"] > LONGEST_MINUTES:
        raise UsageError(
            f"--timeout_minutes is at most {LONGEST_MINUTES:,} (two weeks), got {config['timeout_minutes']}"
        )
    if any(word in str(config["strategy"]) for word in ("spawn", "fork", "notebook")):
        what = f"--strategy {config['strategy']} starts processes from within this one"
        raise UsageError(f"{what}: use ddp, which starts the program once per process")
    accelerator = config["accelerator"]
    if accelerator not in ACCELERATORS:
        near = closest(accelerator, ACCELERATORS)
        raise UsageError(f"unknown --accelerator {accelerator!r}{near}; choose from {', '.join(ACCELERATORS)}")
    has_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    if accelerator in ("gpu", "cuda") and not has_gpu:
        raise RunError(f"--accelerator {accelerator}: there is no GPU here; use --accelerator cpu, or leave it out")
    _check_devices(config["devices"], accelerator == "cpu" or not has_gpu)


def _check_devices(devices: Any, on_cpu: bool) -> None:
    if devices in (0, []):
        raise UsageError(f"--devices {devices} leaves nothing to train on: give 1 or more, or auto")
    if on_cpu and not (str(devices) == "auto" or str(devices).isdigit()):
        raise UsageError(f"--devices {devices}: on a CPU it is a number of processes, or auto")
    cores = os.cpu_count() or 1
    if on_cpu and str(devices).isdigit() and int(devices) > max(2, cores):
        raise UsageError(f"--devices {devices}: this machine has {cores} cores, and each process needs one")


def build(config: dict[str, Any], resumed: Resumed | None = None) -> tuple[DataModule, Task]:
    """Build the data module and the task, and remove derived options from `config`.

    A resumed run keeps its classes and their order, whatever order the folder lists them in.

    Raises:
        UsageError: an option's value, or a combination of values, is invalid.
        RunError: a file cannot be read.
    """
    sections = {section: dict(config[section]) for section in SECTIONS}
    try:
        task_type = parts().tasks[config["task"]["name"]]
        decided = {"data.seed": config["seed"], "data.task": task_type.takes}
        check_derived(sections, decided)
        if resumed is not None:
            follow = task_type.own_data_options(task_type.checked(resumed.checkpoint["hyper_parameters"]))
            if "classes" in follow and "classes" in options_of(find_data(sections["data"]["name"])):
                sections["data"]["classes"] = sections["data"].get("classes") or follow["classes"]
        known = known_of(resumed.checkpoint) if resumed is not None else None
        data = build_data(task=task_type.takes, seed=config["seed"], known=known, **sections["data"])
        if not data.has_training:
            raise UserError(f"data {sections['data']['name']} has no images to train on")
        check_derived(config, {**decided, **decided_by(data)})
        about_data = facts_for(task_type, data)
        options = {key: value for key, value in config["task"].items() if key != "name"}
        built = {section: config[section] for section in ("backbone", "head", "optim")}
        task = task_type(**about_data, **built, **options)
        task.check_data(data)
        choose_best(task, config["monitor"], config["early_stop"])
        chosen = [f"--{key}" for key in ("monitor", "early_stop") if config[key] is not None]
        if chosen and (not data.has_validation or config["limit_val_batches"] == 0):
            raise UserError(f"{' and '.join(chosen)}: there is no validation to go by; hold data out for it")
        task.check_runs_on(1, training=False)  # refuses an unfit image size before any download
    except UserError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise RunError(one_line(error)) from error
    return data, task


def choose_best(task: Task, monitor: str | None, early_stop: int | None) -> None:
    """Select a task's best weights by the metric `monitor` instead of the task's own, if given.

    Raises:
        UserError: `monitor` is not a validation metric, or early stopping has no metric to go by.
    """
    if monitor is not None:
        split, _, name = monitor.partition("/")
        if split != "val" or not name:
            raise UserError(f"--monitor {monitor}: expected a metric of the validation, such as val/loss")
        lower = name.partition("/")[0] in task.lower_is_better  # also for one class, as in val/l1/width
        task.best_metric, task.best_is_highest = monitor, not lower  # type: ignore[misc]
        task.newest_is_best = False
    elif early_stop is not None and task.newest_is_best:
        raise UserError("--early_stop: this task counts its newest weights as the best; give --monitor METRIC as well")


def check_same_parts(config: Mapping[str, Any], resumed: Resumed) -> None:
    """Refuse to resume a run with another task, data set, fold, backbone, head or optimiser than its own.

    Raises:
        UsageError: names the part that differs.
    """
    own = resumed.record["config"]
    for section in SECTIONS:
        before, now = own[section]["name"], config[section]["name"]
        if before != now and not (section == "data" and may_be_same(before, now, resumed.checkpoint)):
            raise UsageError(
                f"run {resumed.name} has {section} {before}, not {now}: resume it as it is, or start a new run with "
                f"--init_from {resumed.path}"
            )
    before, now = own["data"].get("fold"), config["data"].get("fold")
    if before != now:
        raise UsageError(
            f"run {resumed.name} has {f'fold {before}' if before else 'no folds'}, not {now}: resume it as it is, or "
            "start a new run"
        )


def known_of(checkpoint: Mapping[str, Any]) -> Known | None:
    """Return the files of the folder that a checkpoint was trained on; None if it records none."""
    state = checkpoint.get(FolderDataModule.__qualname__)
    return as_known(state.get("files")) if isinstance(state, Mapping) else None


def may_be_same(before: str, now: str, checkpoint: Mapping[str, Any]) -> bool:
    """Whether folder `now` may be a checkpoint's training data `before`, at the same place or moved."""
    if not is_path(now):
        return False
    return known_of(checkpoint) is not None or same_place(before, now)


def same_place(one: str, other: str) -> bool:
    """Whether two paths lead to the same place."""
    return Path(one).expanduser().resolve() == Path(other).expanduser().resolve()


def check_same_files(data: DataModule, config: Mapping[str, Any], resumed: Resumed) -> str | None:
    """Return a remark if the folder's files have changed since the run stopped, else None.

    Raises:
        UsageError: they changed in the middle of an epoch, whose rest can no longer be found; or the folder is another
            one than the run's, which still exists.
    """
    known = known_of(resumed.checkpoint)
    if known is None or not isinstance(data, FolderDataModule):
        return None
    changed = changes(known, data.files, data.listed)
    if changed is None:
        return None
    before, now = str(resumed.record["config"]["data"]["name"]), config["data"]["name"]
    start = f"start a new run with --init_from {resumed.path}"
    if not same_place(before, now) and Path(before).is_dir():
        raise UsageError(
            f"run {resumed.name} was trained on {before}, and {now} has other files ({changed}): {start[3:]}"
        )
    if resumed.checkpoint[FolderDataModule.__qualname__]["batches"]:
        raise UsageError(
            f"the files in {now} changed after run {resumed.name} stopped within an epoch ({changed}): restore the "
            f"files, or {start}"
        )
    return (
        f"the files in {now} changed since the run stopped ({changed}): old images stay in their split; "
        "from here on the run differs from an uninterrupted one"
    )


def check_same_network(task: Task, resumed: Resumed) -> None:
    """Refuse to resume a run with a network whose weights differ in name, shape or freezing from its own.

    Raises:
        UsageError: names the first weight that differs, or the freezing.
    """
    start = f"start a new run with --init_from {resumed.path}"
    was_frozen = frozen_epochs(resumed.record["config"]["backbone"]) == math.inf
    if was_frozen != (frozen_epochs(task.hparams["backbone"]) == math.inf):
        raise UsageError(
            f"run {resumed.name} was trained with --backbone.freeze {str(was_frozen).lower()}, which its optimiser's "
            f"state depends on: resume it as it is, or {start}"
        )
    _check_same_groups(task, resumed, start)
    own = {name: tuple(value.shape) for name, value in task.state_dict().items()}
    saved = {name: tuple(value.shape) for name, value in resumed.checkpoint["state_dict"].items()}
    for name in {**own, **saved}:
        if own.get(name) != saved.get(name):
            raise UsageError(
                f"run {resumed.name} has other weights ({name}: {saved.get(name)}, not {own.get(name)}): "
                f"resume it as it is, or {start}"
            )


def _check_same_groups(task: Task, resumed: Resumed, start: str) -> None:
    """Refuse an optimiser of our own whose weights are grouped by rate otherwise than the run's."""
    if type(task).configure_optimizers is not Task.configure_optimizers:
        return
    now = [len(group["params"]) for group in build_optimiser(task, **task.hparams["optim"])[0].param_groups]
    try:
        before = [len(group["params"]) for group in resumed.checkpoint["optimizer_states"][0]["param_groups"]]
    except (KeyError, IndexError, TypeError):
        return  # a damaged state, which is refused where it is restored
    if now != before and sum(now) == sum(before):
        raise UsageError(
            f"run {resumed.name} has other groups of learning rates: leave --optim.backbone_lr_scale and "
            f"--optim.layer_decay as they were, or {start}"
        )


def decided_by(data: DataModule) -> dict[str, Any]:
    """Return the values of the options that the data decides, by dotted key."""
    return {
        **{f"task.{name}": value for name, value in data.facts().items()},
        **{f"backbone.{name}": value for name, value in data.input.for_backbone().items()},
        "head.num_outputs": len(data.class_names),
    }


def facts_for(task_type: type[Task], data: DataModule) -> dict[str, Any]:
    """Return the data's values for the parameters of a task's constructor, by name."""
    return {name: value for name, value in data.facts().items() if name in options_of(task_type)}


def trainer_arguments(config: dict[str, Any]) -> dict[str, Any]:
    """Return the Trainer's arguments; fill in `config` those that depend on the task or the machine."""
    limited = config["max_steps"] != -1 or config["max_time"] is not None
    if config["max_epochs"] is None and not limited:
        config["max_epochs"] = read_defaults(parts().tasks[config["task"]["name"]]).values["max_epochs"]
    if config["precision"] is None:
        config["precision"] = best_precision(config["accelerator"])
    arguments = {option.key: config[option.key] for option in trainer_options()}
    processes = launched()
    if processes is not None and processes != (1, 1):  # true of this start only, so kept out of `config`
        defaults = {"devices": "auto", "num_nodes": 1, "strategy": "auto"}
        started = dict(zip(defaults, (*processes, "ddp"), strict=True))
        arguments |= {key: value for key, value in started.items() if arguments[key] == defaults[key]}
    return arguments


def best_precision(accelerator: str) -> str:
    """Return bf16-mixed if the hardware computes bfloat16 natively, else 32-true."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        native = False
    else:
        can = torch.cpu.get_capabilities()
        native = any(can.get(name) for name in ("avx512_bf16", "amx_tile"))
    return "bf16-mixed" if native else "32-true"
