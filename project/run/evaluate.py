"""A checkpoint's metrics, measured again from the file alone: what scripts/evaluate.py does."""

import lightning.pytorch as pl
from lightning.fabric.utilities.exceptions import MisconfigurationException

from project.checkpoint_file import read_checkpoint
from project.data import build_data
from project.registry import look_up
from project.run.assemble import check_values
from project.run.config import Source, flatten, read_command_line, resolve
from project.run.errors import RunError, UsageError
from project.run.machine import settle_threads
from project.run.progress import percent_or_number, say
from project.run.train import quieten
from project.tasks import TASKS

HELP = """usage: python scripts/evaluate.py CKPT [--data.OPTION VALUE ...] [--accelerator TEXT] [--precision TEXT]

Measure a checkpoint again on the test images of the data it was trained on, which
the file itself names. --data.root says where they are, if not where they were then."""


def main(arguments: list[str]) -> None:
    """Print a checkpoint's test metrics.

    Raises:
        UsageError: the command line makes no sense, or the checkpoint cannot be read.
        RunError: the data cannot be had.
    """
    quieten()
    line = read_command_line(arguments, positional=True)
    if line.wants_help:
        print(HELP)
        return
    if len(line.positional) != 1:
        raise UsageError(f"expected one checkpoint, got {len(line.positional)}: evaluate.py CKPT")
    if line.config_files or line.print_config:
        raise UsageError("evaluate.py takes no --config and no --print_config: the checkpoint says what it is")
    for flag in line.flags:
        if not flag.startswith("data.") and flag not in ("accelerator", "devices", "precision", "limit_test_batches"):
            raise UsageError(f"--{flag} cannot be changed by evaluating: what the checkpoint was trained with holds")
    path = line.positional[0]
    try:
        checkpoint = read_checkpoint(path)
        task = look_up("task", checkpoint["task"], TASKS).from_checkpoint(checkpoint)
    except (OSError, ValueError) as error:
        raise UsageError(str(error)) from error
    if "run" not in checkpoint:
        raise UsageError(f"{path} does not say what it was trained on: it was not left by a training run")
    config, _ = resolve([Source(path, flatten(checkpoint["run"]["config"])), Source("command line", line.flags)])
    config["devices"] = line.flags.get("devices", 1)  # one process sees every image exactly once
    if "limit_test_batches" not in line.flags:
        config["limit_test_batches"] = None  # whatever the training run did
    if config["limit_test_batches"] == 0:
        raise UsageError("--limit_test_batches 0 leaves nothing to measure")
    check_values(config)
    try:
        data = build_data(seed=config["seed"], **config["data"])
        if list(data.class_names) != list(task.hparams["class_names"]):
            raise ValueError(f"the data's classes {list(data.class_names)} are not the checkpoint's")
        settle_threads(1)
        trainer = pl.Trainer(
            accelerator=config["accelerator"],
            devices=config["devices"],
            precision=config["precision"],
            limit_test_batches=config["limit_test_batches"],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        metrics = trainer.test(task, datamodule=data, verbose=False)[0]
    except (ValueError, MisconfigurationException, ImportError) as error:
        raise UsageError(" ".join(str(error).split())) from error
    except OSError as error:
        raise RunError(str(error)) from error
    say(f"{path}: {config['task']['name']}, {config['data']['name']}, {task.images_tested:,} test images")
    for name, value in metrics.items():
        say(f"{name:<12}{percent_or_number(name, value)}")
