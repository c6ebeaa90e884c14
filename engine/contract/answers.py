"""What a task answers: tensors to export, and made of these alone plain values, rows of a table and pictures.

N images, C channels, (H, W) size in pixels, K classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from engine.contract.errors import UserError
from engine.contract.mistakes import Mistake


class Answers:
    """The half of a task that is asked after training; `Task`, the other half, trains and measures.

    predict.py, export.py, demo.py and a run's report call these methods.
    """

    names_are: ClassVar[str] = "Classes"  # what class_names are the names of
    columns: ClassVar[Mapping[str, str]]  # of the table of predictions: 'text', 'percent' or 'pixels', by name
    takes_any_size: ClassVar[bool] = False  # whether it takes whole images, and not letterboxed ones
    # The largest share of images for which an exported file may answer something else, because rounding decides there.
    rounding_share: ClassVar[float] = 0.0
    # Hyperparameters that may be set when it is asked, numbers between (min, max): they are flags of predict.py,
    # evaluate.py and demo.py, described by the docstring of the task, and sliders of the page.
    asked: ClassVar[Mapping[str, tuple[float, float]]] = {}
    hparams: Any

    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        """Return the network's final outputs, tensors (N, ...) by name. They become a graph in an exported file.

        `probabilities` have their classes in dimension 1. No shape may depend on the values of a tensor, and no value
        may be read as a number.

        Args:
            images: normalised (N, C, h, w), letterboxed to the task's `image_size`; whole, if it takes any size.
        """
        raise NotImplementedError

    def ask_with(self, option: str, value: float, is_program: bool = False) -> None:
        """Set one of the options of `asked` for what follows.

        Args:
            option: its name.
            value: its value.
            is_program: whether outputs come from an exported file, for which the network's options are fixed.

        Raises:
            UserError: the value cannot be had.
        """
        low, high = self.asked[option]
        if not low < value < high:
            raise UserError(f"{option} is a number in ({low:g}, {high:g}), got {value}")
        if is_program:
            raise UserError(f"{option} is fixed in an exported file: ask the checkpoint")
        self.hparams[option] = value

    # Exported files call the next five without a network: they may use the task's `hparams`, and nothing else of it.

    def answers(self, outputs: Mapping[str, Tensor], sizes: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
        """Return a dictionary of plain values for each image.

        Besides, it may have a `mask` (H, W) of class numbers or an `image` (K, H, W), both uint8.

        Args:
            outputs: what `outputs` returned for N images.
            sizes: (H, W) of each in its file; positions in an answer are in pixels of that.
        """
        raise NotImplementedError

    def rows(self, answer: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return an answer as rows of a table with at least the task's `columns`."""
        raise NotImplementedError

    def draw(self, image: Tensor, answer: Mapping[str, Any]) -> Tensor:
        """Return a picture of an answer on its image: uint8 (3, H, W) to uint8 (3, H, W)."""
        raise NotImplementedError

    def in_order_of(self, outputs: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return outputs in the order of others for the same images, where rounding may have changed it."""
        return outputs

    def legend(self) -> dict[str, tuple[int, int, int]]:
        """Return the meaning of the colours in pictures, if it is not written there."""
        return {}

    # A run's report calls these after a validation or test; each is optional.

    def pictures(self, images: Tensor, targets: Any) -> dict[str, Tensor]:
        """Return pictures of a batch to show side by side, truth and answer for one: uint8 (N, 3, h, w) by title.

        Args:
            images: normalised (N, C, H, W).
            targets: those of the batch.
        """
        return {}

    def confusion(self) -> Tensor | None:
        """Return how often each true class (row) was taken for each class (column): counts (K, K)."""
        return None

    def worst_mistakes(self) -> list[Mistake]:
        """Return the worst mistakes among the images just measured, the worst first."""
        return []
