"""Notebook 06's checkers say "not yet" to stubs, no to wrong answers and yes to right ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from outcomes import outcomes, untouched
from torch import Tensor

from brainssl_utils.exercises.nnclr import check_fifo_queue, check_nearest_neighbours


def cosines(queries: Tensor, queue: Tensor) -> Tensor:
    return F.normalize(queries, dim=1) @ F.normalize(queue, dim=1).T


def nearest(queries: Tensor, queue: Tensor) -> Tensor:
    return queue[cosines(queries, queue).argmax(1)]


def push(queue: Tensor, batch: Tensor) -> Tensor:
    return torch.cat([batch.detach(), queue])[: len(queue)]


def push_in_place(queue: Tensor, batch: Tensor) -> Tensor:
    queue[:] = push(queue, batch)
    return queue


WRONG: list[tuple[Callable[..., bool], Callable[..., object], str]] = [
    (check_nearest_neighbours, lambda z, q: cosines(z, q).argmax(1), "row numbers"),
    (check_nearest_neighbours, lambda z, q: F.normalize(nearest(z, q), dim=1), "as they are"),
    (check_nearest_neighbours, lambda z, q: q[(z @ q.T).argmax(1)], "length 1"),
    (check_nearest_neighbours, lambda z, q: q[torch.cdist(z, q).argmin(1)], "least distance"),
    (check_nearest_neighbours, lambda z, q: q[cosines(z, q).argmin(1)], "farthest"),
    (check_nearest_neighbours, lambda z, q: z, "no entries of the queue"),
    (check_nearest_neighbours, lambda z, q: q[torch.zeros(len(z), dtype=torch.long)], "greater cosine"),
    (check_nearest_neighbours, lambda z, q: q, "shape"),
    (check_nearest_neighbours, lambda z, q: [0], "as a tensor"),
    (check_fifo_queue, lambda q, b: q, "nothing was pushed"),
    (check_fifo_queue, lambda q, b: torch.cat([q, b.detach()])[-len(q) :], "in front"),
    (check_fifo_queue, lambda q, b: torch.cat([b.detach(), q[len(b) :]]), "newest entries fell out"),
    (check_fifo_queue, lambda q, b: push(q, b.flip(0)), "own order"),
    (check_fifo_queue, lambda q, b: torch.cat([b, q])[: len(q)], "detach"),
    (check_fifo_queue, lambda q, b: torch.cat([b, q]), "a queue of"),
    (check_fifo_queue, lambda q, b: push(q, b) * 2, "expected the batch first"),
    (check_fifo_queue, push_in_place, "old queue has changed"),
]


RIGHT = [(check_nearest_neighbours, nearest), (check_fifo_queue, push)]

test_answers_are_told_what_they_are = outcomes(untouched(check_nearest_neighbours, check_fifo_queue), RIGHT, WRONG)
