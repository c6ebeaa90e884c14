"""Heads: feature maps in, the task's output out.

Every head takes `channels`, `strides` and `num_outputs` first, then options with defaults; what it promises is said in
`project.heads.base`.
"""

from collections.abc import Sequence
from typing import Any

from project.heads.base import Head
from project.heads.dense import DenseHead
from project.heads.fcn import FCNHead
from project.heads.unet import UNetHead
from project.heads.yolox import YOLOXHead
from project.registry import check_options, look_up

HEADS: dict[str, type[Head]] = {
    "dense": DenseHead,
    "fcn": FCNHead,
    "unet": UNetHead,
    "yolox": YOLOXHead,
}


def build_head(name: str, channels: Sequence[int], strides: Sequence[int], num_outputs: int, **options: Any) -> Head:
    """Build a head by name for maps of these channels and strides.

    Raises:
        ValueError: no such head, or an option or value that it does not take.
    """
    builder = look_up("head", name, HEADS)
    check_options(f"head {name}", options, builder, ("channels", "strides", "num_outputs"))
    return builder(channels=channels, strides=strides, num_outputs=num_outputs, **options)


def check_gives(name: str, needed: str, task: str) -> None:
    """Refuse a head that does not give what a task needs.

    Raises:
        ValueError: no such head, or one of another kind; names those that would do.
    """
    head = look_up("head", name, HEADS)
    if head.gives != needed:
        fitting = [other for other, kind in HEADS.items() if kind.gives == needed]
        raise ValueError(f"head {name} gives {head.gives}, and task {task} needs {needed}: use {' or '.join(fitting)}")
