"""A bug in an owner's code shows its traceback, wherever the code runs; the run's folder says that the run failed."""

import pytest

from engine.data.samples import SampleStore
from engine.data.store import ImageStore
from engine.export import command as export
from engine.resume.guard import FiniteGuard
from project.backbones.cnn import CNN
from project.tasks.classifier import LitClassifier
from tests.runs import read_summary, run


def bug(*arguments, **options):
    raise ValueError("mine")


@pytest.fixture(autouse=True)
def _(workplace):
    pass


@pytest.mark.parametrize("place", [(CNN, "forward"), (LitClassifier, "__init__")], ids=str)
def test_while_the_network_is_built_nothing_is_written(workplace, monkeypatch, place):
    monkeypatch.setattr(*place, bug)
    with pytest.raises(ValueError, match="^mine$") as error:
        run("--name", "a")
    assert error.traceback[-1].name == "bug" and not (workplace / "checkpoints").exists()


@pytest.mark.parametrize("place", [(LitClassifier, "training_step"), (LitClassifier, "validation_step")], ids=str)
def test_while_training_the_summary_says_failed(monkeypatch, place):
    monkeypatch.setattr(*place, bug)
    with pytest.raises(ValueError, match="^mine$") as error:
        run("--name", "a", "--save_every_steps", 1, "--num_sanity_val_steps", 0)
    assert error.traceback[-1].name == "bug"
    assert (read_summary("a")["status"], read_summary("a")["error"]) == ("failed", "mine")


def test_in_a_process_that_loads_batches(workplace, monkeypatch):
    """PyTorch raises it again with the worker's traceback in its message."""
    for store in (ImageStore, SampleStore):
        monkeypatch.setattr(store, "__getitems__", bug)
    with pytest.raises(ValueError, match='(?s)in DataLoader worker.*raise ValueError."mine".\nValueError: mine'):
        run("--name", "a", "--data.num_workers", 1, "--num_sanity_val_steps", 0)
    assert read_summary("a")["status"] == "failed"


def test_while_a_checkpoint_is_exported(workplace, monkeypatch):
    run("--name", "a")
    monkeypatch.setattr(CNN, "forward", bug)
    with pytest.raises(ValueError, match="^mine$") as error:
        export.main(["checkpoints/a/best.ckpt", "--format", "onnx"])
    assert error.traceback[-1].name == "bug" and not list(workplace.glob("checkpoints/a/best.onnx*"))


def test_in_a_callback(workplace, monkeypatch):
    monkeypatch.setattr(FiniteGuard, "on_before_backward", bug)
    with pytest.raises(ValueError, match="^mine$"):
        run("--name", "a")
    assert read_summary("a")["status"] == "failed"


def test_the_name_is_free_again_after_a_bug(workplace, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(ValueError, match="^mine$"):
        patch.setattr(LitClassifier, "training_step", bug)
        run("--name", "a")
    run("--name", "a")
    assert read_summary("a")["status"] == "finished"
