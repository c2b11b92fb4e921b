"""Checkers of the lesson without negatives: deviation of the outputs, SimSiam's loss, the teacher that follows,
how trainings end."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from brainssl_utils.exercises.base import NotYet, Wrong, as_number, as_tensor, call, checker, name_mistake

OUTCOMES = ("hold", "narrow")
NARROW = 0.5
"""Share of an even deviation below which a training has narrowed."""


@checker
def check_deviation(function: Callable[..., Any]) -> str:
    """Check `function(z)`: of outputs (N, D) brought to length 1, each number's standard deviation, averaged: one number."""
    draw = torch.Generator().manual_seed(9)
    even = torch.randn(400, 16, generator=draw)
    for z in (even, even * torch.rand(400, 1, generator=draw).mul(3).exp(), torch.ones(20, 8), even[:, :3] + 2):
        answer, unit = as_number(call(function, z.clone())), F.normalize(z, dim=1)
        wanted = [float(unit.std(0, correction=degrees).mean()) for degrees in (0, 1)]
        if any(math.isclose(answer, value, rel_tol=1e-4, abs_tol=1e-6) for value in wanted):
            continue
        mistakes = (
            (z.std(0).mean(), "the outputs were not brought to length 1: a longer vector counts more"),
            (
                unit.std(1).mean(),
                "this is the deviation inside each output: go down the batch, one number of the output at a time",
            ),
            (unit.std(), "this is one deviation of all numbers together: first one for each column, then their mean"),
            (unit.var(0).mean(), "this is the variance: its root is the deviation"),
        )
        name_mistake(answer, mistakes, rel_tol=1e-3, abs_tol=1e-6)
        raise Wrong(f"for outputs of shape {tuple(z.shape)} expected {wanted[0]:.4f}, got {answer:.4f}")
    return "0 for a constant answer, 1/sqrt(D) for outputs that point everywhere"


@checker
def check_simsiam_loss(function: Callable[..., Any]) -> str:
    """Check `function(p1, p2, z1, z2)`: SimSiam's loss, with its gradient, of predictions and projections, each (N, D)."""
    draw = torch.Generator().manual_seed(10)
    given = [torch.randn(6, 5, generator=draw).requires_grad_() for _ in range(4)]
    answer = call(function, *given)
    if not isinstance(answer, Tensor):
        raise Wrong(f"expected the loss as a tensor, got {type(answer).__name__}")
    value, (p1, p2, z1, z2) = as_number(answer), [rows.detach() for rows in given]
    ahead, back = F.cosine_similarity(p1, z2).mean(), F.cosine_similarity(p2, z1).mean()
    same = (F.cosine_similarity(p1, z1).mean() + F.cosine_similarity(p2, z2).mean()) / 2
    wanted = float(-(ahead + back) / 2)
    if not math.isclose(value, wanted, rel_tol=1e-4, abs_tol=1e-6):
        mistakes = (
            (-wanted, "the sign: a greater cosine must give a smaller loss"),
            (2 * wanted, "the two directions are averaged, not added"),
            (-ahead, "one direction alone: p2 predicts z1 as well"),
            (-back, "one direction alone: p1 predicts z2 as well"),
            (-same, "each prediction is compared with its own projection: it must predict the other view's"),
            (-((p1 * z2).sum(1).mean() + (p2 * z1).sum(1).mean()) / 2, "a plain dot product: bring both to length 1"),
        )
        name_mistake(value, mistakes, rel_tol=1e-3, abs_tol=1e-6)
        raise Wrong(f"expected {wanted:.4f}, got {value:.4f}")
    if not answer.requires_grad:
        raise Wrong("no gradient at all: the predictions must learn")
    slopes = torch.autograd.grad(answer, given, allow_unused=True)
    still = [slope is None or not slope.any() for slope in slopes]
    if not all(still[2:]):
        raise Wrong(
            "the value is right, but a gradient reaches the projections on the far side: that side is held still"
        )
    if any(still[:2]):
        raise Wrong("the value is right, but a prediction gets no gradient: it is the side that learns")
    return "both directions, and the far side held still in each"


@checker
def check_moved_teacher(function: Callable[..., Any]) -> str:
    """Check `function(teacher, student, momentum)`: the teacher's tensors after one step, a list of new ones."""
    draw = torch.Generator().manual_seed(11)
    teacher = [torch.randn(4, 3, generator=draw), torch.randn(3, generator=draw)]
    student = [torch.randn(4, 3, generator=draw).requires_grad_(), torch.randn(3, generator=draw).requires_grad_()]
    for momentum in (0.9, 0.0, 1.0):
        before = [part.clone() for part in teacher]
        answer = call(function, teacher, student, momentum)
        if not isinstance(answer, list | tuple) or len(answer) != len(teacher):
            raise Wrong(f"expected a list of {len(teacher)} tensors, one for each of the teacher's")
        if any(not torch.equal(part, was) for part, was in zip(teacher, before)):
            raise Wrong("the tensors that were given have changed: return new ones")
        for part, was, now in zip(answer, teacher, student):
            moved, now = as_tensor(part, tuple(was.shape), "a tensor of the teacher"), now.detach()
            if torch.allclose(moved, (momentum * was + (1 - momentum) * now).double(), atol=1e-6):
                continue
            if torch.allclose(moved, (momentum * now + (1 - momentum) * was).double(), atol=1e-6):
                raise Wrong("the two shares are exchanged: the momentum is what stays of the teacher")
            if torch.allclose(moved, (was + (1 - momentum) * now).double(), atol=1e-6):
                raise Wrong("the old part was not made smaller: the weights would grow without end")
            raise Wrong(
                f"at momentum {momentum:g} the teacher is not between itself and the student where it should be"
            )
        if any(getattr(part, "requires_grad", False) for part in answer):
            raise Wrong("the teacher hangs on the student's gradient: detach it")
    return "momentum of the teacher stays, the rest comes from the student, and no gradient follows"


@checker
def check_outcomes(answer: Any, histories: Mapping[str, pd.DataFrame]) -> str:
    """Check a prediction of how trainings end: for each name in `histories` the word "hold" or "narrow".

    Args:
        answer: name -> word; an Ellipsis or None for a word is no answer yet.
        histories: name -> history with a column "deviation", in which 1 is even. A training holds if its last is 0.5 or more.
    """
    if not isinstance(answer, Mapping) or set(answer) != set(histories):
        raise Wrong(f"expected a dictionary with a word for each of: {', '.join(histories)}")
    if any(word is None or word is ... for word in answer.values()):
        raise NotYet("write a word for each training, before you look at its curve")
    for name, word in answer.items():
        if word not in OUTCOMES:
            raise Wrong(f'{name}: expected "hold" or "narrow", got {word!r}')
    ends = {name: float(history["deviation"].iloc[-1]) for name, history in histories.items()}
    for name, end in ends.items():
        if answer[name] != OUTCOMES[end < NARROW]:
            raise Wrong(f"'{name}' ends at {end:.2f} of an even deviation: ask what a constant answer would cost it")
    return f"this run agrees: {', '.join(f'{name} at {end:.2f}' for name, end in ends.items())}"
