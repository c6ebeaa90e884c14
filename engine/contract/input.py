"""What an input is: how a user's file becomes what a network is fed, and back."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor

from engine.inputs.folder import Findings


class Item(NamedTuple):
    """A user's file, read."""

    raw: Tensor  # without a batch dimension
    original: Any  # what has to be known of the file to answer in its terms: the (H, W) of an image


class Graph(NamedTuple):
    """What an exported file says of its input."""

    name: str  # of the graph's input
    axes: tuple[str, ...]  # a name for each dimension of a raw batch
    about: Mapping[str, Any]  # what whoever feeds it has to know, by the name under which it stands in the file


class Input:
    """How a file becomes a raw tensor, raw tensors a batch, and a batch what the first layer takes.

    A subclass is a frozen dataclass of plain values. Its fields are hyperparameters of a task under the same names, so
    that a checkpoint holds its own preparation. Raw is what data modules keep and exported graphs take; `prepare` is
    part of such a graph. `str` says what one is like. Images are the input that there is, see
    `engine.inputs.image_input.ImageInput`.
    """

    word: ClassVar[str]  # what a person calls many of them, such as 'images'
    form: ClassVar[str] = (
        "images"  # what a prepared batch is: 'images' are floats (N, C, H, W); backbones name what they take
    )
    larger: ClassVar[str]  # the flag that makes one larger, for a network that finds them too small
    # What predict.py says of an input that is odd, and of several of them, by the name of the column in its tables.
    hints: ClassVar[Mapping[str, tuple[str, str]]] = {}
    memory_format: ClassVar[torch.memory_format] = torch.preserve_format  # that convolutions on it run fastest in

    @classmethod
    def of(cls, hparams: Mapping[str, Any]) -> Self:
        """Return the input that hyperparameters describe."""
        return cls(**{field: hparams[field] for field in cls.fields()})

    @classmethod
    def fields(cls) -> tuple[str, ...]:
        """Return the names of the hyperparameters that describe it."""
        return tuple(field.name for field in dataclasses.fields(cls))  # type: ignore[arg-type]

    def values(self) -> dict[str, Any]:
        """Return the hyperparameters that describe it, as plain values."""
        values = {name: getattr(self, name) for name in self.fields()}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def for_backbone(self) -> dict[str, Any]:
        """Return what a backbone may have to know, by the name of its parameter."""
        raise NotImplementedError

    def for_own_data(self) -> dict[str, Any]:
        """Return the options, by name, under which a folder of somebody's own is read as this input."""
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one raw input, of the size that is trained on."""
        raise NotImplementedError

    # ---- from a file to a batch ----

    def find(self, paths: Iterable[str], findings: Findings | None = None) -> list[Path]:
        """Return the files named, and those in the folders named; `findings` gets what was left out.

        Raises:
            FileNotFoundError: a path does not exist, or a folder holds nothing of this kind.
            UserError: a folder cannot be read.
        """
        raise NotImplementedError

    def read(self, path: Path, whole: bool = False, invert: bool = False) -> Item:
        """Read a file: made the size that was trained on, or `whole`; with its values turned round if `invert`.

        Raises:
            UserError: it cannot be read; names it.
        """
        raise NotImplementedError

    def remarks(self, raw: Tensor) -> dict[str, bool]:
        """Return what may be odd about a raw input and whether it is, under the names of `hints`."""
        return {}

    def may_join(self, batch: Sequence[Item], item: Item, batch_size: int) -> bool:
        """Whether a batch may take one more item, for a network that has memory for `batch_size` of usual size."""
        raise NotImplementedError

    def stack(self, raws: Sequence[Tensor]) -> Tensor:
        """Return one batch of raw inputs."""
        return torch.stack(list(raws))

    # ---- from a batch to the first layer, and back to a person ----

    def prepare(self, raw: Tensor) -> Tensor:
        """Turn a raw batch into what the first layer takes, on its device."""
        raise NotImplementedError

    def seen(self, prepared: Tensor) -> Tensor:
        """Return a prepared batch as a person sees it: pictures (N, 3, h, w) of uint8, on the CPU."""
        raise NotImplementedError

    def picture(self, path: Path) -> Tensor:
        """Return a file as a person sees it, in its own size: uint8 (3, h, w)."""
        raise NotImplementedError

    # ---- without a file ----

    def example(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        """Return a raw batch of random values: to try a network, to export and to measure it."""
        raise NotImplementedError

    def other_size(self, raw: Tensor) -> Tensor:
        """Return a raw batch cut to another size, for a network that takes any."""
        raise NotImplementedError

    def padded(self, raw: Tensor, multiple: int) -> Tensor:
        """Return a raw batch whose free sizes were made multiples of that."""
        raise NotImplementedError

    def cut_back(self, values: Tensor, raw: Tensor) -> Tensor:
        """Return what was made of `padded(raw)` without what was added."""
        raise NotImplementedError

    def graph(self, multiple: int | None) -> Graph:
        """Return what an exported file says of its input, whose free sizes are multiples of that, if they are free."""
        raise NotImplementedError
