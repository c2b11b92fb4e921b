"""Checkers of the Barlow Twins lesson: the cross-correlation matrix, where the loss pulls it, r_acc from a matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from brainssl_utils.exercises.base import Wrong, as_number, as_tensor, call, checker


def _matrix(z_a: Tensor, z_b: Tensor, centred: bool = True) -> Tensor:
    """Eq. 3, in float64; without centring it is the cosine of the columns."""
    a, b = z_a.double(), z_b.double()
    if centred:
        a, b = a - a.mean(0), b - b.mean(0)
    return (a / a.norm(dim=0)).T @ (b / b.norm(dim=0))


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
        answer = as_tensor(call(function, z_a, z_b), (width, width), f"the matrix for width {width}, a tensor")
        if not (torch.equal(z_a, kept[0]) and torch.equal(z_b, kept[1])):
            raise Wrong("the inputs have changed: compute with new tensors, not in place")
        wanted = _matrix(z_a, z_b)
        if _near(answer, wanted):
            continue
        if _near(answer, wanted.T):
            raise Wrong("that is the transpose: row i belongs to feature i of view A, column j to feature j of view B")
        if _near(answer, _matrix(z_a, z_b, centred=False)):
            raise Wrong("eq. 3 takes for granted that each feature has mean 0 over the batch; these have not")
        if answer.abs().max() > 1.01:
            raise Wrong(
                f"an entry is {float(answer.abs().max()):.2f}, but no correlation lies beyond 1: see how it scales"
            )
        raise Wrong(
            f"for {rows} rows of {width} features an entry is off by {float((answer - wanted).abs().max()):.2f}"
        )
    return "your matrix is eq. 3's for three shapes, whatever the features' means and scales"


@checker
def check_barlow_slope(function: Callable[..., Any]) -> str:
    """Check `function(c, weight)`: the derivative of the loss by each entry of a matrix (D, D), a matrix too."""
    draw = torch.Generator().manual_seed(6)
    for width in (3, 8):
        c = torch.rand(width, width, generator=draw) * 2 - 1
        for weight in (0.1, 2.0, 0.0):
            answer = as_tensor(call(function, c.clone(), weight), (width, width), "the slopes, a tensor")
            wanted = _slope(c, weight)
            if not _near(answer, wanted):
                raise Wrong(_slope_mistake(answer, wanted, c.double()))
    return "the diagonal is pulled to 1 and the rest to 0, the rest as hard as the weight says"


def _slope(c: Tensor, weight: float) -> Tensor:
    """Slope of sum (1 - c_ii)^2 + weight * sum c_ij^2, by autograd."""
    leaf = c.double().clone().requires_grad_()
    off = leaf - torch.diag(leaf.diagonal())
    loss = (1 - leaf.diagonal()).square().sum() + weight * off.square().sum()
    return torch.autograd.grad(loss, leaf)[0]


def _slope_mistake(answer: Tensor, wanted: Tensor, c: Tensor) -> str:
    rest = ~torch.eye(len(c), dtype=torch.bool)
    if _near(answer, -wanted):
        return "the signs are turned round: these are the steps downhill, the slope points uphill"
    if _near(answer, wanted / 2):
        return "all slopes are half as large as they should be: what does a square become?"
    if _near(answer.diagonal(), -torch.ones(len(c))):
        return "on the diagonal that is the slope of 1 - C_ii without its square, the same at 0.99 as at 0.2"
    if not _near(answer.diagonal(), wanted.diagonal()):
        return f"on the diagonal: an entry of {c[0, 0]:.3f} has the slope {wanted[0, 0]:.3f}, not {answer[0, 0]:.3f}"
    if _near(answer[rest], 2 * c[rest]):
        return "beside the diagonal the weight has no say: it multiplies the second sum"
    return f"beside the diagonal: an entry of {c[0, 1]:.3f} has the slope {wanted[0, 1]:.3f}, not {answer[0, 1]:.3f}"


@checker
def check_r_acc(function: Callable[..., Any]) -> str:
    """Check `function(c)`: the share of rows and of columns of a matrix (D, D) whose greatest entry is on the diagonal."""
    draw = torch.Generator().manual_seed(7)
    by_hand = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.3, 0.6], [0.8, 0.5, 0.7]])
    for c in (torch.eye(4), by_hand, torch.rand(9, 9, generator=draw) + 0.3 * torch.eye(9), -torch.eye(5)):
        own = torch.arange(len(c))
        rows, columns = (float((side.argmax(1) == own).double().mean()) for side in (c, c.T))
        answer = as_number(call(function, c.clone()))
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
