"""Files of one image each, as a `SampleStore` reads them; C channels, (H, W) size in pixels."""

import torch

from engine.data.cache import Planes, Spec
from engine.data.samples import Size
from engine.files.listing import Listing
from engine.inputs.image_files import read_letterboxed


class SingleImages:
    """Images whose targets need no file; a subclass adds `sample`.

    Args:
        listing: the files and their targets.
        channels: 1 for grey images, 3 for colour.
    """

    def __init__(self, listing: Listing, channels: int) -> None:
        self.listing = listing
        self.channels = channels

    def __len__(self) -> int:
        return len(self.listing)

    def specs(self, size: Size) -> list[Spec]:
        return [((self.channels, *size), torch.uint8)]

    def read(self, index: int, size: Size) -> Planes:
        return [read_letterboxed(self.listing.image(index), self.channels, size).pixels]
