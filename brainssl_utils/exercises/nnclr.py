"""Checkers of the NNCLR lesson: the nearest neighbour by cosine, and the queue that forgets its oldest entries first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from brainssl_utils.exercises.base import Wrong, call, checker


def _rows(answer: Any, shape: tuple[int, int], what: str) -> Tensor:
    if not isinstance(answer, Tensor):
        raise Wrong(f"expected {what} as a tensor, got {type(answer).__name__}")
    if tuple(answer.shape) != shape:
        raise Wrong(f"expected {what}, shape {shape}; got shape {tuple(answer.shape)}")
    return answer


@checker
def check_nearest_neighbours(function: Callable[..., Any]) -> str:
    """Check `function(queries, queue)`: for each query (N, D) the entry of the queue (M, D) with the greatest cosine."""
    draw = torch.Generator().manual_seed(8)
    small = torch.tensor([[1.0, 0.0], [0.6, 0.8], [3.0, 3.0], [-2.0, 0.1]])
    asked = torch.tensor([[2.0, 0.1], [0.1, 0.2], [-0.3, 0.0]])
    spread = torch.randn(60, 16, generator=draw) * torch.rand(60, 1, generator=draw).mul(4).exp()
    for queries, queue in ((asked, small), (torch.randn(25, 16, generator=draw), spread)):
        cosine = F.normalize(queries, dim=1) @ F.normalize(queue, dim=1).T
        wanted = queue[cosine.argmax(1)]
        answer = call(function, queries.clone(), queue.clone())
        if isinstance(answer, Tensor) and answer.shape == (len(queries),):
            raise Wrong("these are row numbers: return the queue's rows at these places")
        answer = _rows(answer, (queries.shape[0], queries.shape[1]), "one entry of the queue for each query")
        if torch.allclose(answer, wanted):
            continue
        if torch.allclose(answer, F.normalize(wanted, dim=1), atol=1e-5):
            raise Wrong("the right entries, but changed in length: return the queue's rows as they are")
        if torch.allclose(answer, queue[(queries @ queue.T).argmax(1)]):
            raise Wrong("a long entry wins the plain dot product whatever its direction: bring both to length 1 first")
        if torch.allclose(answer, queue[torch.cdist(queries, queue).argmin(1)]):
            raise Wrong("that is the least distance; without length 1 it is not the greatest cosine")
        if torch.allclose(answer, queue[cosine.argmin(1)]):
            raise Wrong("these are the entries farthest from the queries")
        inside = (answer[:, None] == queue[None]).all(2).any(1)
        if not inside.all():
            raise Wrong(f"{int((~inside).sum())} of the answers are no entries of the queue")
        missed = int((answer != wanted).any(1).sum())
        raise Wrong(f"{missed} of {len(queries)} queries have an entry in the queue with a greater cosine")
    return "every query gets the entry of the greatest cosine, however long the entries are"


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
