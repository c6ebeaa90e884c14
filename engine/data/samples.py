"""Samples that are read one at a time, from files or from nothing, varied for training and put into batches.

C channels, (H, W) size of a batch's images in pixels.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors

from engine.data.cache import Cache, Planes, Spec
from engine.data.sampler import mix

Size = tuple[int, int]  # (H, W) in pixels
Sample = tuple[tv_tensors.Image, Any]
Augment = Callable[[Callable[[int], Sample], int, int], Sample]  # see SampleStore
Index = int | tuple[int, int]  # of a sample; or the epoch, for which it is varied, and that


class SampleSource(Protocol):
    """Where samples come from: what is slow to get, and may be kept, apart from what is made of it.

    A sample is an image (C, H, W) of uint8 and a target, in the types of torchvision's tv_tensors, which say to
    transforms how each is to be dealt with: `Image`, `Mask` (H, W), and for objects a mapping of `boxes`
    (`BoundingBoxes`, (M, 4) xyxy pixels) and `labels` (M,).
    """

    def __len__(self) -> int: ...

    def specs(self, size: Size) -> list[Spec]:
        """Return shape and type of each tensor that `read` returns."""

    def read(self, index: int, size: Size) -> Planes:
        """Return what there is of a sample, fitted into `size`: the same each time."""

    def sample(self, index: int, planes: Planes, size: Size) -> Sample:
        """Return the sample that was read."""


class SampleStore(Dataset[Any]):
    """Batches of a source's samples, varied by (seed, epoch, index) alone: whatever reads them, in whatever order.

    Args:
        source: where samples come from.
        size: (H, W) that samples are read at.
        cache: keeps what was read, or None.
        augment: makes a training sample of those that it asks for, drawing from torch's global random numbers; takes a
            function that returns a sample, the index wanted, and the epoch.
        seed: determines, with epoch and index, what `augment` draws.
    """

    def __init__(
        self,
        source: SampleSource,
        size: Size,
        cache: Cache | None = None,
        augment: Augment | None = None,
        seed: int = 0,
    ) -> None:
        self.source = source
        self.size = size
        self.cache = cache
        self.augment = augment
        self.seed = seed

    @property
    def labels(self) -> Tensor | None:
        """The class of each sample (N,) int64, if the source knows it without reading: `labels`."""
        return getattr(self.source, "labels", None)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: Index) -> Sample:
        if not isinstance(index, tuple):
            return self.read(index)
        epoch, index = index
        assert self.augment is not None
        # Only the CPU's numbers: those of a GPU belong to the network.
        before = torch.default_generator.get_state()
        torch.default_generator.manual_seed(mix(self.seed, epoch, index))
        try:
            return self.augment(self.read, index, epoch)
        finally:
            torch.default_generator.set_state(before)

    def __getitems__(self, indices: Sequence[Index]) -> tuple[Tensor, Any]:
        """Return a batch: images (N, C, H, W) of uint8 and their targets; PyTorch's loader calls this."""
        images, targets = zip(*(self[index] for index in indices), strict=True)
        return torch.stack([image.as_subclass(Tensor) for image in images]), together(targets)

    def read(self, index: int) -> Sample:
        """Return a sample as it is, not varied."""
        planes: Planes | None = self.cache.get(index) if self.cache is not None else None
        if planes is None:
            planes = self.source.read(index, self.size)
            if self.cache is not None:
                self.cache.put(index, planes)
        return self.source.sample(index, planes, self.size)


def together(targets: Sequence[Any]) -> Any:
    """Put targets into a batch: numbers, masks and images are stacked, in their own type; objects become a list."""
    first = targets[0]
    if isinstance(first, dict):
        return [{key: value.as_subclass(Tensor) for key, value in target.items()} for target in targets]
    if isinstance(first, Tensor):
        return torch.stack([target.as_subclass(Tensor) for target in targets])
    return torch.tensor(targets)
