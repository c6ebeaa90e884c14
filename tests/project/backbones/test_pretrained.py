"""Weights that were trained elsewhere, without fetching any: the hub is a folder of the test's."""

import socket
import time

import pytest
import safetensors.torch
import timm
import torch

from engine import shortcuts
from engine.contract.parts import build_backbone, load_task, weights_not_fetched
from engine.resume.checkpoint_file import write_checkpoint
from project.tasks.classifier import LitClassifier
from tests.inputs import image_input


@pytest.fixture
def hub(monkeypatch):
    """Have timm find weights of 'test_resnet' where it would ask its hub; return them."""
    torch.manual_seed(5)
    weights = timm.create_model("test_resnet", pretrained=False).state_dict()
    monkeypatch.setattr(shortcuts, "can_be_reached", lambda address: True)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *a, **k: dict(weights))
    return weights


@pytest.fixture
def offline(monkeypatch, tmp_path):
    def refuse(*arguments, **more):
        raise OSError("no network here")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))


def test_weights_are_loaded_and_the_first_layer_is_summed_for_grey_images(hub):
    colour, grey = (
        build_backbone("test_resnet", image_input(c, (32, 32)), pretrained=True).body.state_dict() for c in (3, 1)
    )
    first = "conv1.weight" if "conv1.weight" in hub else next(name for name in hub if hub[name].ndim == 4)
    own = next(name for name in colour if name.replace("_", ".") == first.replace("_", "."))
    torch.testing.assert_close(colour[own], hub[first])
    torch.testing.assert_close(grey[own], hub[first].sum(dim=1, keepdim=True))


@pytest.mark.parametrize("place", ["test_resnet.safetensors", "test_resnet.pth", "test_resnet/model.safetensors"])
def test_weights_are_read_from_a_folder_or_a_file_without_a_network(offline, tmp_path, place):
    torch.manual_seed(5)
    weights = timm.create_model("test_resnet", pretrained=False).state_dict()
    file = tmp_path / "weights" / place
    file.parent.mkdir(parents=True)
    if file.suffix == ".pth":
        torch.save(weights, file)
    else:
        safetensors.torch.save_file(weights, file)
    for path in (tmp_path / "weights", file):
        own = build_backbone("test_resnet", image_input(3, (32, 32)), pretrained=str(path)).body.state_dict()
        assert len(own) > 80 and all(torch.equal(own[name], weights[name]) for name in own)
    with pytest.raises(OSError, match=f"{tmp_path} has no weights of test_resnet: expected test_resnet.safetensors"):
        build_backbone("test_resnet", image_input(3, (32, 32)), pretrained=str(tmp_path))
    file.write_bytes(b"not weights")
    with pytest.raises(ValueError, match=f"{file} cannot be read as weights"):
        build_backbone("test_resnet", image_input(3, (32, 32)), pretrained=str(file))


def test_without_a_network_it_says_so_in_one_line_and_soon(offline):
    start = time.perf_counter()
    with pytest.raises(OSError, match="the pretrained weights of test_resnet cannot be fetched, nor are they") as error:
        build_backbone("test_resnet", image_input(1, (32, 32)), pretrained=True)
    assert "\n" not in str(error.value) and time.perf_counter() - start < 10


def test_a_checkpoint_of_a_pretrained_network_is_loaded_without_fetching(offline, tmp_path):
    backbone = {"name": "test_resnet", "pretrained": True}
    with weights_not_fetched():
        task = LitClassifier(image_size=(32, 32), backbone=backbone, head={"name": "dense"})
    assert task.hparams["backbone"] == backbone  # the record of where it came from stays
    path = tmp_path / "a.ckpt"
    write_checkpoint(
        {"task": "classify", "hyper_parameters": dict(task.hparams), "state_dict": task.state_dict()}, path
    )
    again = load_task(path)
    assert again.hparams["backbone"] == backbone
    for a, b in zip(task.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)
