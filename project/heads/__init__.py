"""Heads: feature maps in, the task's output out.

Every head takes `channels`, `strides` and `num_outputs` first, then options with defaults; what it promises is said in
`project.heads.base`.
"""

from collections.abc import Callable, Sequence
from typing import Any

from project.heads.base import Head
from project.heads.dense import DenseHead
from project.registry import check_options, look_up

HEADS: dict[str, Callable[..., Head]] = {
    "dense": DenseHead,
}


def build_head(name: str, channels: Sequence[int], strides: Sequence[int], num_outputs: int, **options: Any) -> Head:
    """Build a head by name for maps of these channels and strides.

    Raises:
        ValueError: no such head, or an option or value that it does not take.
    """
    builder = look_up("head", name, HEADS)
    check_options(f"head {name}", options, builder, ("channels", "strides", "num_outputs"))
    return builder(channels=channels, strides=strides, num_outputs=num_outputs, **options)
