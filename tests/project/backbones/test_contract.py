"""Every backbone keeps its promises: a new entry of BACKBONES is tested by being there."""

import pytest
import torch

from engine.contract.parts import build_backbone
from engine.testing import BACKBONE_CHECKS
from project.backbones import BACKBONES
from tests.inputs import image_input


@pytest.mark.parametrize("name", [*BACKBONES, "test_resnet"])  # and one of timm's, small
@pytest.mark.parametrize("check", BACKBONE_CHECKS, ids=lambda check: check.__name__)
def test_every_backbone_keeps_its_promises(name, check):
    check(name)


def test_the_mlp_takes_the_images_that_it_was_built_for():
    with pytest.raises(ValueError, match="28x28"):
        build_backbone("mlp", image_input())(torch.randn(1, 1, 40, 40))


def test_unknown_names_and_options_are_refused_with_the_closest():
    with pytest.raises(ValueError, match="unknown backbone 'incepton'; did you mean inception\\?"):
        build_backbone("incepton", image_input())
    with pytest.raises(ValueError, match="unknown backbone 'resnet81'; did you mean resnet18\\?"):
        build_backbone("resnet81", image_input())
    with pytest.raises(ValueError, match="backbone cnn has no option 'width'; did you mean widths\\?"):
        build_backbone("cnn", image_input(), width=[3])
