"""Drawing batches of rows."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def endless(rows: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield batches of `size` rows without end, each row once before any row comes again."""
    left = rows[:0]
    while True:
        while len(left) < size:
            left = torch.cat([left, rows[torch.randperm(len(rows), generator=generator)]])
        yield left[:size]
        left = left[size:]
