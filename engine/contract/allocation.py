"""Limits a network's memory while it is built: a few numbers in a file or a flag can demand any size."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from engine.contract.errors import UserError

SIZE = "size"  # torch's name for the first argument of functions that create a tensor of a given shape


class AllocationLimit(TorchDispatchMode):
    """Refuses to create a tensor in its context once all tensors created there would exceed `limit` bytes.

    Relies on torch's `TorchDispatchMode`, and on `_schema` to name an operation's first argument.

    Raises:
        UserError: `message`, with the memory needed so far, in GiB, in place of `{needed}`.
    """

    def __init__(self, limit: int, message: str) -> None:
        super().__init__()
        self.limit, self.message = limit, message
        self.needed = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        declared = func._schema.arguments
        if declared and declared[0].name == SIZE and torch.device(options.get("device") or "cpu").type != "meta":
            kind = options.get("dtype") or torch.get_default_dtype()
            self.needed += math.prod(args[0] if args else options[SIZE]) * kind.itemsize
            if self.needed > self.limit:
                raise UserError(self.message.format(needed=f"{self.needed / 2**30:,.1f}"))
        return func(*args, **options)
