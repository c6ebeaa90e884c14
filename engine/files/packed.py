"""Tables of texts and of rows, packed into one block of bytes each.

A list of 100,000 Python strings takes 10 MB, and again 10 MB in every worker: reference counts are written to the
pages, so they are copied after the fork. A block of bytes stays shared.
"""

import copy
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor


class Strings(Sequence[str]):
    """Texts, such as file names, in one block of bytes."""

    def __init__(self, texts: Iterable[str]) -> None:
        encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
        self._bytes = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        self._ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:  # type: ignore[override]
        if not 0 <= index < len(self):
            raise IndexError(f"there is no text {index} among {len(self)}")
        return self._bytes[self._ends[index] : self._ends[index + 1]].tobytes().decode("utf-8", "surrogateescape")


class Rows:
    """Any number of rows of `columns` numbers per entry, such as the boxes of each image."""

    def __init__(self, entries: Sequence[Sequence[Sequence[float]]], columns: int) -> None:
        rows = [row for entry in entries for row in entry]
        self.values = torch.tensor(rows, dtype=torch.float32).view(len(rows), columns)
        self._ends = np.cumsum([0, *map(len, entries)], dtype=np.int64)

    @classmethod
    def of(cls, values: Tensor, counts: Sequence[int] | np.ndarray) -> "Rows":
        """Pack rows (M, columns) of float32, sorted by entry; `counts` holds the number of rows per entry."""
        rows = cls([], values.shape[1])
        rows.values = values
        rows._ends = np.cumsum([0, *counts], dtype=np.int64)
        return rows

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> Tensor:
        """Return the rows (n, columns) of an entry, as a view."""
        return self.values[self._ends[index] : self._ends[index + 1]]

    def subset(self, indices: Sequence[int]) -> "Rows":
        """Return the rows of the entries at `indices`, as a copy."""
        return Rows([self[i].tolist() for i in indices], self.values.shape[1])

    def with_column(self, column: int, table: Tensor) -> "Rows":
        """Return a copy in which each number k of a column is replaced by table[k]."""
        changed = copy.copy(self)
        changed.values = self.values.clone()
        changed.values[:, column] = table[self.values[:, column].long()].to(changed.values.dtype)
        return changed
