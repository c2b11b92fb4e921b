"""Checkers of the Barlow Twins lesson: the cross-correlation matrix, the corrected loss, r_acc from a matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from brainssl_utils.exercises.base import Wrong, call, checker


def _matrix(z_a: Tensor, z_b: Tensor, centred: bool = True) -> Tensor:
    """Eq. 3, in float64; without centring it is the cosine of the columns."""
    a, b = z_a.double(), z_b.double()
    if centred:
        a, b = a - a.mean(0), b - b.mean(0)
    return (a / a.norm(dim=0)).T @ (b / b.norm(dim=0))


def _loss(c: Tensor, weight: float) -> Tensor:
    off = c - torch.diag(c.diagonal())
    return (1 - c.diagonal()).square().sum() + weight * off.square().sum()


def _tensor(answer: Any, shape: tuple[int, ...], what: str) -> Tensor:
    try:
        values = torch.as_tensor(answer).detach().double()
    except (TypeError, ValueError, RuntimeError):
        raise Wrong(f"expected {what}, got {type(answer).__name__}") from None
    if values.shape != shape:
        raise Wrong(f"expected {what} of shape {shape}, got {tuple(values.shape)}")
    return values


def _near(one: Tensor | float, other: Tensor | float) -> bool:
    one, other = torch.as_tensor(one, dtype=torch.float64), torch.as_tensor(other, dtype=torch.float64)
    return bool(torch.allclose(one, other, rtol=1e-3, atol=2e-3))


@checker
def check_cross_correlation(function: Callable[..., Any]) -> str:
    """Check `function(z_a, z_b)`: the (D, D) matrix of eq. 3 of two tensors (B, D), features centred over the batch."""
    draw = torch.Generator().manual_seed(5)
    for rows, width, scale, offset in ((4, 3, 1.0, 0.0), (40, 6, 3.0, 5.0), (7, 11, 0.5, -2.0)):
        z_a = torch.randn(rows, width, generator=draw) * scale + offset
        z_b = (z_a + torch.randn(rows, width, generator=draw)) * 2
        kept = z_a.clone(), z_b.clone()
        answer = _tensor(call(function, z_a, z_b), (width, width), f"the matrix for width {width}, a tensor")
        if not (torch.equal(z_a, kept[0]) and torch.equal(z_b, kept[1])):
            raise Wrong("the inputs have changed: compute with new tensors, not in place")
        if not answer.isfinite().all():
            raise Wrong("the matrix holds NaN or infinity")
        wanted = _matrix(z_a, z_b)
        if _near(answer, wanted):
            continue
        if _near(answer, wanted.T):
            raise Wrong("that is the transpose: row i belongs to feature i of view A, column j to feature j of view B")
        if _near(answer, _matrix(z_a, z_b, centred=False)):
            raise Wrong("eq. 3 takes for granted that each feature has mean 0 over the batch: centre the columns first")
        if answer.abs().max() > 1.01:
            raise Wrong(
                f"an entry is {float(answer.abs().max()):.2f}, but no correlation lies beyond 1: see how it scales"
            )
        raise Wrong(
            f"for {rows} rows of {width} features an entry is off by {float((answer - wanted).abs().max()):.2f}"
        )
    return "your matrix is eq. 3's for three shapes, whatever the features' means and scales"


@checker
def check_barlow_loss(function: Callable[..., Any]) -> str:
    """Check `function(c, weight)`: eq. 2 with the square and the product, for a matrix (D, D) and a weight of 0 or more."""
    draw = torch.Generator().manual_seed(6)
    for width in (3, 8):
        c = torch.rand(width, width, generator=draw) * 2 - 1
        for weight in (0.0, 0.1, 2.0):
            answer = float(_tensor(call(function, c.clone(), weight), (), "one number"))
            wanted, diagonal = float(_loss(c, weight)), c.diagonal()
            if _near(answer, wanted):
                continue
            off = float(c.square().sum() - diagonal.square().sum())
            if _near(answer, float((1 - diagonal).sum()) + weight + off):
                raise Wrong("that is eq. 2 as printed: square what the diagonal lacks, and let the weight multiply")
            if _near(answer, float((1 - diagonal).sum()) + weight * off):
                raise Wrong("what the diagonal lacks must be squared, or the loss pulls as hard at 0.99 as at 0")
            if _near(answer, float((1 - diagonal).square().sum() + weight * c.square().sum())):
                raise Wrong("the second sum runs over j different from i: leave the diagonal out of it")
            if _near(answer, wanted / width) or _near(answer, wanted / width**2):
                raise Wrong("eq. 2 sums over the entries, it does not average")
            raise Wrong(
                f"for a {width} x {width} matrix and weight {weight:g} the loss is {wanted:.3f}, not {answer:.3f}"
            )
    if not _near(float(torch.as_tensor(call(function, torch.eye(5), 0.7))), 0.0):
        raise Wrong("the identity must cost nothing")
    return "your loss is 0 at the identity and equals the corrected eq. 2 elsewhere"


@checker
def check_r_acc(function: Callable[..., Any]) -> str:
    """Check `function(c)`: the share of rows and of columns of a matrix (D, D) whose greatest entry is on the diagonal."""
    draw = torch.Generator().manual_seed(7)
    by_hand = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.3, 0.6], [0.8, 0.5, 0.7]])
    for c in (torch.eye(4), by_hand, torch.rand(9, 9, generator=draw) + 0.3 * torch.eye(9), -torch.eye(5)):
        own = torch.arange(len(c))
        rows, columns = (float((side.argmax(1) == own).double().mean()) for side in (c, c.T))
        answer = float(_tensor(call(function, c.clone()), (), "one number"))
        if _near(answer, (rows + columns) / 2):
            continue
        if _near(answer, rows) or _near(answer, columns):
            raise Wrong("both directions count: the rows of C and the rows of its transpose, 2 D cases")
        if answer > 1:
            raise Wrong("give a share between 0 and 1, not a count or a percentage")
        magnitudes = [float((side.abs().argmax(1) == own).double().mean()) for side in (c, c.T)]
        if _near(answer, sum(magnitudes) / 2):
            raise Wrong("the greatest entry counts, not the greatest in size: -0.9 loses against 0.1")
        raise Wrong(f"for a {len(c)} x {len(c)} matrix the share is {(rows + columns) / 2:.3f}, not {answer:.3f}")
    return "rows and columns are both counted, and only the place of the greatest entry matters"
