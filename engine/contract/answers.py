"""A task's answers: tensors to export, and plain values, table rows and pictures made from these tensors alone.

N images, C channels, (H, W) size in pixels, K classes.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from engine.contract.errors import UserError
from engine.contract.mistakes import Mistake
from engine.inputs.tiles import Tile


class Answers:
    """The half of a task that predicts after training; `Task`, the other half, trains and evaluates.

    predict.py, export.py, demo.py and a run's report call these methods.
    """

    names_are: ClassVar[str] = "Classes"  # the meaning of class_names, as a heading
    # Of the table of predictions: 'text', 'percent', 'pixels' or 'number', by name.
    columns: ClassVar[Mapping[str, str]]
    takes_any_size: ClassVar[bool] = False  # whether it predicts at native size instead of letterboxed
    # The largest share of images whose answer may differ in an exported file because of rounding.
    rounding_share: ClassVar[float] = 0.0
    # Annotation files that predict.py --format can write, of engine.inference.box_formats: for answers with `objects`.
    formats: ClassVar[tuple[str, ...]] = ()
    # Hyperparameters that may be changed when predicting, with their open range (min, max). They are flags of
    # predict.py, evaluate.py and demo.py, described by the task's docstring, and sliders of the demo's page.
    asked: ClassVar[Mapping[str, tuple[float, float]]] = {}
    hparams: Any

    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        """Return the network's final outputs, tensors (N, ...) by name; an exported file holds this method as a graph.

        `probabilities` have their classes in dimension 1. So that the method can be traced, no shape may depend on a
        tensor's values, and no value may be converted to a Python number.

        Args:
            images: normalised (N, C, h, w), letterboxed to the task's `image_size`; native size if `takes_any_size`.
        """
        raise NotImplementedError

    def raw_of(self, outputs: Mapping[str, Tensor]) -> Any:
        """Return the head's raw outputs that give these outputs; only a task with `mirrored` or `rescaled` needs it."""
        raise NotImplementedError

    def ask_with(self, option: str, value: float, is_program: bool = False) -> None:
        """Set one of the options in `asked` for all later predictions.

        Args:
            option: its name.
            value: its new value.
            is_program: whether outputs come from an exported file, whose options are fixed.

        Raises:
            UserError: the value is out of range, or the option is fixed.
        """
        low, high = self.asked[option]
        if not low < value < high:
            raise UserError(f"{option} is a number in ({low:g}, {high:g}), got {value}")
        if is_program:
            raise UserError(f"{option} is fixed in an exported file: use the checkpoint")
        self.hparams[option] = value

    # Exported files call the next six methods without a network: they may use `self.hparams`, but no weights.

    def answers(self, outputs: Mapping[str, Tensor], sizes: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
        """Return an answer for each image: a dictionary of plain values.

        It may also hold a `mask` (H, W) of class numbers or an `image` (K, H, W), both uint8.

        Args:
            outputs: the result of `outputs` for N images.
            sizes: (H, W) of each image in its file; an answer's positions are in these pixels.
        """
        raise NotImplementedError

    def answer_of_tiles(
        self, tiles: Iterable[tuple[Tile, Mapping[str, Tensor]]], size: tuple[int, int]
    ) -> dict[str, Any]:
        """Return the answer for a large picture, as `answers` does, from the outputs for its tiles.

        `predict.py --tile` calls this; a task without this method refuses the flag. `engine.inputs.tiles` blends maps
        and joins boxes.

        Args:
            tiles: each tile and its outputs, tensors without a batch dimension, row by row. It can be iterated once,
                and the network runs meanwhile.
            size: (H, W) of the picture in its file; an answer's positions are in these pixels.
        """
        raise NotImplementedError

    def mirrored(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Turn outputs for images mirrored left to right into outputs for the images themselves.

        `--tta flip` averages these and the images' own outputs. A task without this method refuses the flag.
        """
        raise NotImplementedError

    def rescaled(self, outputs: Mapping[str, Tensor], size: Sequence[int]) -> dict[str, Tensor]:
        """Turn outputs for scaled images into outputs for the images themselves, of `size` = (H, W).

        `--tta multiscale` averages these. A task without this method refuses the flag.
        """
        raise NotImplementedError

    def rows(self, answer: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return an answer as table rows, with at least the task's `columns`."""
        raise NotImplementedError

    def draw(self, image: Tensor, answer: Mapping[str, Any]) -> Tensor:
        """Return a picture of an answer on its image: uint8 (3, H, W) to uint8 (3, H, W)."""
        raise NotImplementedError

    def in_order_of(self, outputs: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return outputs in the order of `others` (outputs for the same images), if rounding can change the order."""
        return outputs

    def legend(self) -> dict[str, tuple[int, int, int]]:
        """Return the colours in pictures by their meaning, if the pictures do not show it."""
        return {}

    # A run's report calls these after a validation or test; each is optional.

    def pictures(self, images: Tensor, targets: Any) -> dict[str, Tensor]:
        """Return pictures of a batch to show side by side, such as truth and answer: uint8 (N, 3, h, w) by title.

        Args:
            images: normalised (N, C, H, W).
            targets: the batch's targets.
        """
        return {}

    def target_text(self, target: Tensor) -> str:
        """Return a caption for an image's target: its class, or shares of classes (K,)."""
        names = self.hparams["class_names"]
        if target.ndim == 0:
            return str(names[int(target)])
        shares = [(float(share), name) for share, name in zip(target, names, strict=True) if share > 0]
        return " + ".join(f"{share:.0%} {name}" for share, name in sorted(shares, reverse=True))

    def confusion(self) -> Tensor | None:
        """Return the confusion matrix: counts (K, K), true classes in rows, predicted in columns; None without one."""
        return None

    def worst_mistakes(self) -> list[Mistake]:
        """Return the worst mistakes of the last validation or test, the worst first."""
        return []
