"""Samples that are read or generated one at a time, augmented for training and put into batches.

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
# A sample's index; or (epoch, index) of a sample to augment, and its place in the epoch where one can come twice.
Index = int | tuple[int, ...]


class SampleSource(Protocol):
    """A source of samples: `read` does the slow part, which may be cached, and `sample` the rest.

    A sample is an image (C, H, W) of uint8 and a target. Their types are torchvision's tv_tensors, which tell
    transforms how to treat each: `Image`, `Mask` (H, W), and for objects a mapping of `boxes` (`BoundingBoxes`, (M, 4)
    xyxy pixels) and `labels` (M,).

    A source may have `labels` (N,) int64, the class of each sample; or `classes(index)`, which returns the numbers of
    the classes in a sample, and reads less than `read` does.
    """

    def __len__(self) -> int: ...

    def specs(self, size: Size) -> list[Spec]:
        """Return the shape and type of each tensor that `read` returns."""

    def read(self, index: int, size: Size) -> Planes:
        """Return a sample's tensors, letterboxed to `size`, the same at each call."""

    def sample(self, index: int, planes: Planes, size: Size) -> Sample:
        """Return the sample made of the tensors that `read` returned."""


class SampleStore(Dataset[Any]):
    """Batches of a source's samples; augmentation depends on (seed, epoch, index) alone, not on the reading process.

    Args:
        source: the source of samples.
        size: (H, W) of the samples.
        cache: keeps the tensors that were read; None for no cache.
        augment: returns a training sample, given a function from index to sample, the index and the epoch. It draws
            from torch's global random generator.
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
        """The class of each sample (N,) int64, if the source has `labels`; else None."""
        return getattr(self.source, "labels", None)

    @property
    def numbers(self) -> Tensor | None:
        """The numbers of each sample (N, K) float, if the source has `numbers`; else None."""
        return getattr(self.source, "numbers", None)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: Index) -> Sample:
        if not isinstance(index, tuple):
            return self.read(index)
        epoch, index, *place = index
        assert self.augment is not None
        # Only the CPU's generator: a GPU's belongs to the network.
        before = torch.default_generator.get_state()
        torch.default_generator.manual_seed(mix(self.seed, epoch, index, *place))
        try:
            return self.augment(self.read, index, epoch)
        finally:
            torch.default_generator.set_state(before)

    def __getitems__(self, indices: Sequence[Index]) -> tuple[Tensor, Any]:
        """Return a batch: images (N, C, H, W) of uint8 and their targets; PyTorch's loader calls this."""
        images, targets = zip(*(self[index] for index in indices), strict=True)
        stacked = torch.stack([image.as_subclass(Tensor) for image in images])
        return stacked.contiguous(), together(targets)

    def read(self, index: int) -> Sample:
        """Return a sample without augmentation."""
        planes: Planes | None = self.cache.get(index) if self.cache is not None else None
        if planes is None:
            planes = self.source.read(index, self.size)
            if self.cache is not None:
                self.cache.put(index, planes)
        return self.source.sample(index, planes, self.size)


def together(targets: Sequence[Any]) -> Any:
    """Collate targets: numbers, masks and images are stacked, objects become a list of dictionaries."""
    first = targets[0]
    if isinstance(first, dict):
        return [{key: value.as_subclass(Tensor) for key, value in target.items()} for target in targets]
    if isinstance(first, Tensor):
        return torch.stack([target.as_subclass(Tensor) for target in targets]).contiguous()
    return torch.tensor(targets)
