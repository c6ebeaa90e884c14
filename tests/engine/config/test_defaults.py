"""The defaults of a task: what its file says holds, and a mistake in it is one line that names the file."""

import dataclasses
import shutil

import pytest

from engine.config.config import read_command_line, resolve
from engine.config.defaults import read_defaults
from engine.config.yaml_files import Source
from engine.contract.parts import hand_over, load_task, parts
from engine.errors import UsageError
from project.tasks import TASKS, LitClassifier, LitDetector
from tests.tiny import ROOT


def resolved(*argv):
    return resolve([Source("command line", read_command_line(argv).flags)])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A copy of the defaults, defaults/ in the current folder, which the engine reads instead."""
    own = parts()
    monkeypatch.chdir(tmp_path)
    hand_over(dataclasses.replace(own, defaults=shutil.copytree(own.defaults, tmp_path / "defaults")))
    yield tmp_path / "defaults"
    hand_over(own)


@pytest.fixture
def change(folder):
    """Return a function that replaces text in the defaults of classification."""

    def change(old, new):
        file = folder / "classify.yaml"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    return change


@pytest.mark.parametrize("data", [[], ["--data", "."]])
@pytest.mark.parametrize("task", TASKS)
def test_every_value_of_a_file_is_taken(task, data):
    defaults = read_defaults(TASKS[task])
    config, remarks = resolved("--task", task, *data)
    expected = {**defaults.values, **defaults.own_data, "data.name": "."} if data else defaults.values
    if data:
        expected.pop("data.shift", None)  # of the default data alone
    found = {key: config[key.partition(".")[0]] for key in expected}
    found = {key: part[key.partition(".")[2]] if "." in key else part for key, part in found.items()}
    assert found == expected and remarks == []


def test_an_option_of_the_task_can_have_a_default(change):
    change("max_epochs: 5", "max_epochs: 5\ntask: {label_smoothing: 0.3}")
    flags = ["--data", "mnist", "--backbone", "cnn", "--head", "dense", "--optim", "sgd"]
    assert resolved(*flags)[0]["task"]["label_smoothing"] == 0.3


def test_own_data_can_have_another_backbone(change):
    change("    widths: [16, 32, 64, 128, 256]  # deep enough for images of 64 pixels and more\n", "    name: mlp\n")
    change("    kernel_size: 3\n    padding: same\n", "    dropout: 0.2\n")
    config, _ = resolved("--data", ".")
    own = {"name": "mlp", "widths": [512, 256], "norm": "batch", "activation": "relu", "dropout": 0.2, "freeze": False}
    assert config["backbone"] == own
    assert config["head"]["hidden"] == 64 and resolved()[0]["backbone"]["padding"] == "valid"
    assert resolved("--data", ".", "--backbone", "cnn")[0]["backbone"]["padding"] == "same"  # the backbone's own


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("padding: valid", "paddin: valid", "unknown option key backbone.paddin for backbone cnn; did you mean"),
        ("max_epochs: 5", "max_epochs: 5\nmax_epoch: 6", "unknown option key max_epoch; did you mean max_epochs?"),
        ("lr: 0.015", "lr: fast", "optim.lr is NUMBER, got 'fast'"),
        ("own_data:", "own_dta:", "unknown key own_dta; did you mean own_data?"),
        ("own_data:", "own_data: 3\nhead.hiden:", "own_data is a mapping of options, got 3"),
        ("own_data:", "own_data:\n  optim.lr: 1", "own_data: optim.lr is given twice"),
        ("  name: cnn\n", "", "backbone.name is missing"),
        ("name: cnn", "name: cn", "unknown backbone 'cn'; did you mean cnn?"),
        ("max_epochs: 5\n", "", "max_epochs is missing"),
        ("max_epochs: 5", "max_epochs: 5\ntask: segment", "task.name is classify, as the file's name says; leave it"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_file(change, old, new, message):
    change(old, new)
    with pytest.raises(UsageError) as caught:
        resolved()
    assert str(caught.value).startswith("defaults/classify.yaml: ") and "\n" not in str(caught.value)
    assert message in str(caught.value)


def test_a_mistake_in_own_data_or_in_yaml_names_the_file(change):
    change("grid: 1", "gird: 1")
    with pytest.raises(UsageError, match=r"^defaults/classify.yaml: unknown option key head.gird .* head.grid\?$"):
        resolved("--data", ".")
    change("gird: 1", "grid: [")
    with pytest.raises(UsageError, match="^configuration file defaults/classify.yaml, line 19: "):
        resolved()


def test_a_missing_file_is_named(folder):
    (folder / "classify.yaml").unlink()
    with pytest.raises(UsageError, match="task classify has no defaults: there is no file defaults/classify.yaml$"):
        resolved()
    with pytest.raises(UsageError, match="there is no file"):
        LitClassifier()
    assert resolved("--task", "segment")  # and it alone


def test_a_subclass_has_its_parents_defaults_until_it_has_its_own(folder, monkeypatch):
    class Focal(LitClassifier):
        task_name = "focal"

    assert Focal().hparams["backbone"] == {"name": "cnn", "padding": "valid"}
    monkeypatch.setitem(TASKS, "focal", Focal)
    config = resolved()[0]
    assert resolved("--task", "focal")[0] == {**config, "task": {**config["task"], "name": "focal"}}
    text = (folder / "classify.yaml").read_text()
    (folder / "focal.yaml").write_text(text.replace("padding: valid", "padding: stem"))
    assert resolved("--task", "focal")[0]["backbone"]["padding"] == "stem"
    assert Focal().hparams["backbone"] == {"name": "cnn", "padding": "stem"}


def test_a_task_that_is_in_no_table_wants_its_parts_named(folder):
    hand_over(dataclasses.replace(parts(), tasks={}))
    with pytest.raises(UsageError, match="LitClassifier is not in TASKS and so has no defaults: name its backbone"):
        LitClassifier()
    task = LitClassifier(image_size=(8, 8), backbone={"name": "cnn"}, head={"name": "dense"})
    assert task.hparams["backbone"] == {"name": "cnn"}


def test_a_task_in_python_is_built_from_its_file_and_is_as_before():
    task = LitClassifier()
    assert task.hparams["backbone"] == {"name": "cnn", "padding": "valid"}
    assert task.hparams["head"] == {"name": "dense", "grid": 4, "hidden": 64} and task.hparams["optim"] == {
        "name": "adamw"
    }
    assert LitDetector(["a"]).hparams["backbone"] == {"name": "cnn", "widths": [16, 32, 64, 128]}
    mixed = LitClassifier(backbone={"widths": [4, 8]})
    assert mixed.hparams["backbone"] == {"name": "cnn", "widths": [4, 8]} and mixed.hparams["head"] == {"name": "dense"}


def test_a_checkpoint_does_without_defaults(folder):
    shutil.rmtree(folder)
    assert load_task(ROOT / "tests" / "fixtures" / "classify.ckpt").hparams["head"]["name"] == "dense"
