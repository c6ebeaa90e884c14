"""Checkpoints from strangers: what is in them decides neither what a script does besides, nor how it ends."""

from pathlib import Path

import pytest
import torch

from engine.contract.parts import task_of
from engine.errors import RunError, UsageError
from engine.export import command as export
from engine.inference import evaluate, predict
from engine.resume.checkpoint_file import read_checkpoint, write_checkpoint
from project.data import mnist_files
from project.data.mnist import MNISTDataModule
from tests.runs import run, workplace_of_a_module
from tests.tiny import TINY_SUMS

OF_CLASSIFY = pytest.mark.task("classify")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    with workplace_of_a_module(tmp_path_factory) as folder:
        run("--name", "a", "--max_epochs", 1)
    return folder


@pytest.fixture
def checkpoint(trained, tmp_path, monkeypatch):
    """A checkpoint trained on the stand-in, read in a folder where there is nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(MNISTDataModule, "sums", TINY_SUMS)
    return read_checkpoint(trained / "checkpoints" / "a" / "best.ckpt")


def test_nothing_is_fetched_and_no_folder_made_where_a_file_says(checkpoint, monkeypatch):
    fetched = []
    monkeypatch.setattr(mnist_files, "fetch_files", lambda folder, sums: fetched.append(folder))
    checkpoint["run"]["config"]["data"]["root"] = "theirs/root"
    write_checkpoint(checkpoint, Path("a.ckpt"))
    with pytest.raises(RunError, match=r"not complete in theirs/root.*--data.download true fetches it"):
        evaluate.main(["a.ckpt"])
    export.main(["a.ckpt", "--format", "safetensors", "--images", "2"])  # compares on random images
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["a.ckpt", "a.safetensors"] and not fetched
    with pytest.raises(RunError, match="not complete in theirs/root"):
        evaluate.main(["a.ckpt", "--data.download", "true"])
    assert [str(folder) for folder in fetched] == ["theirs/root/MNIST/raw"]


def test_machines_processes_and_limits_are_not_taken_from_a_file(checkpoint):
    task = task_of(checkpoint)
    theirs = checkpoint["run"]["config"]
    own = evaluate.configuration("a.ckpt", checkpoint, task, {})
    theirs["data"]["num_workers"] = 5000
    theirs |= {"num_nodes": 2, "devices": 8, "limit_test_batches": 1, "timeout_minutes": 0.1, "strategy": "fsdp"}
    assert evaluate.configuration("a.ckpt", checkpoint, task, {}) == own
    assert own["num_nodes"] == 1 and own["data"]["num_workers"] < 5000
    theirs |= {"seed": 7, "precision": "bf16-mixed"}
    changed = evaluate.configuration("a.ckpt", checkpoint, task, {"data.num_workers": 3})
    assert (changed["seed"], changed["precision"], changed["data"]["num_workers"]) == (7, "bf16-mixed", 3)


WEIGHT = object()  # the first
NOT_THERE = object()


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("hyper_parameters",), [1], r"its hyper_parameters is \[1\]"),
        (("hyper_parameters", "class_names"), "0123456789", r"class_names is Sequence\[str\]"),
        (("hyper_parameters", "class_names"), [["a"]] * 10, r"class_names is Sequence\[str\]"),
        (("hyper_parameters", "class_names"), ["a"] * 10, "class_names are different names"),
        (("hyper_parameters", "class_names"), ["a" * 10**6], "class_names are different names of at most"),
        (("hyper_parameters", "image_size"), [28.0, 28], r"image_size is Sequence\[int\]"),
        (("hyper_parameters", "image_size"), [10**6, 10**6], "image_size is height and width"),
        (("hyper_parameters", "in_channels"), 10**9, "in_channels is 1 to"),
        (("hyper_parameters", "mean"), "a", r"mean is Sequence\[float\]"),
        (("hyper_parameters", "std"), [0], "above 0 in std"),
        (("hyper_parameters", "backbone"), "cnn", r"backbone is Mapping\[str"),
        (("hyper_parameters", "backbone", "name"), ["cnn"], "unknown backbone"),
        (("hyper_parameters", "backbone", "name"), "x" * 10**6, "unknown backbone"),
        (("hyper_parameters", "backbone", "convs"), 10**9, "convs is at most 64"),
        (("hyper_parameters", "backbone", "widths"), [16, "32"], r"widths is Sequence\[int\]"),
        (("hyper_parameters", "backbone", "x" * 10**6), 1, "backbone cnn has no option"),
        pytest.param(("hyper_parameters", "head", "grid"), None, "grid is int", marks=OF_CLASSIFY),
        (("hyper_parameters", "optim", "lr"), "0.1", "lr is float"),
        (("hyper_parameters", "extra"), 1, "has no option 'extra'"),
        pytest.param(
            ("hyper_parameters", "label_smoothing"), float("nan"), "label_smoothing is a share", marks=OF_CLASSIFY
        ),
        (("task",), ["classify"], r"its task is \['classify'\]"),
        pytest.param(("task",), "detect", "has no option", marks=OF_CLASSIFY),
        (("task",), "x" * 10**6, "unknown task"),
        (("state_dict",), None, "its state_dict is None"),
        (("state_dict",), [torch.zeros(1)], "its state_dict is"),
        (("state_dict", WEIGHT), "text", "its weight .* is no tensor"),
        (("state_dict", WEIGHT), NOT_THERE, "weights belong to another network"),
        (("state_dict", WEIGHT), torch.zeros(3), "weights belong to another network"),
        (("state_dict", WEIGHT), torch.Tensor.long, "has type torch.int64"),
        (("state_dict", WEIGHT), lambda weight: weight * torch.nan, "has values that are not numbers"),
        (("state_dict", WEIGHT), lambda weight: weight.fill_(torch.inf), "has values that are not numbers"),
        (("state_dict", WEIGHT), torch.Tensor.to_sparse, "is not stored whole"),
        (("state_dict", WEIGHT), torch.zeros(1).expand(10**9, 10**9), "is not stored whole"),
        (("run",), None, "its run is None"),
    ],
)
def test_values_of_a_wrong_kind_are_named_in_one_short_line(place, value, message, checkpoint):
    inner = checkpoint
    place = [next(iter(checkpoint["state_dict"])) if key is WEIGHT else key for key in place]
    for key in place[:-1]:
        inner = inner[key]
    if callable(value):
        value = value(inner[place[-1]])
    if value is NOT_THERE:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    write_checkpoint(checkpoint, Path("a.ckpt"))
    for script, arguments in ((predict, ["."]), (evaluate, []), (export, ["--format", "safetensors"])):
        with pytest.raises(UsageError, match=message) as caught:
            script.main(["a.ckpt", *arguments])
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    assert [path.name for path in Path.cwd().iterdir()] == ["a.ckpt"]
