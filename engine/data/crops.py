"""Parts of pictures at full resolution: samples in their own size, from which training crops, and their tiles.

(H, W) is a size in pixels.
"""

from collections.abc import Callable

from torch import Tensor

from engine.data.augment import Part, RandomZoom
from engine.data.cache import Planes, Spec
from engine.data.samples import Sample, SampleSource, SampleStore, Size
from engine.inputs.tiles import tiles_of


class OwnSize:
    """A source's samples in their own size, whatever size is asked for.

    Args:
        source: the source.
        size_of: returns the (H, W) of a sample.
    """

    def __init__(self, source: SampleSource, size_of: Callable[[int], Size]) -> None:
        self.source = source
        self.size_of = size_of

    def __len__(self) -> int:
        return len(self.source)

    def classes(self, index: int) -> Tensor:
        classes: Tensor = self.source.classes(index)  # type: ignore[attr-defined]
        return classes

    def specs(self, size: Size) -> list[Spec]:
        raise NotImplementedError  # each sample has another shape, so they cannot be cached

    def read(self, index: int, size: Size) -> Planes:
        return self.source.read(index, self.size_of(index))

    def sample(self, index: int, planes: Planes, size: Size) -> Sample:
        height, width = planes[0].shape[-2:]
        return self.source.sample(index, planes, (height, width))


class TileStore(SampleStore):
    """The tiles of all samples, each a sample, so that every pixel is measured; the order is that of the samples.

    Neighbouring tiles overlap by what is needed to cover a sample evenly. One smaller than a tile is padded, like an
    image that is zoomed out.

    Args:
        source: the source of samples in their own size.
        size: (H, W) of the tiles once they are scaled.
        side: height and width of a tile in a sample's pixels.
    """

    def __init__(self, source: OwnSize, size: Size, side: int) -> None:
        super().__init__(source, size)
        self.zoom = RandomZoom(size, 1.0, 1.0, base=(side, side))
        self.places = [
            (index, Part(tile.top - (side - tile.high) // 2, tile.left - (side - tile.wide) // 2, side, side))
            for index in range(len(source))
            for tile in tiles_of(source.size_of(index), side, overlap=0.0)
        ]
        self._last: tuple[int, Sample] | None = None  # its neighbours are wanted next, and reading it takes longest

    def __len__(self) -> int:
        return len(self.places)

    def read(self, index: int) -> Sample:
        number, part = self.places[index]
        if self._last is None or self._last[0] != number:
            self._last = number, super().read(number)
        return self.zoom.sample(self._last[1], part)
