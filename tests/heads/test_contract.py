"""What every head promises, over every backbone."""

import pytest
import torch

from project.backbones import BACKBONES, build_backbone
from project.heads import HEADS, build_head

SIZE = (28, 28)


@pytest.mark.parametrize("backbone_name", [*BACKBONES, "test_resnet"])
@pytest.mark.parametrize("head_name", HEADS)
def test_head_works_on_backbone_and_gradient_reaches_both(head_name, backbone_name):
    backbone = build_backbone(backbone_name, 1, SIZE)
    head = build_head(head_name, backbone.channels, backbone.strides, 5)
    raw = head(backbone(torch.randn(3, 1, *SIZE)), SIZE)
    raw.square().mean().backward()
    assert [n for n, p in head.named_parameters() if p.grad is None] == []
    head.decode(raw)


def test_unknown_heads_and_options_are_refused():
    with pytest.raises(ValueError, match="unknown head 'dens'; did you mean dense"):
        build_head("dens", [4], [2], 10)
    with pytest.raises(ValueError, match="head dense has no option 'gird'; did you mean grid"):
        build_head("dense", [4], [2], 10, gird=2)
