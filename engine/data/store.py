"""Images in memory as bytes, fetched a batch at a time.

N images, C channels, (H, W) size in pixels.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from engine.contract.errors import UserError

Batch = tuple[Tensor, Tensor]


class ImageStore(Dataset[Batch]):
    """uint8 images (N, C, H, W) with one target each, indexed a batch at a time.

    One indexing operation per batch, instead of one Python call per image, makes a small network's epoch fast.

    Args:
        images: (N, C, H, W) uint8.
        targets: (N, ...) of any type.
    """

    def __init__(self, images: Tensor, targets: Tensor) -> None:
        if len(images) != len(targets):
            raise UserError(f"{len(images)} images but {len(targets)} targets: there must be one target per image")
        if images.dtype != torch.uint8 or images.ndim != 4:
            raise UserError(f"images must be uint8 (N, C, H, W), got {images.dtype} {tuple(images.shape)}")
        self.images = images
        self.targets = targets

    @property
    def labels(self) -> Tensor | None:
        """The class of each image (N,) int64; None if targets are something else."""
        return self.targets if self.targets.ndim == 1 and self.targets.dtype == torch.int64 else None

    @property
    def numbers(self) -> Tensor | None:
        """The numbers of each image (N, K) float; None if targets are something else."""
        return self.targets if self.targets.ndim == 2 and self.targets.is_floating_point() else None

    def read(self, index: int) -> Batch:
        """Return an image and its target."""
        return self[index]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Batch:
        return self.images[index], self.targets[index]

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return a whole batch (N, C, H, W), (N, ...); PyTorch's loader prefers this method."""
        chosen = torch.tensor(indices)
        return self.images.index_select(0, chosen), self.targets.index_select(0, chosen)

    def subset(self, indices: Tensor) -> "ImageStore":
        """Return a new store with copies of the images at `indices` (int64)."""
        return ImageStore(self.images[indices], self.targets[indices])


def collate(batch: Any) -> Batch:
    """Return a batch unchanged: the store has already collated it."""
    return batch
