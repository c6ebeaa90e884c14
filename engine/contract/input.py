"""The contract of inputs: how a user's file becomes a network's input, and a picture again."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor

from engine.inputs.folder import Findings
from engine.inputs.tiles import Tile


class Item(NamedTuple):
    """The content of a user's file."""

    raw: Tensor  # without a batch dimension
    original: Any  # what an answer needs to know about the file, such as an image's (H, W)


class Graph(NamedTuple):
    """The description of an exported file's input."""

    name: str  # of the graph's input
    axes: tuple[str, ...]  # a name for each dimension of a raw batch
    about: Mapping[str, Any]  # what callers have to know, by its name in the file's metadata


class Input:
    """Turns a file into a raw tensor, raw tensors into a batch, and a batch into the first layer's input.

    A subclass is a frozen dataclass of plain values. Its fields are hyperparameters of a task under the same names, so
    a checkpoint holds its own preparation. Data modules store raw tensors and exported graphs take them; `prepare` is
    part of such a graph. `str` describes one input. The template's only input is
    `engine.inputs.image_input.ImageInput`.
    """

    word: ClassVar[str]  # the inputs' name in the plural, such as 'images'
    # The form of a prepared batch, which must be the backbone's `takes`: 'images' are floats (N, C, H, W).
    form: ClassVar[str] = "images"
    larger: ClassVar[str]  # the flag that makes inputs larger, named if they are too small for a network
    # Remarks of predict.py on one odd input, and on several, by column of its tables.
    hints: ClassVar[Mapping[str, tuple[str, str]]] = {}
    memory_format: ClassVar[torch.memory_format] = torch.preserve_format  # the fastest one for convolutions

    @classmethod
    def of(cls, hparams: Mapping[str, Any]) -> Self:
        """Return the input that a task's hyperparameters describe."""
        return cls(**{field: hparams[field] for field in cls.fields()})

    @classmethod
    def fields(cls) -> tuple[str, ...]:
        """Return the names of the hyperparameters that describe an input."""
        return tuple(field.name for field in dataclasses.fields(cls))  # type: ignore[arg-type]

    def values(self) -> dict[str, Any]:
        """Return the hyperparameters that describe this input, as plain values."""
        values = {name: getattr(self, name) for name in self.fields()}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def for_backbone(self) -> dict[str, Any]:
        """Return values for a backbone's constructor, by parameter."""
        raise NotImplementedError

    def for_own_data(self) -> dict[str, Any]:
        """Return the data options that read a user's folder as this input."""
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one raw input at training size."""
        raise NotImplementedError

    # ---- from a file to a batch ----

    def find(self, paths: Iterable[str], findings: Findings | None = None) -> list[Path]:
        """Return the files among `paths`, and the files in its folders; `findings` collects skipped ones.

        Raises:
            FileNotFoundError: a path does not exist, or a folder holds no such files.
            UserError: a folder cannot be read.
        """
        raise NotImplementedError

    def read(self, path: Path, whole: bool = False, invert: bool = False) -> Item:
        """Read a file at training size, or at its own if `whole`; with inverted values if `invert`.

        Raises:
            UserError: names a file that cannot be read.
        """
        raise NotImplementedError

    def remarks(self, raw: Tensor) -> dict[str, bool]:
        """Return whether each remark of `hints` applies to a raw input."""
        return {}

    def may_join(self, batch: Sequence[Item], item: Item, batch_size: int) -> bool:
        """Whether a batch may take one more item, if memory suffices for `batch_size` items of training size."""
        raise NotImplementedError

    def tiles(self, raw: Tensor, side: int, overlap: float, whole: bool = False) -> Iterator[tuple[Tile, Item]]:
        """Yield the tiles of a raw input of its own size, each with its content, row by row: see `tiles_of`.

        Contents are of training size, or as large as the tile if `whole`. An input without this method refuses --tile.
        """
        raise NotImplementedError

    def stack(self, raws: Sequence[Tensor]) -> Tensor:
        """Stack raw inputs into a batch."""
        return torch.stack(list(raws))

    # ---- from a batch to the first layer, and to a picture ----

    def prepare(self, raw: Tensor) -> Tensor:
        """Turn a raw batch into the first layer's input, on the batch's device."""
        raise NotImplementedError

    def seen(self, prepared: Tensor) -> Tensor:
        """Return a prepared batch as pictures for display: uint8 (N, 3, h, w), on the CPU."""
        raise NotImplementedError

    def picture(self, path: Path) -> Tensor:
        """Return a file as a picture for display, in its own size: uint8 (3, h, w)."""
        raise NotImplementedError

    # ---- without a file ----

    def example(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        """Return a raw batch of random values, to try, export and benchmark a network."""
        raise NotImplementedError

    def other_size(self, raw: Tensor) -> Tensor:
        """Return a raw batch cropped to another size, for a network that takes any size."""
        raise NotImplementedError

    def padded(self, raw: Tensor, multiple: int) -> Tensor:
        """Return a raw batch padded so that its free sizes are multiples of `multiple`."""
        raise NotImplementedError

    def cut_back(self, values: Tensor, raw: Tensor) -> Tensor:
        """Return outputs for `padded(raw)`, cropped to the size of `raw`."""
        raise NotImplementedError

    def graph(self, multiple: int | None) -> Graph:
        """Return the description of an exported file's input, whose free sizes are multiples of `multiple`, if any."""
        raise NotImplementedError
