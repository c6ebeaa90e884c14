"""What every head promises, on the maps of a backbone for images."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from engine.contract.backbone import Backbone
from engine.contract.heads import BoxHead, ClassHead, Head, MapHead
from engine.contract.parts import build_backbone, build_head
from engine.inputs.image_input import ImageInput

SIZE = (28, 37)
NUM_OUTPUTS = 5
SHAPES = {ClassHead: (3, NUM_OUTPUTS), MapHead: (3, NUM_OUTPUTS, *SIZE)}


def _built(name: str, backbone: Mapping[str, Any], options: dict[str, Any]) -> tuple[Backbone, Head]:
    torch.manual_seed(0)
    features = build_backbone(input=ImageInput(1, SIZE, mean=(0.5,), std=(0.25,)), **backbone)
    return features, build_head(name, features.channels, features.strides, NUM_OUTPUTS, **options)


def _scalar(raw: Any, head: Head) -> Tensor:
    """Return a number that everything in raw outputs goes into."""
    parts = raw[:3] if isinstance(head, BoxHead) else [raw]
    return torch.stack([part.float().square().mean() for part in parts]).sum()


def it_works_and_gradient_reaches_head_and_backbone(name: str, backbone: Mapping[str, Any], **options: Any) -> None:
    features, head = _built(name, backbone, options)
    raw = head(features(torch.randn(3, 1, *SIZE)), SIZE)
    assert all(raw.shape == shape for kind, shape in SHAPES.items() if isinstance(head, kind))
    _scalar(raw, head).backward()
    assert [n for n, p in head.named_parameters() if p.grad is None] == []
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in features.parameters())


def an_image_gets_the_same_alone_and_in_a_batch(name: str, backbone: Mapping[str, Any], **options: Any) -> None:
    features, head = (part.eval() for part in _built(name, backbone, options))
    images = torch.randn(4, 1, *SIZE)
    with torch.no_grad():
        together, alone = (head(features(x), SIZE) for x in (images, images[1:2]))
    if isinstance(head, BoxHead):
        together, alone = torch.cat([together[0], together[2]], dim=2), torch.cat([alone[0], alone[2]], dim=2)
    torch.testing.assert_close(together[1:2], alone, atol=1e-4, rtol=1e-4)


def what_is_decoded_is_what_the_kind_of_head_promises(name: str, backbone: Mapping[str, Any], **options: Any) -> None:
    features, head = (part.eval() for part in _built(name, backbone, options))
    with torch.no_grad():
        raw = head(features(torch.randn(3, 1, *SIZE)), SIZE)
    if isinstance(head, BoxHead):
        found = head.decode(raw, 0.0)
        count = found["boxes"].shape[1]
        assert found["boxes"].shape == (3, count, 4) and found["scores"].shape == found["labels"].shape == (3, count)
        assert ((found["scores"] >= 0) & (found["scores"] <= 1)).all() and found["labels"].max() < NUM_OUTPUTS
        assert (found["boxes"][..., 2:] >= found["boxes"][..., :2]).all() and found["scores"].max() > 0
        assert (found["scores"].diff(dim=1) <= 0).all()  # the likeliest first, unused rows last
    elif isinstance(head, ClassHead | MapHead):
        classes, probabilities = head.decode(raw)
        assert classes.shape == ((3,) if isinstance(head, ClassHead) else (3, *SIZE))
        assert classes.dtype == torch.int64 and probabilities.min() >= 0 and probabilities.max() <= 1


HEAD_CHECKS: list[Callable[..., None]] = [
    it_works_and_gradient_reaches_head_and_backbone,
    an_image_gets_the_same_alone_and_in_a_batch,
    what_is_decoded_is_what_the_kind_of_head_promises,
]


def check_head(name: str, backbone: Mapping[str, Any], **options: Any) -> None:
    """Try all that a head promises, built by its name with these options on a backbone: its `name`, and its options.

    Raises:
        AssertionError: it does not keep a promise, which the function that failed names.
    """
    for check in HEAD_CHECKS:
        check(name, backbone, **options)
