"""Processes that train one model together: what the first one says goes for all, and encoding is shared out among them.

What "one step" means stays what it is in one process. Every process draws the whole batch and all its views, from the same
generator; `shared_out` then lets each encode its share of the images and hands all features to all. Whatever compares
images of a batch (losses, heads with their batch norms, a queue, c_acc and r_acc) therefore sees all of them, in every
process alike, and the mean of the processes' gradients is the gradient of one process. A network that is not shared out
gives the same numbers; each process then does all of its work.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, distributed

_RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK")  # what launchers tell a process before it knows the others
_together = False


@contextmanager
def together(together: bool = True) -> Iterator[None]:
    """Within the block, this process trains with the others of its group: `shared_out` shares work out."""
    global _together
    before, _together = _together, together
    try:
        yield
    finally:
        _together = before


def count() -> int:
    """How many processes share the work that is being done now; 1 outside `together`."""
    return distributed.get_world_size() if _together else 1


def is_first() -> bool:
    """Whether this process speaks and writes for all: the only one, or the first of those that a launcher started."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank() == 0
    return all(os.environ.get(name, "0") == "0" for name in _RANKS)


def agreed(value: Any) -> Any:
    """Return what the first process has for `value`, in every process."""
    if count() == 1:
        return value
    held = [value]
    distributed.broadcast_object_list(held)
    return held[0]


def shared_out(work: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    """Return `work(batch)`, (B, ...), of which each process does its share of the rows.

    Args:
        work: gives one row a row, which depends on no other row: a network without batch norm, or with one that is
            synchronised.
        batch: (B, ...), the same in every process; B is no smaller than `count()`.

    Returns:
        the rows of all processes in order, of the type that `work` gives, the same everywhere. Gradients that reach it are
        summed over the processes: where all of them compute the same loss, DDP's mean over processes is that loss's gradient.
    """
    if count() == 1:
        return work(batch)
    from lightly.utils import dist  # here, since this room is imported long before a training needs Lightly

    shares = batch.tensor_split(count())
    own = work(shares[distributed.get_rank()])
    longest = len(shares[0])
    padded = F.pad(own.float(), (0, 0) * (own.ndim - 1) + (0, longest - len(own)))  # all must send the same shape
    rows = [sent[: len(share)] for sent, share in zip(dist.gather(padded.contiguous()), shares)]
    return torch.cat(rows).to(own.dtype)
