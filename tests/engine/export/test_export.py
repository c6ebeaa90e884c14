import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.demo import demo
from engine.errors import RunError, UsageError
from engine.export import command as export
from engine.export import onnx_file
from engine.export.formats import FORMATS
from engine.inference import evaluate, predict
from engine.resume import compare
from engine.resume.checkpoint_file import read_checkpoint, write_checkpoint
from project.data.mnist import MNISTDataModule
from scripts import train
from tests.runs import run, workplace_of_a_module
from tests.tiny import TINY_SUMS

CKPT = "checkpoints/a/best.ckpt"
FILES = {name: f"checkpoints/a/best{kind.suffix}" for name, kind in FORMATS.items()}
LOADED = [name for name, kind in FORMATS.items() if not kind.refusal]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint trained on the stand-in, exported in each format."""
    with workplace_of_a_module(tmp_path_factory) as folder:
        run("--task", "classify", "--name", "a", "--max_epochs", 2, "--backbone.widths", "4,8")
        for name in FORMATS:
            export.main([CKPT, "--format", name])
    return folder


@pytest.fixture(autouse=True)
def _(trained, monkeypatch):
    monkeypatch.chdir(trained)
    monkeypatch.setattr(MNISTDataModule, "sums", TINY_SUMS)


@pytest.fixture
def images(tmp_path):
    """Three image files: one to be enlarged, one to be put into a square, and one with light and dark swapped."""
    from PIL import Image

    noise = torch.randint(0, 80, (40, 30), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).numpy()
    Image.fromarray(noise[:20, :20]).save(tmp_path / "1.png")
    Image.fromarray(noise).save(tmp_path / "2.png")
    Image.fromarray(255 - noise).save(tmp_path / "3.png")
    return tmp_path


def table(file, images, capsys, *more):
    """Return what is printed and written of images."""
    output = images / "out.json"
    predict.main([file, str(images), "--output", str(output), *more])
    return capsys.readouterr().out, json.loads(output.read_text())


@pytest.mark.parametrize("name", LOADED)
def test_an_exported_file_gives_the_table_of_its_checkpoint(name, images, capsys):
    for more in ([], ["--invert", "--batch_size", "1"]):
        (shown, expected), (screen, found) = (table(file, images, capsys, *more) for file in (CKPT, FILES[name]))
        assert screen.splitlines()[0] == shown.splitlines()[0] and len(found) == 3
        for row, other in zip(found, expected, strict=True):
            assert row.pop("probabilities") == pytest.approx(other.pop("probabilities"), abs=1e-4)
            assert row.pop("probability") == pytest.approx(other.pop("probability"), abs=1e-4)
            assert row == other


def test_it_says_how_it_compared_and_on_what(tmp_path, capsys):
    export.main([CKPT, "--format", "torch", "--output", str(tmp_path / "a.pt2"), "--images", "60"])
    page = capsys.readouterr().out
    assert "compared on     60 of 90 test images" in page and "same class      60 of 60 images" in page
    assert "probabilities   largest difference" in page and "allowed 0.0001" in page
    assert page.splitlines()[-1].startswith(f"written         {tmp_path / 'a.pt2'} (")


@pytest.mark.parametrize("missing", ["data", "run"])
def test_without_its_data_it_is_compared_on_random_images(missing, tmp_path, monkeypatch, capsys):
    checkpoint = read_checkpoint(CKPT)
    if missing == "run":
        del checkpoint["run"]
    write_checkpoint(checkpoint, tmp_path / "a.ckpt")
    monkeypatch.chdir(tmp_path)
    export.main(["a.ckpt", "--format", "safetensors"])
    assert "compared on     100 random images: " in capsys.readouterr().out
    assert (tmp_path / "a.safetensors").exists()


def wrong(change):
    """Return a format whose files compute something else."""
    plain = FORMATS["safetensors"]

    def read(path, device):
        model = plain.read(path, device)
        return model._replace(outputs=lambda images: change(model.outputs(images)))

    return plain._replace(read=read)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda o: {"probabilities": o["probabilities"] + 2e-4},
            "probabilities differs from the checkpoint's",
        ),
        (lambda o: {"probabilities": o["probabilities"] * torch.nan}, "by up to inf .0.0001 is allowed. in"),
        (
            lambda o: {"probabilities": o["probabilities"][:1].repeat(len(o["probabilities"]), 1)},
            r"in \d+ of \d+ images; --tolerance",
        ),
        (lambda o: {"probabilities": o["probabilities"][:, :9]}, "for 1 images it gives"),
        (lambda o: {"p": o["probabilities"]}, "for 1 images it gives"),
    ],
)
def test_a_file_that_says_something_else_is_not_kept(change, message, tmp_path, monkeypatch):
    monkeypatch.setitem(FORMATS, "safetensors", wrong(change))
    (tmp_path / "a.safetensors").write_text("an earlier one")
    with pytest.raises(RunError, match=message) as caught:
        export.main([CKPT, "--format", "safetensors", "--output", str(tmp_path / "a.safetensors")])
    assert caught.value.status == 1 and "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]
    assert (tmp_path / "a.safetensors").read_text() == "an earlier one"


def test_a_larger_difference_can_be_allowed(tmp_path, monkeypatch):
    monkeypatch.setitem(FORMATS, "safetensors", wrong(lambda o: {"probabilities": o["probabilities"] + 2e-4}))
    export.main([CKPT, "--format", "safetensors", "--output", str(tmp_path / "a.safetensors"), "--tolerance", "0.001"])
    assert (tmp_path / "a.safetensors").exists()


def test_a_missing_package_is_named_with_what_installs_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RunError, match=r'onnx is not installed: pip install -e "\.\[export\]"'):
        export.main([CKPT, "--format", "onnx", "--output", str(tmp_path / "a.onnx")])
    with pytest.raises(UsageError, match=r'onnx is not installed: pip install -e "\.\[export\]"'):
        predict.main([FILES["onnx"], "data"])


def test_what_a_file_says_about_itself_is_readable_by_others():
    import onnxruntime

    session = onnxruntime.InferenceSession(FILES["onnx"])
    said = session.get_modelmeta().custom_metadata_map
    assert json.loads(said["class_names"]) == list("0123456789") and json.loads(said["image_size"]) == [28, 28]
    assert said["task"] == "classify" and json.loads(said["outputs"]) == ["probabilities"]
    assert [(i.name, i.type, i.shape) for i in session.get_inputs()] == [
        ("images", "tensor(uint8)", ["batch", 1, 28, 28])
    ]
    assert b"/project/" not in Path(FILES["onnx"]).read_bytes()  # nor where the code lies that it was made by


@pytest.mark.parametrize("name", LOADED)
def test_a_file_that_is_none_of_ours_is_refused(name, tmp_path):
    suffix = FORMATS[name].suffix
    whole = Path(FILES[name]).read_bytes()
    cases = {"empty": b"", "text": b"hello", "cut": whole[: len(whole) // 2]}
    for what, content in cases.items():
        path = tmp_path / f"{what}{suffix}"
        path.write_bytes(content)
        with pytest.raises(UsageError, match=f"{what}{suffix}") as caught:
            predict.main([str(path), "data"])
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match=f"there is no file nowhere{suffix}"):
        predict.main([f"nowhere{suffix}", "data"])


def test_a_file_that_does_not_say_what_it_is_is_refused(tmp_path):
    import safetensors.torch

    for metadata, message in (
        (None, "it does not say which task it is for"),
        ({"format_version": "99"}, "is of format version '99', but this program reads '1'"),
        ({"format_version": "1", "task": "classify"}, "describes itself wrongly"),
    ):
        safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors", metadata)
        with pytest.raises(UsageError, match=message):
            predict.main([str(tmp_path / "a.safetensors"), "data"])


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("touched"),))


@pytest.mark.parametrize("name", ["evil.pt2", "evil.PT2", "evil.ckpt", "evil.onnx", "evil.safetensors"])
@pytest.mark.parametrize("kind", ["guard", "pickle"])
def test_no_script_loads_a_program(kind, name, tmp_path, monkeypatch, trained):
    """A .pt2 whose guards are Python, and a pickle, under every name that a script takes."""
    monkeypatch.chdir(tmp_path)
    if kind == "pickle":
        torch.save({"state_dict": Evil(), "hyper_parameters": {}, "task": "classify"}, name)
    else:
        with zipfile.ZipFile(trained / FILES["torch"]) as before, zipfile.ZipFile(name, "w") as after:
            for part in before.namelist():
                content = before.read(part)
                if part.endswith("models/model.json"):
                    content = json.dumps({**json.loads(content), "guards_code": ["open('touched', 'w') is None"]})
                after.writestr(part, content)
    for script, arguments in (
        (predict, [name, "."]),
        (evaluate, [name]),
        (export, [name, "--format", "safetensors"]),
        (demo, [name]),
        (compare, [name, name]),
        (train, ["--ckpt_path", name]),
        (train, ["--init_from", name]),
    ):
        with pytest.raises(UsageError, match=name) as caught:
            script.main(arguments)
        assert "\n" not in str(caught.value)
    assert not Path("touched").exists()


def test_an_onnx_file_that_names_another_file_is_refused(tmp_path):
    import onnx

    model = onnx.load(FILES["onnx"])
    onnx.external_data_helper.convert_model_to_external_data(model, location="weights.bin", size_threshold=0)
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(UsageError, match=r"a.onnx is not an ONNX file .*\(it has weights in other files"):
        predict.main([str(tmp_path / "a.onnx"), "data"])


def program_of(nodes, values, path):
    """Write an ONNX file of other nodes that says of itself what the exported one does."""
    import onnx

    said = {entry.key: entry.value for entry in onnx.load(FILES["onnx"]).metadata_props}
    images = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, ["batch", 1, 28, 28])
    answer = onnx.helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, None)
    constants = [onnx.numpy_helper.from_array(np.array(value), name) for name, value in values.items()]
    graph = onnx.helper.make_graph(nodes, "graph", [images], [answer], constants)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    onnx.helper.set_model_props(model, said)
    onnx.save(model, path)


def test_a_program_without_an_end_is_ended(tmp_path, images, monkeypatch):
    from onnx import TensorProto, helper

    monkeypatch.setattr(onnx_file, "LONGEST_SECONDS", 0.1)
    kinds = {"step": (TensorProto.INT64, []), "on": (TensorProto.BOOL, []), "x": (TensorProto.FLOAT, None)}
    inputs = [helper.make_tensor_value_info(name, *kind) for name, kind in kinds.items()]
    outputs = [helper.make_tensor_value_info(f"{name}_after", *kinds[name]) for name in ("on", "x")]
    copies = [helper.make_node("Identity", [name], [f"{name}_after"]) for name in ("on", "x")]
    body = helper.make_graph(copies, "body", inputs, outputs)
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Loop", ["", "always", "floats"], ["probabilities"], body=body),
    ]
    program_of(nodes, {"always": True}, tmp_path / "a.onnx")
    with pytest.raises(RunError, match="does not end within 0.1 seconds"):
        predict.main([str(tmp_path / "a.onnx"), str(images)])


@pytest.mark.parametrize("value", [5.0, -1.0, float("nan"), float("inf")])
def test_probabilities_that_are_none_are_refused(value, tmp_path, images):
    from onnx import helper

    constant = np.full((1, 10), value, np.float32)
    program_of([helper.make_node("Identity", ["a"], ["probabilities"])], {"a": constant}, tmp_path / "a.onnx")
    with pytest.raises(
        RunError, match=r"the file.s outputs are not those of task classify \(probabilities are not in 0..1"
    ):
        predict.main([str(tmp_path / "a.onnx"), str(images)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hyperparameters": None}, "describes itself wrongly"),
        ({"hyperparameters": "[1]"}, "hyperparameters are a mapping"),
        ({"class_names": ["a"]}, "the file.s outputs are not those of task classify .*probabilities have the shape"),
        ({"class_names": ["a"] * 10}, "class_names are different names"),
        ({"class_names": [["a"]]}, r"class_names is Sequence\[str\]"),
        ({"image_size": [28]}, "image_size is height and width"),
        ({"image_size": [10**9, 10**9]}, "image_size is height and width"),
        ({"image_size": [32, 32]}, "other inputs or outputs than it describes"),
        ({"in_channels": 3}, "mean and std have one number per channel"),
        ({"in_channels": "1"}, "in_channels is int"),
        ({"std": [0.0]}, "above 0 in std"),
        ({"mean": [float("nan")]}, "mean and std have one number per channel"),
        ({"backbone": "cnn"}, r"backbone is Mapping\[str"),
        ({"task": "detect"}, "has no option 'label_smoothing'"),
        ({"outputs": []}, "its outputs are"),
        ({"outputs": ["boxes"]}, "other inputs or outputs than it describes"),
    ],
)
def test_what_a_program_says_about_itself_is_checked(change, message, tmp_path, images):
    import onnx

    model = onnx.load(FILES["onnx"])
    ((key, value),) = change.items()
    for said in model.metadata_props:
        if said.key == key and key in ("hyperparameters", "outputs", "task"):
            said.value = value if isinstance(value, str) else json.dumps(value)
        elif said.key == "hyperparameters" and key in json.loads(said.value):
            said.value = json.dumps({**json.loads(said.value), **change})
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(RunError, match=message) as caught:
        predict.main([str(tmp_path / "a.onnx"), str(images)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([CKPT], "the following arguments are required: --format"),
        ([CKPT, "--format", "onxx"], "unknown format 'onxx'; did you mean onnx"),
        (["nowhere.ckpt", "--format", "onnx"], "there is no checkpoint nowhere.ckpt"),
        ([CKPT, "--format", "onnx", "--output", CKPT], "expected a name that ends in .onnx"),
        ([CKPT, "--format", "onnx", "--output", "nowhere/a.onnx"], "its folder does not exist"),
        ([CKPT, "--format", "onnx", "--data.root", "nowhere"], "MNIST is not complete in nowhere"),
        ([CKPT, "--format", "onnx", "--images", "1"], "--images is 2 or more, got 1"),
        ([CKPT, "--format", "onnx", "--tolerance", "-1"], "--tolerance is 0 or more"),
        ([CKPT, "--format", "onnx", "--tolerance", "nan"], "--tolerance is 0 or more"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments, message):
    with pytest.raises(UsageError, match=message) as caught:
        export.main(arguments)
    assert "\n" not in str(caught.value)
