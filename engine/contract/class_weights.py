"""Weights of classes in a loss, for data in which some classes are rare. K is the number of classes."""

import functools
import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from engine.contract.errors import UserError

BALANCED = "balanced"
# A number for each class; or those that let each class count as much as any other; or none, and all count alike.
ClassWeights = Literal["balanced"] | Sequence[float] | None


def check_class_weights(weights: ClassWeights, class_names: Sequence[str]) -> None:
    """Refuse weights that do not fit the classes.

    Raises:
        UserError: names what was expected.
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
    """Return weights (K,) that give each class the same total weight; their mean over everything counted is 1.

    Args:
        counts: (K,) how often each class occurs.
        class_names: the names of the classes.

    Raises:
        UserError: a class does not occur.
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
    """Return weights as a tensor (K,), cached per device: copying them for each batch would make the batch wait."""
    return torch.tensor(weights, dtype=torch.float32, device=device)
