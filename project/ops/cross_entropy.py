"""Cross-entropy with class weights, or with less weight on easy samples (focal loss). N samples, K classes."""

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.contract.errors import UserError

SMALLEST = 1e-12  # total weight that is divided by
NOT_COUNTED = -100  # target of ignored samples: PyTorch's default `ignore_index`


def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    gamma: float = 0.0,
    label_smoothing: float = 0.0,
    ignore: int = NOT_COUNTED,
) -> Tensor:
    """Return the mean cross-entropy over the targets that have a class, a scalar.

    The mean is weighted by `weights`. With `gamma` above 0 it is the focal loss, in which well-classified samples count
    less: each term is multiplied by (1 - p)^gamma, where p is the probability of the true class. If no target has a
    class, or one of a weight above 0, the result is 0.
    Source: Lin et al. 2017, arXiv:1708.02002.

    Args:
        logits: (N, K) or (N, K, ...).
        targets: (N,) or (N, ...) int64 in 0 .. K - 1, or `ignore`; or probabilities (N, K), without gamma.
        weights: (K,) weight of each class, 0 or more; None for equal weights.
        gamma: 0 or more.
        label_smoothing: share of the target spread over all classes, in [0, 1).
        ignore: the target of samples to ignore.

    Raises:
        ValueError: `gamma` with probabilities as targets.
    """
    soft = targets.is_floating_point()
    if soft and gamma:
        raise ValueError("the focal loss takes a class for each sample, and these targets are probabilities")
    if weights is None and not gamma and ignore == NOT_COUNTED:
        targets = targets.to(logits.dtype) if soft else targets
        return F.cross_entropy(logits, targets, label_smoothing=label_smoothing)
    counted = total_weight(targets, weights, ignore)
    weights = None if weights is None else weights.to(logits.dtype)
    options = {"weight": weights, "label_smoothing": label_smoothing}
    if soft:
        total = F.cross_entropy(logits, targets.to(logits.dtype), reduction="sum", **options)  # type: ignore[arg-type]
        return total / counted.clamp(min=SMALLEST)
    options["ignore_index"] = ignore
    if gamma:
        terms = F.cross_entropy(logits, targets, reduction="none", **options)  # type: ignore[arg-type]
        right = (-F.cross_entropy(logits, targets, reduction="none", ignore_index=ignore)).exp()
        total = ((1 - right).clamp(min=1e-6) ** gamma * terms)[targets != ignore].sum()  # a root of 0 has no gradient
    else:
        total = F.cross_entropy(logits, targets, reduction="sum", **options)  # type: ignore[arg-type]
    return total / counted.clamp(min=1 if weights is None else SMALLEST)


def check_focal(gamma: float) -> None:
    """Refuse a gamma that the focal loss cannot have.

    Raises:
        UserError: it is below 0, or not finite.
    """
    if not 0 <= gamma < float("inf"):
        raise UserError(f"focal is 0 or more, got {gamma}")


def total_weight(targets: Tensor, weights: Tensor | None = None, ignore: int = NOT_COUNTED) -> Tensor:
    """Return what the mean of `cross_entropy` divides by, a scalar: the weights of the targets' classes, added up."""
    if targets.is_floating_point():
        return targets.sum() if weights is None else (targets.float() @ weights.float()).sum()
    known = targets != ignore
    return known.sum() if weights is None else weights.float()[targets[known]].sum()


def log_probabilities(probabilities: Tensor) -> Tensor:
    """Return logits, of any shape, whose softmax gives these probabilities again; finite where one is 0."""
    return probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny).log()
