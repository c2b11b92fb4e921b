"""Notebook 05's checkers say "not yet" to stubs, no to wrong answers and yes to right ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from outcomes import outcomes, untouched
from torch import Tensor

from brainssl_utils.exercises.barlow_twins import check_barlow_slope, check_cross_correlation, check_r_acc

CHECKERS = (check_cross_correlation, check_barlow_slope, check_r_acc)


def matrix(z_a: Tensor, z_b: Tensor) -> Tensor:
    a, b = ((z - z.mean(0)) / z.std(0, correction=0) for z in (z_a, z_b))
    return a.T @ b / len(a)


def in_place(z_a: Tensor, z_b: Tensor) -> Tensor:
    z_a -= z_a.mean(0)
    return matrix(z_a, z_b)


def not_centred(z_a: Tensor, z_b: Tensor) -> Tensor:
    return (z_a / z_a.norm(dim=0)).T @ (z_b / z_b.norm(dim=0))


def slope(c: Tensor, weight: float) -> Tensor:
    own = torch.eye(len(c), dtype=torch.bool)
    return torch.where(own, 2 * (c - 1), 2 * weight * c)


def slope_as_printed(c: Tensor, weight: float) -> Tensor:
    return torch.where(torch.eye(len(c), dtype=torch.bool), -torch.ones_like(c), 2 * c)


def r_acc(c: Tensor) -> float:
    own = np.arange(len(c))
    return float(np.mean([c.numpy().argmax(axis) == own for axis in (0, 1)]))


def rows_only(c: Tensor) -> Tensor:
    return (c.argmax(1) == torch.arange(len(c))).float().mean()


WRONG: list[tuple[Callable[..., bool], Callable[..., object], str]] = [
    (check_cross_correlation, lambda a, b: matrix(b, a), "transpose"),
    (check_cross_correlation, not_centred, "mean 0 over the batch"),
    (check_cross_correlation, lambda a, b: matrix(a, b) * len(a), "beyond 1"),
    (check_cross_correlation, lambda a, b: matrix(a.T, b.T), "shape"),
    (check_cross_correlation, lambda a, b: matrix(a, a), "off by"),
    (check_cross_correlation, lambda a, b: torch.full((a.shape[1],) * 2, torch.nan), "NaN"),
    (check_cross_correlation, lambda a, b: "eye", "expected the matrix"),
    (check_cross_correlation, in_place, "inputs have changed"),
    (check_barlow_slope, slope_as_printed, "without its square"),
    (check_barlow_slope, lambda c, w: slope(c, 1.0), "no say"),
    (check_barlow_slope, lambda c, w: slope(c, w) / 2, "half as large"),
    (check_barlow_slope, lambda c, w: -slope(c, w), "downhill"),
    (check_barlow_slope, lambda c, w: slope(c, w) + 2 * w * torch.diag(c.diagonal()), "on the diagonal: an entry"),
    (check_barlow_slope, lambda c, w: slope(c, w**2), "beside the diagonal: an entry"),
    (check_barlow_slope, lambda c, w: c.sum(), "shape"),
    (check_r_acc, rows_only, "both directions"),
    (check_r_acc, lambda c: 100 * r_acc(c), "share between 0 and 1"),
    (check_r_acc, lambda c: r_acc(c.abs()), "not the greatest in size"),
    (check_r_acc, lambda c: 1.0, "the share is"),
]


test_answers_are_told_what_they_are = outcomes(untouched(*CHECKERS), zip(CHECKERS, (matrix, slope, r_acc)), WRONG)


def test_an_answer_that_breaks_does_not_stop_the_run(verdict):
    assert "TypeError" in verdict(check_barlow_slope, lambda c: c)
