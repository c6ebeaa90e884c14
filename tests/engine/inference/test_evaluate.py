"""What evaluate.py prints of a checkpoint, beside the numbers of its run."""

import re

import pytest

from engine.errors import UsageError
from engine.inference import evaluate
from project.data.mnist import MNISTDataModule
from tests.runs import read_summary, run, workplace_of_a_module
from tests.tiny import TINY_SUMS

CKPT = "checkpoints/a/best.ckpt"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint that is right about a part of the stand-in."""
    with workplace_of_a_module(tmp_path_factory) as folder:
        run("--name", "a", "--max_epochs", 1, "--limit_train_batches", 3)
    return folder


@pytest.fixture(autouse=True)
def _(trained, monkeypatch):
    monkeypatch.chdir(trained)
    monkeypatch.setattr(MNISTDataModule, "sums", TINY_SUMS)


@pytest.mark.task("classify")
def test_classes_are_a_table(capsys):
    evaluate.main([CKPT])
    lines = capsys.readouterr().out.splitlines()
    metrics = read_summary("a")["metrics"]
    assert f"{100 * metrics['test/f1']:.2f} %" in next(line for line in lines if line.startswith("test/f1 "))
    assert not any(line.startswith("test/f1/") for line in lines)
    place = next(i for i, line in enumerate(lines) if line.split() == ["class", "count", "recall", "precision", "f1"])
    table = [line.split() for line in lines[place + 1 :]]
    assert [row[0] for row in table] == list("0123456789") and all(row[1] == "9" for row in table)
    assert [row[-2] for row in table] == [f"{100 * metrics[f'test/f1/{digit}']:.1f}" for digit in range(10)]
    assert len({len(line) for line in lines[place:]}) == 1


@pytest.mark.task("classify")
def test_intervals_stand_beside_the_numbers_and_are_the_same_again(capsys):
    printed = []
    for _ in range(2):
        evaluate.main([CKPT, "--bootstrap", "200"])
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    lines = printed[0].splitlines()
    for name in ("acc", "f1", "precision", "recall", "ece"):
        line = next(line for line in lines if line.startswith(f"test/{name} "))
        low, high = (float(end) for end in re.search(r" % \((.*) to (.*)\)$", line).groups())
        assert low < high and (name != "acc" or low < float(line.split()[1]) < high)
    assert "no interval for test/loss: not computed from values per image" in lines


@pytest.mark.parametrize("value", ["99", "many", "-1", "1e3", "true"])
def test_a_number_of_draws_is_refused(value):
    with pytest.raises(UsageError, match=rf"--bootstrap is .* 100 or more, got {value}"):
        evaluate.main([CKPT, "--bootstrap", value])


def test_several_processes_have_no_intervals():
    with pytest.raises(UsageError, match="--bootstrap needs all images in one process: leave --devices out"):
        evaluate.main([CKPT, "--bootstrap", "100", "--devices", "2"])


@pytest.mark.task("classify")
def test_with_mirror_images_other_numbers_are_measured(capsys):
    """Here the first half of the classes have their bars where mirror images have those of the others."""
    evaluate.main([CKPT])
    plain = capsys.readouterr().out.splitlines()
    evaluate.main([CKPT, "--tta", "flip"])
    both = capsys.readouterr().out.splitlines()
    assert both[0] == f"{plain[0]}, --tta flip"
    loss = [float(next(line for line in lines if line.startswith("test/loss")).split()[1]) for lines in (plain, both)]
    assert loss[1] > loss[0] + 0.05


def test_mirror_images_are_refused_in_one_line():
    with pytest.raises(UsageError, match="--tta is flip or multiscale, got 'turn'"):
        evaluate.main([CKPT, "--tta", "turn"])


@pytest.mark.task("classify")
def test_other_sizes_are_measured_too_if_the_network_takes_them(capsys):
    evaluate.main([CKPT, "--tta", "multiscale"])
    assert "--tta multiscale" in capsys.readouterr().out
    run("--name", "mlp", "--backbone", "mlp", "--max_epochs", 1)
    with pytest.raises(UsageError, match="--tta multiscale: this network takes images of one size only"):
        evaluate.main(["checkpoints/mlp/best.ckpt", "--tta", "multiscale"])
