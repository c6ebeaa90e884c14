"""Backbones: images in, feature maps out, fine to coarse.

Every backbone takes `in_channels` first (and `image_size`, if it has to know it), then options with defaults; what it
promises is said in `project.backbones.base`.
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from project.backbones.base import Backbone
from project.backbones.cnn import CNN
from project.backbones.inception import Inception
from project.backbones.mlp import MLP
from project.registry import check_options, look_up, options_of

BACKBONES: dict[str, Callable[..., Backbone]] = {
    "cnn": CNN,
    "mlp": MLP,
    "inception": Inception,
}

_fetching = contextvars.ContextVar("fetching", default=True)


@contextlib.contextmanager
def weights_not_fetched() -> Iterator[None]:
    """Within, backbones do not fetch pretrained weights: those of a checkpoint are about to be loaded."""
    token = _fetching.set(False)
    try:
        yield
    finally:
        _fetching.reset(token)


def find_backbone(name: str) -> Callable[..., Backbone]:
    """Return the constructor of a backbone: one of ours, or any timm model by its name there.

    Raises:
        ValueError: there is no such backbone.
    """
    if not isinstance(name, str) or name in BACKBONES:
        return look_up("backbone", name, BACKBONES)
    from project.backbones import pretrained  # timm takes a second to import, and most runs do without it

    pretrained.check_name(name, list(BACKBONES))
    return functools.partial(pretrained.TimmBackbone, name=name)


def build_backbone(name: str, in_channels: int, image_size: Sequence[int], **options: Any) -> Backbone:
    """Build a backbone by name for images of `in_channels` channels and `image_size` = (H, W) pixels.

    Raises:
        ValueError: no such backbone, or an option or value that it does not take.
        OSError: its pretrained weights cannot be had.
    """
    builder = find_backbone(name)
    check_options(f"backbone {name}", options, builder, ("in_channels", "image_size", "name"))
    if not _fetching.get():
        options.pop("pretrained", None)
    if "image_size" in options_of(builder):
        options["image_size"] = image_size
    return builder(in_channels=in_channels, **options)
