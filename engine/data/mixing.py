"""MixUp and CutMix: training images mixed from two, with soft targets.

N images, C channels, (H, W) size in pixels, K classes.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def mixed(
    images: Tensor, labels: Tensor, num_classes: int, mixup: float, cutmix: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mix image i of a batch with image N - 1 - i.

    Sources: MixUp, Zhang et al. 2018, arXiv:1710.09412; CutMix, Yun et al. 2019, arXiv:1905.04899.

    Args:
        images: (N, C, H, W) float, in a random order.
        labels: (N,) int64.
        num_classes: K.
        mixup: alpha of the beta distribution of MixUp's shares; 0 for no MixUp.
        cutmix: the same for CutMix. With both, each batch gets one of them at random.
        generator: the source of random numbers, on the CPU.

    Returns:
        Images (N, C, H, W), and targets (N, K), whose rows sum to 1.
    """
    draw = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
    cuts = cutmix > 0 and (mixup == 0 or draw.random() < 0.5)
    alpha = cutmix if cuts else mixup
    share = float(draw.beta(alpha, alpha))
    if cuts:
        height, width = images.shape[-2:]
        high, wide = (round(side * math.sqrt(1 - share)) for side in (height, width))
        middle = draw.integers(height), draw.integers(width)
        top, bottom = (min(max(int(middle[0]) + edge, 0), height) for edge in (-(high // 2), high - high // 2))
        left, right = (min(max(int(middle[1]) + edge, 0), width) for edge in (-(wide // 2), wide - wide // 2))
        others = images.flip(0)
        images = images.clone()
        images[..., top:bottom, left:right] = others[..., top:bottom, left:right]
        share = 1 - (bottom - top) * (right - left) / (height * width)
    else:
        images = share * images + (1 - share) * images.flip(0)
    targets = F.one_hot(labels, num_classes).float()
    return images, share * targets + (1 - share) * targets.flip(0)
