"""Images and numbers of each: the source of a `SampleStore`.

C channels, K numbers per image.
"""

import torch
from torchvision import tv_tensors

from engine.data.cache import Planes, Spec
from engine.data.samples import Sample, Size
from engine.files.listing import Listing
from engine.inputs.image_files import read_letterboxed


class NumberFiles:
    """Images and numbers, (K,) float32.

    Args:
        listing: the files, with numbers.
        channels: 1 for grey images, 3 for colour.
    """

    def __init__(self, listing: Listing, channels: int) -> None:
        assert listing.numbers is not None
        self.listing = listing
        self.numbers = listing.numbers
        self.channels = channels

    def __len__(self) -> int:
        return len(self.listing)

    def specs(self, size: Size) -> list[Spec]:
        return [((self.channels, *size), torch.uint8)]

    def read(self, index: int, size: Size) -> Planes:
        return [read_letterboxed(self.listing.image(index), self.channels, size).pixels]

    def sample(self, index: int, planes: Planes, size: Size) -> Sample:
        return tv_tensors.Image(planes[0]), self.numbers[index]
