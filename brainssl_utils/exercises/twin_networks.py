"""Checkers of 02_twin_networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from brainssl_utils.exercises.base import NotYet, Wrong, as_number, call, checker


@checker
def check_contrastive_loss(function: Callable[[Tensor, Tensor, Tensor, float], Tensor]) -> str:
    """The student's contrastive loss of embeddings (n, D), (n, D), `same` (n,) bool and a margin, against a plain loop."""
    generator = torch.Generator().manual_seed(11)
    for n, width, margin in ((4, 2, 1.0), (7, 5, 0.5), (30, 3, 2.0), (1, 2, 1.0)):
        z1, z2 = torch.randn(2, n, width, generator=generator)
        same = torch.rand(n, generator=generator) < 0.5
        value = as_number(call(function, z1, z2, same, margin), "one number, the mean over the pairs")
        right = loop_loss(z1, z2, same, margin)
        if abs(value - right) > 1e-4 * max(1.0, abs(right)):
            why = hint(value, z1, z2, same, margin) or one_pair(function)
            raise Wrong(f"for {n} pairs and margin {margin:g} it gives {value:.4f}, not {right:.4f}. {why}")
    return "the same as the sum written out, at every margin and number of pairs."


def loop_loss(z1: Tensor, z2: Tensor, same: Tensor, margin: float, clip: bool = True) -> float:
    """The loss pair by pair, as it is done on paper; `clip=False` makes the mistake of paying beyond the margin."""
    total = 0.0
    for a, b, alike in zip(z1, z2, same):
        distance = float((a - b).square().sum().sqrt())
        short = margin - distance
        total += distance**2 if alike else (max(0.0, short) if clip else short) ** 2
    return total / len(same)


def hint(value: float, z1: Tensor, z2: Tensor, same: Tensor, margin: float) -> str:
    def near(other: float) -> bool:
        return abs(value - other) < 1e-4 * max(1.0, abs(other))

    right = loop_loss(z1, z2, same, margin)
    if near(right / 2):
        return "You have the factor 1/2 of the original paper, which this course leaves out."
    if near(right * len(same)) and len(same) > 1:
        return "This is the sum over the pairs: take the mean."
    if near(loop_loss(z1, z2, ~same, margin)):
        return "Positive and negative pairs have changed places: `same` is True for positive ones."
    if near(loop_loss(z1, z2, same, margin, clip=False)):
        return "A negative pair beyond the margin must cost nothing."
    return ""


def one_pair(function: Callable[..., Any]) -> str:
    """Which kind of pair is priced wrongly: the function is asked for single pairs."""
    for kind, alike, far in (("positive", True, 0.5), ("negative", False, 0.5), ("negative", False, 2.0)):
        z1, z2, same = torch.zeros(1, 2), torch.tensor([[far, 0.0]]), torch.tensor([alike])
        right, value = loop_loss(z1, z2, same, 1.0), as_number(call(function, z1, z2, same, 1.0))
        if abs(value - right) > 1e-4:
            return f"Look at one {kind} pair at distance {far} with margin 1: it costs {right:g}, yours {value:g}."
    return "Single pairs cost what they should: look at how several are put together."


@checker
def check_largest_distance(answer: Any) -> str:
    """The largest distance two normalised embeddings can have."""
    value = as_number(answer)
    if abs(value - 2**0.5) < 1e-3:
        raise Wrong("that is the distance of embeddings at a right angle. They can be further apart.")
    if abs(value - 4) < 1e-3:
        raise Wrong("that is the squared distance.")
    if abs(value - 2) > 1e-3:
        raise Wrong(f"{value:g} is not it. Every embedding has length 1: draw a circle and choose two points on it.")
    return "opposite points of the unit sphere. With a margin above 2 every negative pair would always cost something."


@checker
def check_clean_negatives(function: Callable[..., tuple[Tensor, Tensor]]) -> str:
    """The student's draw of clean negatives: (pool, group, patient, n, generator) -> rows (n,), rows (n,)."""
    generator = torch.Generator().manual_seed(5)
    group = torch.arange(120) // 3
    patient = torch.where(torch.arange(120) < 60, torch.arange(120) // 12, -1)
    pool = torch.randperm(120, generator=generator)[:90]

    def draw(seed: int, n: int = 400) -> tuple[Tensor, Tensor]:
        result = call(function, pool, group, patient, n, torch.Generator().manual_seed(seed))
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            raise Wrong("return two tensors: the rows of the first images and the rows of the second ones.")
        if any(part is None or part is ... for part in result):
            raise NotYet("the function returns nothing yet")
        try:
            first, second = (torch.as_tensor(part) for part in result)
        except (TypeError, ValueError, RuntimeError):
            raise Wrong("each of the two has to be a tensor of row numbers.") from None
        if first.shape != (n,) or second.shape != (n,):
            raise Wrong(f"asked for {n} pairs, got rows of shape {tuple(first.shape)} and {tuple(second.shape)}.")
        if any(part.is_floating_point() or part.dtype == torch.bool for part in (first, second)):
            raise Wrong("row numbers are whole numbers.")
        return first, second

    first, second = draw(0)
    if not (torch.isin(first, pool).all() and torch.isin(second, pool).all()):
        raise Wrong("some rows are not in `pool`: did you return places in the pool instead of rows?")
    for what, codes in (("copies of one picture", group), ("images of one patient", patient)):
        alike = (codes[first] == codes[second]) & (codes[first] >= 0)
        if alike.any():
            raise Wrong(f"{int(alike.sum())} of {len(first)} pairs are {what}.")
    reached = min(len(first.unique()), len(second.unique())) / len(pool)
    if reached < 0.9:
        raise Wrong(f"of the pool's images only {reached:.0%} occur on one side in {len(first)} pairs: draw from all.")
    if not ((patient[first] < 0) & (patient[second] < 0)).any():
        raise Wrong("-1 means that the patient is unknown, not that all these images are of one patient.")
    again, other = draw(0), draw(1)
    if not (torch.equal(first, again[0]) and torch.equal(second, again[1])):
        raise Wrong("the same generator seed gives other pairs: draw with `generator=generator`.")
    if torch.equal(first, other[0]) and torch.equal(second, other[1]):
        raise Wrong("another generator seed gives the same pairs: draw with `generator=generator`.")
    return "no copies, no neighbours, every image has its turn, and the seed fixes the draw."
