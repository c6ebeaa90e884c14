"""Pairs of images made from MNIST, to translate without another download.

N images, (H, W) = (28, 28) pixels.
"""

from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.contract.errors import UserError
from engine.data.store import ImageStore
from project.data.mnist import FromMNIST, MNISTDataModule

Kind = Literal["restore", "fill"]
INK = 128  # lowest brightness of a digit's pixels, for its outline


class DigitPairsDataModule(FromMNIST):
    """Batches `(source, target)` of grey digits: float (N, 1, 28, 28), the source normalised, the target in 0..1.

    The target is MNIST's digit. With `restore` the source is the digit at a lower resolution and with noise, enlarged
    by repeating pixels; with `fill` it is the digit's outline. (pair_seed, split, index) determine a source. Training,
    validation and test show different digits: MNIST's training images, held-out training images, and its test images.

    Args:
        root: folder that holds MNIST/raw/ with the four files, or will.
        download: fetch files that are missing or damaged; if false, they must be there.
        batch_size: images per batch and process.
        val_size: how many of the 60,000 training images are held out for validation, 0 for none.
        train_size: share of the other images to train on, the same ones in every epoch; above 1, their number.
        kind: restore (low resolution and noise to clean) or fill (outlines to digits).
        factor: for restore: how many times smaller the source is along each side; a divisor of 28.
        noise: for restore: standard deviation of the noise on the source, of values in 0..1.
        pair_seed: determines the noise.
        num_workers: processes that load batches; with images in memory 0 is fastest.
        seed: determines the order of training.
    """

    tasks = ("translate",)
    in_channels = 1
    image_size = (28, 28)
    class_names = ("grey",)
    mean = (0.1307,)
    std = (0.3081,)

    def __init__(
        self,
        root: str = "data",
        download: bool = True,
        batch_size: int = 100,
        val_size: int = 5000,
        train_size: float = 1.0,
        kind: Kind = "restore",
        factor: int = 2,
        noise: float = 0.1,
        pair_seed: int = 0,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, num_workers, seed)
        if kind not in get_args(Kind):
            raise UserError(f"kind is {' or '.join(get_args(Kind))}, got {kind!r}")
        if factor not in (1, 2, 4, 7, 14):
            raise UserError(f"factor is a divisor of 28 pixels: 1, 2, 4, 7 or 14, got {factor}")
        if not 0 <= noise <= 1:
            raise UserError(f"noise is a deviation in 0..1, got {noise}")
        if pair_seed < 0:
            raise UserError(f"pair_seed is 0 or more, got {pair_seed}")
        self.kind, self.factor, self.noise, self.pair_seed = kind, factor, noise, pair_seed
        self.upscale = factor if kind == "restore" else 1
        self.has_validation = val_size > 0
        self._mnist = MNISTDataModule(root, download, val_size=val_size, train_size=train_size)

    def setup(self, stage: str) -> None:
        """Make the pairs; `stage` is Lightning's: fit, validate, test or predict."""
        if self.stores:
            return
        self._mnist.setup(stage)
        for number, split in enumerate(("train", "val", "test")):
            if split in self._mnist.stores:
                digits = self._mnist.stores[split].images
                self.stores[split] = ImageStore(self._source(digits, number), digits)
        self._mnist.stores = {}

    def _source(self, digits: Tensor, split: int) -> Tensor:
        """Return the sources of digits (N, 1, 28, 28) of uint8, in the same shape and type."""
        if self.kind == "fill":
            return outline(digits)
        generator = np.random.default_rng([self.pair_seed, split])
        small = F.avg_pool2d(digits.float(), self.factor)
        # Drawn in the order of the images, so that an image's noise does not depend on their number.
        noise = generator.standard_normal(tuple(small.shape), dtype=np.float32)
        small = small.add_(torch.from_numpy(noise), alpha=255 * self.noise).round_().clamp_(0, 255).to(torch.uint8)
        return small.repeat_interleave(self.factor, dim=2).repeat_interleave(self.factor, dim=3)

    def describe(self) -> str:
        sizes = ", ".join(f"{len(store):,} {split}" for split, store in self.stores.items())
        side = 28 // self.factor
        restored = f"MNIST's digits at {side}x{side} pixels with noise of {self.noise:g}, and clean"
        what = restored if self.kind == "restore" else "outlines of MNIST's digits, and the digits"
        return f"{what}: {sizes or 'not read yet'}"


def outline(digits: Tensor) -> Tensor:
    """Return outlines (N, 1, H, W) one pixel wide, 255 on 0, around digits (N, 1, H, W) of uint8."""
    ink = (digits >= INK).to(torch.uint8)
    # The maximum over each pixel's 3 x 3 neighbourhood, without converting to floats as max_pool2d would need.
    padded = F.pad(ink, (1, 1, 1, 1))
    rows = torch.maximum(torch.maximum(padded[:, :, :-2], padded[:, :, 1:-1]), padded[:, :, 2:])
    grown = torch.maximum(torch.maximum(rows[..., :-2], rows[..., 1:-1]), rows[..., 2:])
    return (grown - ink) * 255
