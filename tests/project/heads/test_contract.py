"""What every head promises, over every backbone: a combination works, or the error says why it cannot."""

import pytest
import torch

from engine.contract.heads import BoxHead, ClassHead, MapHead
from engine.contract.parts import build_backbone, build_head, check_head_kind
from project.backbones import BACKBONES
from project.heads import HEADS
from tests.inputs import image_input

NAMES = [*BACKBONES, "test_resnet"]
# What cannot be combined, and what is said.
IMPOSSIBLE = {("mlp", "unet"): "head unet needs a backbone with maps of several sizes"}
SHAPES = {ClassHead: (3, 5), MapHead: (3, 5, 28, 37)}


def combined(backbone_name, head_name, size):
    torch.manual_seed(0)
    backbone = build_backbone(backbone_name, image_input(1, size))
    return backbone, build_head(head_name, backbone.channels, backbone.strides, 5)


@pytest.fixture(params=[(b, h) for b in NAMES for h in HEADS if (b, h) not in IMPOSSIBLE], ids="-".join)
def pair(request):
    return request.param


def scalar(raw, head):
    """Return a number that everything in raw outputs goes into."""
    return sum(part.float().square().mean() for part in (raw[:3] if isinstance(head, BoxHead) else [raw]))


def test_head_works_on_backbone_and_gradient_reaches_both(pair):
    backbone, head = combined(*pair, (28, 37))
    raw = head(backbone(torch.randn(3, 1, 28, 37)), (28, 37))
    assert all(raw.shape == shape for kind, shape in SHAPES.items() if isinstance(head, kind))
    scalar(raw, head).backward()
    assert [n for n, p in head.named_parameters() if p.grad is None] == []
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in backbone.parameters())


def test_an_image_gets_the_same_alone_and_in_a_batch(pair):
    backbone, head = (part.eval() for part in combined(*pair, (28, 37)))
    images = torch.randn(4, 1, 28, 37)
    with torch.no_grad():
        together, alone = (head(backbone(x), (28, 37)) for x in (images, images[1:2]))
    if isinstance(head, BoxHead):
        together, alone = torch.cat([together[0], together[2]], dim=2), torch.cat([alone[0], alone[2]], dim=2)
    torch.testing.assert_close(together[1:2], alone, atol=1e-4, rtol=1e-4)


def test_what_is_decoded_is_what_the_kind_of_head_promises(pair):
    backbone, head = (part.eval() for part in combined(*pair, (28, 37)))
    with torch.no_grad():
        raw = head(backbone(torch.randn(3, 1, 28, 37)), (28, 37))
    if isinstance(head, BoxHead):
        found = head.decode(raw, 0.0)
        count = found["boxes"].shape[1]
        assert found["boxes"].shape == (3, count, 4) and found["scores"].shape == found["labels"].shape == (3, count)
        assert ((found["scores"] >= 0) & (found["scores"] <= 1)).all() and found["labels"].max() < 5
        assert (found["boxes"][..., 2:] >= found["boxes"][..., :2]).all() and found["scores"].max() > 0
        assert (found["scores"].diff(dim=1) <= 0).all()  # the likeliest first, unused rows last
    else:
        classes, probabilities = head.decode(raw)
        assert classes.shape == (3,) if isinstance(head, ClassHead) else (3, 28, 37)
        assert classes.dtype == torch.int64 and probabilities.min() >= 0 and probabilities.max() <= 1


@pytest.mark.parametrize(("backbone_name", "head_name"), IMPOSSIBLE)
def test_what_cannot_be_combined_says_why(backbone_name, head_name):
    with pytest.raises(ValueError, match=IMPOSSIBLE[backbone_name, head_name]):
        combined(backbone_name, head_name, (28, 28))


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
