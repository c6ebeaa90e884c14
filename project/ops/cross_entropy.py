"""Cross-entropy with class weights, or with less weight on easy samples (focal loss). N samples, K classes."""

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.contract.errors import UserError

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
    class, the result is 0 with `gamma` or another `ignore`, and nan otherwise, as in PyTorch.
    Source: Lin et al. 2017, arXiv:1708.02002.

    Args:
        logits: (N, K) or (N, K, ...).
        targets: (N,) or (N, ...) int64 in 0 .. K - 1, or `ignore`; or probabilities (N, K), without gamma.
        weights: (K,) weight of each class, 0 or more; None for equal weights.
        gamma: 0 or more.
        label_smoothing: share of the target spread over all classes, in [0, 1).
        ignore: the target of samples to ignore.

    Raises:
        UserError: `gamma` with probabilities as targets.
    """
    weights = None if weights is None else weights.to(logits.dtype)
    if targets.is_floating_point():
        if gamma:
            raise UserError("focal is for images of one class each: leave it out, or --data.mixup and --data.cutmix")
        targets = targets.to(logits.dtype)
    if not gamma and ignore == NOT_COUNTED:
        return F.cross_entropy(logits, targets, weight=weights, label_smoothing=label_smoothing)
    options = {"weight": weights, "ignore_index": ignore, "label_smoothing": label_smoothing}
    known = targets != ignore
    counted = known.sum() if weights is None else weights[targets.masked_fill(~known, 0)][known].sum()
    if gamma:
        terms = F.cross_entropy(logits, targets, reduction="none", **options)  # type: ignore[arg-type]
        right = (-F.cross_entropy(logits, targets, reduction="none", ignore_index=ignore)).exp()
        total = ((1 - right).clamp(min=1e-6) ** gamma * terms)[known].sum()  # a root of 0 has no gradient
    else:
        total = F.cross_entropy(logits, targets, reduction="sum", **options)  # type: ignore[arg-type]
    return total / counted.clamp(min=1e-12 if weights is not None else 1)


def log_probabilities(probabilities: Tensor) -> Tensor:
    """Return logits, of any shape, whose softmax gives these probabilities again; finite where one is 0."""
    return probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny).log()
