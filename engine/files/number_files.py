"""Images and numbers of each: the source of a `SampleStore`.

K numbers per image.
"""

from torchvision import tv_tensors

from engine.data.cache import Planes
from engine.data.samples import Sample, Size
from engine.files.listing import Listing
from engine.files.single_images import SingleImages


class NumberFiles(SingleImages):
    """Images and numbers, (K,) float32."""

    def __init__(self, listing: Listing, channels: int) -> None:
        super().__init__(listing, channels)
        assert listing.numbers is not None
        self.numbers = listing.numbers

    def sample(self, index: int, planes: Planes, size: Size) -> Sample:
        return tv_tensors.Image(planes[0]), self.numbers[index]
