"""Command lines of train.py that cannot be meant: the exit status each has to have, and what has to be said."""

import contextlib
import io
import os
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import torch

import project  # noqa: F401, it hands its parts to the engine
from engine import start
from scripts import train
from tests.tiny import QUICK, TINY_SUMS

# Run in a folder that holds the stand-in for MNIST, the files that `write_bad_files` makes, and nothing else.
BAD_INPUT: list[tuple[list[str], int, str]] = [
    (["--accelerator", "gpuu"], 2, "unknown --accelerator 'gpuu'; did you mean gpu"),
    (["--devices", "0"], 2, "--devices 0 leaves nothing to train on"),
    (["--devices", "99"], 2, "--devices 99: this machine has"),
    (["--precision", "fp8"], 2, "Precision 'fp8' is invalid"),
    (["--max_epochs", "0"], 2, "leaves nothing to do"),
    (["--max_epochs", "-5"], 2, "--max_epochs is 1 or more, or -1"),
    (["--accumulate_grad_batches", "0"], 2, "--accumulate_grad_batches is 1 or more, got 0"),
    (["--gradient_clip_val", "-1"], 2, "--gradient_clip_val is 0 or more"),
    (["--optim.lr", "0"], 2, "lr, the learning rate, is a finite number above 0"),
    (["--optim.lr", "-1"], 2, "lr, the learning rate, is a finite number above 0"),
    (["--data.batch_size", "0"], 2, "batch_size must be 1 or more"),
    (["--data.num_workers", "-1"], 2, "num_workers must be 0 or more"),
    (["--data.num_workers", "100000"], 2, "is more than this machine can serve: use at most"),
    (["--timeout_minutes", "30000"], 2, "--timeout_minutes is at most 20,160 (two weeks)"),
    (["--timeout_minutes", "1e300"], 2, "--timeout_minutes is at most 20,160 (two weeks)"),
    (["--strategy", "ddp_fork"], 2, "use ddp, which starts the program once per process"),
    (["--strategy", "ddp_notebook"], 2, "use ddp, which starts the program once per process"),
    (["--seed", "-1"], 2, "--seed is a number from 0"),
    (["--name", "../x"], 2, "is not a folder's name"),
    (["--name", ""], 2, "is not a folder's name"),
    (["--head.num_outputs", "4"], 2, "head.num_outputs 4: it is 10, which follows from the data"),
    (["--data.seed", "4"], 2, "data.seed 4: it is 0, which follows from --seed"),
    (["--ckpt_path", "last"], 2, "there is no last.ckpt in"),
    (["--ckpt_path", "nowhere.ckpt"], 2, "there is no checkpoint nowhere.ckpt"),
    (["--ckpt_path", "data"], 2, "data is a folder, not a checkpoint"),
    (["--ckpt_path", "https://example.com/a.ckpt"], 2, "is a URL"),
    (["--backbone", "test_convnext"], 2, "test_convnext cannot take images of 28x28 pixels: 32x32 would"),
    (["--strategy", "dpd"], 2, "invalid strategy name"),
    (["--limit_train_batches", "0"], 2, "--limit_train_batches 0 leaves nothing to do"),
    (["--val_check_interval", "0"], 2, "--val_check_interval 0 leaves nothing to do"),
    (["--precision", "transformer-engine"], 2, "ransformer"),
    (["--num_nodes", "2"], 2, "--num_nodes 2: start the run on each machine"),
    (["--devices", "1.5"], 2, "--devices 1.5: on a CPU it is a number of processes"),
    (["--save_every_steps", "0"], 2, "--save_every_steps is above 0"),
    (["--acelerator", "gpu"], 2, "did you mean --accelerator?"),
    (["--optim.lr", "nan"], 2, "optim.lr is NUMBER, got 'nan'"),
    (["--optim.lr", "abc"], 2, "optim.lr is NUMBER, got 'abc'"),
    (["--backbone", "resnet81"], 2, "did you mean resnet18?"),
    (["--config", "nowhere.yaml"], 2, "there is no configuration file nowhere.yaml"),
    (["--config", "empty.yaml"], 2, "empty.yaml is empty"),
    (["--config", "list.yaml"], 2, "list.yaml holds a list"),
    (["--config", "twice.yaml"], 2, "key 'seed' is given twice"),
    (["--config", "python.yaml"], 2, "could not determine a constructor"),
    (["--config", "popen.yaml"], 2, "popen.yaml: optim.lr is NUMBER"),
    (["--config", "unknown.yaml"], 2, "unknown option key optim.lrr for optim adamw; did you mean optim.lr?"),
    (["--ckpt_path", "empty.ckpt"], 2, "empty.ckpt is not a whole checkpoint"),
    (["--ckpt_path", "text.ckpt"], 2, "text.ckpt is not a whole checkpoint"),
    (["--ckpt_path", "cut.ckpt"], 2, "cut.ckpt is not a whole checkpoint"),
    (["--ckpt_path", "bare.ckpt"], 2, "bare.ckpt is not a checkpoint of this project"),
    (["--ckpt_path", "hostile.ckpt"], 2, "hostile.ckpt holds more than plain values and tensors"),
    (["--init_from", "bare.ckpt"], 2, "no weight of bare.ckpt has a name and shape of this network"),
    (["--data.root", "html", "--data.download", "false"], 1, "damaged: 22 bytes"),
    (["--ckpt_path", "last", "--name"], 2, "name is text, got True"),
    (["--data.root", "nowhere", "--data.download", "false"], 1, "train-images-idx3-ubyte"),
    (["--task", "detect", "--data", "mnist"], 2, "data mnist is for task classify, not detect"),
    (["--head", "yolox"], 2, "head yolox is a BoxHead, and task classify needs a ClassHead: use dense"),
    (
        ["--backbone", "test_resnet", "--backbone.pretrained", "maybe"],
        2,
        "pretrained is true, false, or the path of weights, and there is nothing at maybe",
    ),
]
CONFIGURATIONS = {
    "empty": "",
    "list": "- a",
    "twice": "seed: 1\nseed: 2",
    "python": "name: !!python/object/apply:os.mkdir [nowhere]",
    "popen": "optim: {lr: {class_path: subprocess.Popen}}",
    "unknown": "optim: {lrr: 1}",
}
_said = ""


