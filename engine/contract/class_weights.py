"""How much each class counts in a loss, where some are rarer than others. K is a number of classes."""

import functools
import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from engine.contract.errors import UserError

BALANCED = "balanced"
ClassWeights = (
    Literal["balanced"] | Sequence[float] | None
)  # 'balanced', a number for each class, or none: all count alike


def check_class_weights(weights: ClassWeights, class_names: Sequence[str]) -> None:
    """Refuse weights that the classes cannot have.

    Raises:
        UserError: says what was expected.
    """
    if weights is None or weights == BALANCED:
        return
    if isinstance(weights, str):
        raise UserError(f"class_weights is {BALANCED} or a number for each class, got {weights!r}")
    if len(weights) != len(class_names) or not all(0 <= w < math.inf for w in weights) or not any(weights):
        raise UserError(
            f"class_weights is {BALANCED} or a number, 0 or more, for each of the {len(class_names)} classes "
            f"({', '.join(class_names[:10])}), got {list(weights)}"
        )


def balanced(counts: Tensor, class_names: Sequence[str]) -> list[float]:
    """Return weights (K,) by which each class counts as much as any other, and 1 on average over all that was counted.

    Args:
        counts: (K,) how often each class is there.
        class_names: their names.

    Raises:
        UserError: one is not there at all.
    """
    for name, count in zip(class_names, counts.tolist(), strict=True):
        if not count:
            raise UserError(
                f"class_weights {BALANCED}: no training image shows class {name}; give a number for each class"
            )
    return [round(weight, 6) for weight in (counts.sum() / (len(counts) * counts.double())).tolist()]


@functools.cache
@torch.inference_mode(False)
def as_tensor(weights: tuple[float, ...], device: torch.device) -> Tensor:
    """Return weights (K,), kept for each device: sending them for each batch would make it wait."""
    return torch.tensor(weights, dtype=torch.float32, device=device)
