"""Backbones: images in, feature maps out, fine to coarse.

Every backbone takes `in_channels` first (and `image_size`, if it needs it), then options with defaults.
`engine.contract.backbone` states the contract.
"""

import functools
from collections.abc import Callable

from engine.contract.backbone import Backbone
from engine.contract.registry import look_up
from project.backbones.cnn import CNN
from project.backbones.inception import Inception
from project.backbones.mlp import MLP

BACKBONES: dict[str, Callable[..., Backbone]] = {
    "cnn": CNN,
    "mlp": MLP,
    "inception": Inception,
}


def find_backbone(name: str) -> Callable[..., Backbone]:
    """Return the constructor of a backbone: one of ours, or any timm model by its timm name.

    Raises:
        UserError: there is no such backbone.
    """
    if not isinstance(name, str) or name in BACKBONES:
        return look_up("backbone", name, BACKBONES)
    from project.backbones import pretrained  # timm takes a second to import, and most runs do not need it

    pretrained.check_name(name, list(BACKBONES))
    return functools.partial(pretrained.TimmBackbone, name=name)