def write_bad_files(folder: Path) -> None:
    """Write the configuration files, checkpoints and data that BAD_INPUT names."""
    for name, text in CONFIGURATIONS.items():
        (folder / f"{name}.yaml").write_text(text)
    torch.save({"weight": torch.zeros(3)}, folder / "bare.ckpt")
    torch.save({"state_dict": {}, "hyper_parameters": {}, "task": "classify", "x": Hostile()}, folder / "hostile.ckpt")
    (folder / "cut.ckpt").write_bytes((folder / "bare.ckpt").read_bytes()[:500])
    (folder / "empty.ckpt").write_bytes(b"")
    (folder / "text.ckpt").write_text("these are no weights")
    for name in TINY_SUMS:
        (path := folder / "html" / "MNIST" / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        path.write_text("<html>not found</html>")


class Hostile:
    """What makes a folder when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("nowhere",)


def refused(arguments: list[str]) -> tuple[int, bool, bool]:
    """Run train.py in this process; return its exit status, whether it said one line, and that it was an error."""
    global _said
    said = io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["train.py", *QUICK, *arguments]),
        contextlib.redirect_stderr(said),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        status = start.run(train.main, of_several=True)
    _said = said.getvalue()
    head = _said.split(" Put these files there")[0]  # MNIST's four sums are a line each
    return status, len(head.strip().splitlines()) == 1, _said.startswith("error: ")


def last_error() -> str:
    """Return what the last command line was refused with."""
    return _said
