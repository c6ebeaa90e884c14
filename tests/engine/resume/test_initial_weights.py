"""What --init_from takes over, from which files, and how classes find each other."""

import pytest
import safetensors.torch
import timm
import torch

from engine.errors import UsageError
from engine.export import safetensors_file
from engine.resume.checkpoint_file import write_checkpoint
from engine.resume.initial_weights import initialise
from project import LitClassifier
from project.tasks import TASKS

ABOUT = {"in_channels": 3, "image_size": (32, 32), "mean": (0.5,) * 3, "std": (0.5,) * 3}


def built(name, classes, seed, **options):
    torch.manual_seed(seed)
    return TASKS[name](class_names=classes, **ABOUT, **options)


def saved(task, path):
    content = {"task": task.task_name, "hyper_parameters": dict(task.hparams), "state_dict": task.state_dict()}
    write_checkpoint(content, path)
    return str(path)


@pytest.mark.parametrize("name", ["classify", "segment", "detect"])
def test_rows_of_the_head_go_over_by_the_names_of_classes(name, tmp_path):
    first = built(name, ["cat", "dog", "fox"], 0)
    second = built(name, ["fox", "bus", "cat"], 1)
    before = {key: value.clone() for key, value in second.state_dict().items()}
    lines = initialise(second, saved(first, tmp_path / "a.ckpt"))
    assert lines[0].startswith(f"{len(before)} of {len(before)} weights from ")
    assert lines[1] == "classes matched by name: fox, cat; not in the file: bus"
    pairs = [(0, 2), (2, 0)]  # here, there
    rows = 0
    for key, value in second.state_dict().items():
        given = first.state_dict()[key]
        if value.shape == given.shape and value.ndim and torch.equal(value, given):
            continue
        if value.ndim == 4 and value.shape[:2] == (3, 3):  # from scores of classes to scores of classes
            assert all(torch.equal(value[i, k], given[j, m]) for i, j in pairs for k, m in pairs)
            assert torch.equal(value[1], before[key][1]) and torch.equal(value[:, 1], before[key][:, 1])
        elif value.ndim and len(value) == 3:
            assert all(torch.equal(value[i], given[j]) for i, j in pairs) and torch.equal(value[1], before[key][1])
        rows += 1
    assert rows >= 2


def test_the_same_classes_in_the_same_order_are_copied_whole(tmp_path):
    first, second = (built("classify", ["cat", "dog"], seed) for seed in (0, 1))
    assert len(initialise(second, saved(first, tmp_path / "a.ckpt"))) == 1
    assert all(torch.equal(value, first.state_dict()[key]) for key, value in second.state_dict().items())


def test_without_a_class_in_common_the_head_keeps_its_own_rows(tmp_path):
    first, second = built("classify", ["cat", "dog"], 0), built("classify", ["bus", "car"], 1)
    before = {key: value.clone() for key, value in second.head.state_dict().items()}
    lines = initialise(second, saved(first, tmp_path / "a.ckpt"))
    assert lines[1] == "classes matched by name: none; not in the file: bus, car"
    last = list(before)[-1]
    assert torch.equal(second.head.state_dict()[last], before[last])


@pytest.mark.parametrize("kind", ["pth", "old", "wrapped", "safetensors"])
@pytest.mark.parametrize("channels", [3, 1])
def test_weights_of_a_timm_model_as_they_are_downloaded(kind, channels, tmp_path):
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", pretrained=False)
    path = tmp_path / ("a.safetensors" if kind == "safetensors" else "a.pth")
    if kind == "safetensors":
        safetensors.torch.save_file(model.state_dict(), path)
    elif kind == "wrapped":
        torch.save({"epoch": 1, "state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, path)
    else:
        torch.save(model.state_dict(), path, _use_new_zipfile_serialization=kind != "old")
    torch.manual_seed(1)
    task = LitClassifier(
        in_channels=channels, image_size=(32, 32), mean=(0.5,) * channels, std=(0.5,) * channels,
        backbone={"name": "test_resnet"},
    )  # fmt: skip
    lines = initialise(task, str(path))
    own, given = task.backbone.body.state_dict(), model.state_dict()
    assert len(own) > 20 and lines[0].startswith(f"{len(own)} of {len(task.state_dict())} weights")
    first = next(key for key, value in own.items() if value.ndim == 4)
    expected = given[first] if channels == 3 else given[first].sum(dim=1, keepdim=True)
    assert torch.allclose(own[first], expected)
    assert all(torch.equal(value, given[key]) for key, value in own.items() if key != first)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": "text"}, "holds no weights by name"),
        ({"a": None}, "holds no weights by name"),
        ([torch.zeros(3)], "holds no weights by name"),
        ({}, "holds no weights by name"),
        ({"a": torch.full((3,), torch.nan)}, "weight a has values that are not numbers"),
        ({"a": torch.zeros(3).to_sparse()}, "is not stored whole"),
        ({"a": torch.zeros(3, device="meta")}, "is not stored whole"),
        ({"a": torch.zeros(1).expand(10**9)}, "is not stored whole"),
        ({"a": torch.zeros(3)}, "no weight of .* has a name and shape of this network"),
    ],
)
def test_files_without_usable_weights_are_refused_in_one_line(content, message, tmp_path):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(UsageError, match=f"--init_from: .*{message}") as caught:
        initialise(built("classify", ["a", "b"], 0), str(tmp_path / "a.pth"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors", "a.ckpt", "."])
def test_what_is_no_file_of_weights_is_named(name, tmp_path):
    if name != ".":
        (tmp_path / name).write_bytes(b"\x80\x02cposix\nsystem\n(S'touch touched'\ntR.")
    with pytest.raises(UsageError, match=f"--init_from: .*{tmp_path}") as caught:
        initialise(built("classify", ["a", "b"], 0), str(tmp_path / name))
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="--init_from: "):
        initialise(built("classify", ["a", "b"], 0), f"nowhere/{name}")


@pytest.mark.parametrize("name", ["classify", "detect"])
def test_an_exported_file_of_weights_says_its_classes(name, tmp_path):
    first, second = built(name, ["cat", "dog", "fox"], 0), built(name, ["fox", "bus", "cat"], 1)
    path = tmp_path / "a.safetensors"
    safetensors_file.write(first.eval(), torch.zeros(2, 3, 32, 32, dtype=torch.uint8), path)
    assert initialise(second, str(path))[1] == "classes matched by name: fox, cat; not in the file: bus"
    said, weights = safetensors_file.read_file(path)
    for text in ("[" * 100_000, "{", '{"class_names": 5}'):
        safetensors.torch.save_file(weights, path, {**said, "hyperparameters": text})
        with pytest.raises(UsageError, match="--init_from: .*a.safetensors describes itself wrongly"):
            initialise(second, str(path))
    safetensors.torch.save_file(weights, path, {"format": "pt", "hyperparameters": "lr = 1"})  # of another program
    assert initialise(second, str(path))[0].endswith(f"weights from {path}")
