"""Heads: feature maps in, the task's output out.

Every head takes `channels`, `strides` and `num_outputs` first, then options with defaults. `engine.contract.heads`
states the contract.
"""

from engine.contract.heads import Head
from project.heads.dense import DenseHead
from project.heads.fcn import FCNHead
from project.heads.unet import UNetHead
from project.heads.yolox import YOLOXHead

HEADS: dict[str, type[Head]] = {
    "dense": DenseHead,
    "fcn": FCNHead,
    "unet": UNetHead,
    "yolox": YOLOXHead,
}
