"""Every head keeps its promises, over every backbone: a combination works, or the error says why it cannot."""

import pytest
import torch

from engine.contract.heads import BoxHead, ClassHead, MapHead
from engine.contract.parts import build_backbone, build_head, check_head_kind
from engine.testing import HEAD_CHECKS, check_head
from project.backbones import BACKBONES
from project.heads import HEADS
from tests.inputs import image_input

NAMES = [*BACKBONES, "test_resnet"]
# What cannot be combined, and what is said.
IMPOSSIBLE = {("mlp", "unet"): "head unet needs a backbone with maps of several sizes"}
PAIRS = [(backbone, head) for backbone in NAMES for head in HEADS if (backbone, head) not in IMPOSSIBLE]


@pytest.mark.parametrize(("backbone_name", "head_name"), PAIRS)
@pytest.mark.parametrize("check", HEAD_CHECKS, ids=lambda check: check.__name__)
def test_every_head_keeps_its_promises_on_every_backbone(backbone_name, head_name, check):
    check(head_name, {"name": backbone_name})


@pytest.mark.parametrize(("backbone_name", "head_name"), IMPOSSIBLE)
def test_what_cannot_be_combined_says_why(backbone_name, head_name):
    with pytest.raises(ValueError, match=IMPOSSIBLE[backbone_name, head_name]):
        check_head(head_name, {"name": backbone_name})


@pytest.mark.parametrize("head_name", [name for name, head in HEADS.items() if not issubclass(head, ClassHead)])
def test_heads_that_draw_refuse_maps_without_their_border(head_name):
    backbone = build_backbone("cnn", image_input(), padding="valid")
    head = build_head(head_name, backbone.channels, backbone.strides, 5)
    with pytest.raises(ValueError, match="use a backbone with padding"):
        head(backbone(torch.randn(2, 1, 28, 28)), (28, 28))


@pytest.mark.parametrize("head_name", HEADS)
def test_every_head_is_of_one_kind(head_name):
    assert sum(issubclass(HEADS[head_name], kind) for kind in (ClassHead, MapHead, BoxHead)) == 1


def test_unknown_heads_and_options_are_refused():
    with pytest.raises(ValueError, match="unknown head 'dens'; did you mean dense"):
        build_head("dens", [4], [2], 10)
    with pytest.raises(ValueError, match="head dense has no option 'gird'; did you mean grid"):
        build_head("dense", [4], [2], 10, gird=2)
    with pytest.raises(ValueError, match="head dense is a ClassHead, and task detect needs a BoxHead: use yolox"):
        check_head_kind("dense", BoxHead, "detect")
