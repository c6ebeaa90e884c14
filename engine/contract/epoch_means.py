"""Means over the images of a training epoch; a checkpoint within the epoch keeps their sums."""

from typing import Any

import torch
from torch import Tensor


class EpochMeans:
    """Sums of this epoch's logged values, by name, kept on the device so that no step waits for them.

    Lightning's own means start over when a run is resumed; these do not.
    """

    def __init__(self) -> None:
        self.options: dict[str, dict[str, Any]] = {}  # options of `log`, by name: prog_bar, logger
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, float] = {}

    def add(self, name: str, value: Any, count: int) -> None:
        """Add a batch's mean over `count` images."""
        total = torch.as_tensor(value).detach().float().reshape(()) * count
        if name in self._sums:  # a checkpoint's sums may be on another device
            self._sums[name] = self._sums[name].to(total.device) + total
            self._counts[name] += count
        else:
            self._sums[name], self._counts[name] = total, count

    def clear(self) -> None:
        """Start a new epoch."""
        self._sums, self._counts = {}, {}

    @property
    def names(self) -> list[str]:
        return list(self._sums)

    def totals(self, device: torch.device) -> Tensor | None:
        """Return each name's sum and number of images, (names, 2), or None if nothing was added yet."""
        if not self._sums:
            return None
        sums = torch.stack([total.to(device) for total in self._sums.values()])
        return torch.stack([sums, sums.new_tensor(list(self._counts.values()))], dim=1)

    def restore(self, names: list[str], totals: Tensor | None) -> None:
        """Continue from saved `names` and `totals`."""
        sums, counts = ([], []) if totals is None else (totals[:, 0].unbind(), totals[:, 1].tolist())
        self._sums = dict(zip(names, sums, strict=False))
        self._counts = dict(zip(names, counts, strict=False))
