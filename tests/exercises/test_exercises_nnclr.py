"""Notebook 06's checkers say "not yet" to stubs, no to wrong answers and yes to right ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from outcomes import outcomes, untouched
from torch import Tensor

from brainssl_utils.exercises.nnclr import check_fifo_queue, check_nearest_neighbours, check_queue_length


def cosines(queries: Tensor, queue: Tensor) -> Tensor:
    return F.normalize(queries, dim=1) @ F.normalize(queue, dim=1).T


def nearest(queries: Tensor, queue: Tensor, own: Tensor, owner: Tensor) -> Tensor:
    return queue[cosines(queries, queue).masked_fill(own[:, None] == owner, -torch.inf).argmax(1)]


def by_dot(queries: Tensor, queue: Tensor, own: Tensor, owner: Tensor) -> Tensor:
    return queue[(queries @ queue.T).masked_fill(own[:, None] == owner, -torch.inf).argmax(1)]


def by_distance(queries: Tensor, queue: Tensor, own: Tensor, owner: Tensor) -> Tensor:
    return queue[torch.cdist(queries, queue).masked_fill(own[:, None] == owner, torch.inf).argmin(1)]


def some_own(queries: Tensor, queue: Tensor, own: Tensor, owner: Tensor) -> Tensor:
    right = nearest(queries, queue, own, owner)
    return right if own[0] < 0 else torch.cat([queue[:2], right[2:]])


def push(queue: Tensor, batch: Tensor) -> Tensor:
    return torch.cat([batch.detach(), queue])[: len(queue)]


def push_in_place(queue: Tensor, batch: Tensor) -> Tensor:
    queue[:] = push(queue, batch)
    return queue


WRONG: list[tuple[Callable[..., bool], Callable[..., object], str]] = [
    (check_nearest_neighbours, lambda z, q, *who: cosines(z, q).argmax(1), "row numbers"),
    (check_nearest_neighbours, lambda z, q, *who: F.normalize(nearest(z, q, *who), dim=1), "as they are"),
    (check_nearest_neighbours, lambda z, q, *who: q[cosines(z, q).argmax(1)], "own scan"),
    (check_nearest_neighbours, by_dot, "plain dot product"),
    (check_nearest_neighbours, by_distance, "least distance"),
    (check_nearest_neighbours, lambda z, q, *who: q[cosines(z, q).argmin(1)], "farthest"),
    (check_nearest_neighbours, lambda z, q, *who: z, "no entries of the queue"),
    (check_nearest_neighbours, lambda z, q, *who: q[torch.full((len(z),), len(q) - 1)], "greater cosine"),
    (check_nearest_neighbours, some_own, "2 queries get an entry of their own"),
    (check_nearest_neighbours, lambda z, q, *who: q, "shape"),
    (check_nearest_neighbours, lambda z, q, *who: [0], "as a tensor"),
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


def half_a_pool_late(length: int) -> float:
    """The share of scans that a queue holds of the next batch, in the middle of a pass through 400 scans."""
    return min(1.0, max(0.0, length / 400 - 0.5))


@pytest.mark.parametrize(
    ("length", "outcome", "words"),
    [
        (300, "correct", "0.75 pools, 25%"),
        (400, "not right", "shorter"),
        (100, "not right", "longer"),
        (0, "not right", "at least 1"),
        (300.5, "not right", "whole number"),
        (..., "not yet", ""),
    ],
)
def test_a_length_is_judged_by_its_measurement(length: float, outcome: str, words: str, verdict) -> None:
    said = verdict(check_queue_length, length, half_a_pool_late, 0.25, 400)
    assert said.startswith(outcome) and words in said
