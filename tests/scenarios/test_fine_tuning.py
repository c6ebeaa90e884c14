"""A frozen backbone, and one that learns more slowly than its head."""

from pathlib import Path

import pytest
import torch
from torch import nn

from engine.contract.optim import build_optimiser, layers
from engine.contract.parts import build_backbone
from engine.errors import UsageError
from engine.resume.checkpoint_file import read_checkpoint
from project.tasks.classifier import LitClassifier
from tests.inputs import image_input
from tests.runs import run, same
from tests.tiny import QUICK, run_script

NORMED = ("--backbone.norm", "batch", "--keep_every", 1, "--optim.schedule", "constant")


@pytest.fixture(autouse=True)
def _(workplace):
    pass


def backbone_of(path):
    state = read_checkpoint(path)["state_dict"]
    return {name: value for name, value in state.items() if name.startswith("backbone.")}


def is_equal(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_a_frozen_backbone_keeps_its_weights_and_its_statistics_and_the_head_learns():
    run("--name", "start", "--max_epochs", 1, *NORMED)
    run(
        "--name",
        "a",
        "--max_epochs",
        2,
        "--init_from",
        "checkpoints/start/last.ckpt",
        "--backbone.freeze",
        "true",
        *NORMED,
    )
    start, end = "checkpoints/start/last.ckpt", "checkpoints/a/last.ckpt"
    assert any("running_mean" in name for name in backbone_of(start)) and is_equal(backbone_of(start), backbone_of(end))
    heads = [
        {name: value for name, value in read_checkpoint(path)["state_dict"].items() if name.startswith("head.")}
        for path in (start, end)
    ]
    assert not is_equal(*heads)


def frozen_for_two(first, second, third):
    return is_equal(first, second) and not any(
        torch.equal(second[name], third[name]) for name in second if "num_batches" not in name
    )


def kept(name):
    return [backbone_of(f"checkpoints/{name}/epoch-00{number}.ckpt") for number in (1, 2, 3)]


def test_a_backbone_that_is_frozen_for_two_epochs_learns_in_the_third():
    run("--name", "a", "--max_epochs", 3, "--backbone.freeze", 2, *NORMED)
    assert frozen_for_two(*kept("a"))


@pytest.mark.slow
def test_a_backbone_is_frozen_in_two_processes_too(workplace):
    two = ("--accelerator", "cpu", "--devices", 2, "--strategy", "ddp", "--data.batch_size", 15)
    frozen = ("--name", "a", "--max_epochs", 3, "--backbone.freeze", 2, *NORMED)
    done = run_script("train", *QUICK, *frozen, *two, cwd=workplace)
    assert done.returncode == 0, done.stdout
    assert frozen_for_two(*kept("a"))


@pytest.mark.parametrize("cut_at", [7, 17, 23])  # within a frozen epoch, and after
def test_it_resumes_bit_for_bit(cut_at):
    options = ("--max_epochs", 3, "--backbone.freeze", 1, *NORMED[:2], "--optim.schedule", "constant")
    run("--name", "whole", *options)
    run("--name", "cut", *options, "--max_steps", cut_at)
    run("--ckpt_path", "checkpoints/cut/last.ckpt", "--max_steps", -1)
    assert same(*(read_checkpoint(f"checkpoints/{name}/last.ckpt") for name in ("whole", "cut")))


def test_a_frozen_run_cannot_be_resumed_unfrozen_and_says_what_can_be_done():
    run("--name", "a", "--max_epochs", 1, "--backbone.freeze", "true")
    with pytest.raises(UsageError, match="run a was trained with --backbone.freeze true, .*--init_from"):
        run("--ckpt_path", "checkpoints/a/last.ckpt", "--max_epochs", 2, "--backbone.freeze", "false")


def test_the_backbone_has_its_own_learning_rate():
    task = LitClassifier(optim={"lr": 0.1, "backbone_lr_scale": 0.25})
    optimiser, _ = build_optimiser(task, **task.hparams["optim"])
    rates = {weight: group["lr"] for group in optimiser.param_groups for weight in group["params"]}
    assert {rates[weight] for weight in task.backbone.parameters()} == {0.025}
    assert {rates[weight] for weight in task.head.parameters()} == {0.1}
    assert optimiser.param_groups[0]["lr"] == 0.1  # the one that is logged


def test_each_layer_learns_more_slowly_than_the_one_after_it():
    task = LitClassifier(optim={"lr": 1.0, "layer_decay": 0.5}, backbone={"name": "cnn", "widths": [4, 8, 16]})
    optimiser, _ = build_optimiser(task, **task.hparams["optim"])
    rates = {weight: group["lr"] for group in optimiser.param_groups for weight in group["params"]}
    convolutions = [part.weight for part in task.backbone.modules() if isinstance(part, nn.Conv2d)]
    assert [rates[weight] for weight in convolutions] == [0.125, 0.25, 0.5]
    assert {rates[weight] for weight in task.head.parameters()} == {1.0}


@pytest.mark.parametrize("name", ["cnn", "mlp", "inception", "test_resnet", "test_vit"])
def test_every_weight_is_in_one_layer_and_a_layer_has_a_matrix(name):
    backbone = build_backbone(name, image_input(1, (32, 32)))
    found = layers(backbone)
    weights = [weight for layer in found for weight in layer]
    assert len(weights) == len({id(w) for w in weights}) == len(list(backbone.parameters())) and len(found) >= 2
    assert all(any(weight.ndim > 1 for weight in layer) for layer in found)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--backbone.freeze", "-1"], "freeze is true, false or a number of epochs, 0 or more, got -1"),
        (["--backbone.freeze", "often"], "backbone.freeze is true|false|INT"),
        (["--optim.backbone_lr_scale", "0"], "backbone_lr_scale is above 0, got 0.0; --backbone.freeze true is for 0"),
        (["--optim.layer_decay", "1.5"], r"layer_decay is in \(0, 1\], got 1.5"),
    ],
)
def test_what_cannot_be_meant_is_refused(flags, message):
    with pytest.raises(UsageError, match=message):
        run("--name", "a", *flags)


def test_other_groups_of_rates_are_refused_before_anything_is_written():
    run("--name", "a", "--max_epochs", 1)
    before = Path("checkpoints/a/config.yaml").read_text(), Path("checkpoints/a/summary.json").read_text()
    with pytest.raises(UsageError, match="run a has other groups of learning rates: leave --optim.backbone_lr_scale"):
        run("--ckpt_path", "checkpoints/a/last.ckpt", "--max_epochs", 2, "--optim.layer_decay", 0.5)
    assert before == (Path("checkpoints/a/config.yaml").read_text(), Path("checkpoints/a/summary.json").read_text())


@pytest.mark.task("classify")
def test_a_frozen_backbone_takes_batches_of_one():
    run("--name", "a", "--max_epochs", 1, "--backbone", "mlp", "--backbone.freeze", "true", "--data.batch_size", 1)
    assert Path("checkpoints/a/last.ckpt").exists()
