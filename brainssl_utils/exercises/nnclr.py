"""Checkers of the NNCLR lesson: nearest neighbours among other scans, the queue that forgets its oldest, its length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from brainssl_utils.exercises.base import Wrong, as_number, as_tensor, call, checker


def _rows(answer: Any, shape: tuple[int, int], what: str) -> Tensor:
    if not isinstance(answer, Tensor):
        raise Wrong(f"expected {what} as a tensor, got {type(answer).__name__}")
    if tuple(answer.shape) != shape:
        raise Wrong(f"expected {what}, shape {shape}; got shape {tuple(answer.shape)}")
    as_tensor(answer, shape, what)  # its values are numbers
    return answer


@checker
def check_nearest_neighbours(function: Callable[..., Any]) -> str:
    """Check `function(queries, queue, own, owner)`: for each query (N, D) the nearest entry of the queue (M, D) of others.

    Nearest means the greatest cosine. `own` (N,) and `owner` (M,) are numbers of scans; entries of the query's own scan
    do not count.
    """
    draw = torch.Generator().manual_seed(8)
    small = torch.tensor([[1.0, 0.0], [0.6, 0.8], [3.0, 3.0], [-2.0, 0.1]])
    asked = torch.tensor([[2.0, 0.1], [0.1, 0.2], [-0.3, 0.0]])
    many, spread = torch.randn(25, 16, generator=draw), torch.randn(60, 16, generator=draw)
    spread[:25] += 3 * many  # every query's own scan is in the queue, and near
    spread *= torch.rand(60, 1, generator=draw).mul(4).exp()
    for queries, queue, own in ((asked, small, torch.full((3,), -1)), (many, spread, torch.arange(25))):
        owner = torch.arange(len(queue))
        answer = call(function, queries.clone(), queue.clone(), own.clone(), owner.clone())
        if isinstance(answer, Tensor) and answer.shape == (len(queries),):
            raise Wrong("these are row numbers: return the queue's rows at these places")
        answer = _rows(answer, (queries.shape[0], queries.shape[1]), "one entry of the queue for each query")
        _compare_neighbours(answer, queries, queue, own[:, None] == owner[None])
    return "every query gets the entry of greatest cosine among other scans, however long the entries are"


def _compare_neighbours(answer: Tensor, queries: Tensor, queue: Tensor, barred: Tensor) -> None:
    cosine = F.normalize(queries, dim=1) @ F.normalize(queue, dim=1).T
    wanted = queue[cosine.masked_fill(barred, -torch.inf).argmax(1)]
    if torch.allclose(answer, wanted):
        return
    by_dot = (queries @ queue.T).masked_fill(barred, -torch.inf).argmax(1)
    by_distance = torch.cdist(queries, queue).masked_fill(barred, torch.inf).argmin(1)
    for rows, mistake in (
        (F.normalize(wanted, dim=1), "the right entries, but changed in length: return the queue's rows as they are"),
        (queue[cosine.argmax(1)], "these are the nearest entries of all, and some belong to the query's own scan"),
        (queue[by_dot], "a long entry wins whatever its direction: that is the plain dot product"),
        (queue[by_distance], "that is the least distance, which for entries of any length is not the greatest cosine"),
        (queue[cosine.argmin(1)], "these are the entries farthest from the queries"),
    ):
        if torch.allclose(answer, rows, atol=1e-5):
            raise Wrong(mistake)
    same = (answer[:, None] == queue[None]).all(2)
    if strange := int((~same.any(1)).sum()):
        raise Wrong(f"{strange} of the answers are no entries of the queue")
    if own := int((same & barred).any(1).sum()):
        raise Wrong(f"{own} queries get an entry of their own scan")
    missed = int((answer != wanted).any(1).sum())
    raise Wrong(f"{missed} of {len(queries)} queries have an entry in the queue with a greater cosine")


@checker
def check_fifo_queue(function: Callable[..., Any]) -> str:
    """Check `function(queue, batch)`: a new queue (M, D) with the batch (N <= M, D) in front and the oldest entries gone."""
    for size, width, steps in ((5, 2, (2, 2, 2)), (6, 3, (1, 4, 6, 5)), (4, 2, (3, 3))):
        queue = -torch.arange(1.0, size + 1)[:, None].expand(size, width).clone()
        number = 0
        for n in steps:
            batch = (torch.arange(n) + number + 1.0)[:, None].expand(n, width).clone().requires_grad_()
            number += n
            before = queue.clone()
            answer = _rows(call(function, queue, batch), (size, width), f"a queue of {size} entries")
            if not torch.equal(queue, before):
                raise Wrong("the old queue has changed: this step's neighbours still come from it, so make a new one")
            _compare(answer, before, batch.detach(), size)
            if answer.requires_grad:
                raise Wrong("the queue still hangs on the batch's gradient: detach what goes in")
            queue = answer.clone()
    return "the newest entries are in front, the oldest fall out, and no gradient stays behind"


def _compare(answer: Tensor, before: Tensor, batch: Tensor, size: int) -> None:
    wanted = torch.cat([batch, before])[:size]
    if torch.equal(answer.detach(), wanted):
        return
    if torch.equal(answer.detach(), before):
        raise Wrong("nothing was pushed: the queue is as it was")
    if torch.equal(answer.detach(), torch.cat([before, batch])[-size:]):
        raise Wrong("first in, first out is right, but here the newest entries go in front")
    if torch.equal(answer.detach(), torch.cat([batch, before[len(batch) :]])):
        raise Wrong("the newest entries fell out instead of the oldest ones, which stand at the end")
    if torch.equal(answer.detach(), torch.cat([batch.flip(0), before])[:size]):
        raise Wrong("keep the batch's own order when it goes in")
    raise Wrong(
        f"a batch of {len(batch)} pushed into a queue of {size}: expected the batch first, then the newest old ones"
    )


@checker
def check_queue_length(length: Any, measure: Callable[[int], float], wanted: float, pool: int) -> str:
    """Does a share of about `wanted` of the scans meet itself in a queue of `length` entries?

    Args:
        length: the answer, a whole number of entries.
        measure: returns the share, 0..1, of scans that are in the queue of a given length.
        wanted: the share asked for, 0..1; a measurement within 0.1 of it is right.
        pool: how many scans go through the queue in a pass.
    """
    length = as_number(length, "a whole number of entries")
    if length != int(length) or length < 1:
        raise Wrong(f"a queue has a whole number of entries, at least 1; got {length:g}")
    share = float(measure(int(length)))
    told = f"in a queue of {length:.0f}, {length / pool:.2f} pools, {share:.0%} of the scans meet themselves"
    if abs(share - wanted) > 0.1:
        raise Wrong(f"{told}: {wanted:.0%} need a {'shorter' if share > wanted else 'longer'} one")
    return told
