"""What evaluate.py prints of a checkpoint, beside the numbers of its run."""

import pytest

from engine.inference import evaluate
from project.data.mnist import MNISTDataModule
from tests.runs import read_summary, run, workplace_of_a_module
from tests.tiny import TINY_SUMS

CKPT = "checkpoints/a/best.ckpt"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint that is right about a part of the stand-in."""
    with workplace_of_a_module(tmp_path_factory) as folder:
        run("--name", "a", "--max_epochs", 1)
    return folder


@pytest.fixture(autouse=True)
def _(trained, monkeypatch):
    monkeypatch.chdir(trained)
    monkeypatch.setattr(MNISTDataModule, "sums", TINY_SUMS)


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
