"""Notebook 09's checkers say "not yet" to stubs, no to wrong answers and yes to right ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
import torch.nn.functional as F
from outcomes import outcomes, untouched
from torch import Tensor

from brainssl_utils.exercises.without_negatives import (
    check_deviation,
    check_moved_teacher,
    check_outcomes,
    check_simsiam_loss,
)


def deviation(z: Tensor) -> Tensor:
    return F.normalize(z, dim=1).std(0).mean()


def cosine(p: Tensor, z: Tensor) -> Tensor:
    return F.cosine_similarity(p, z).mean()


def simsiam(p1: Tensor, p2: Tensor, z1: Tensor, z2: Tensor) -> Tensor:
    return -(cosine(p1, z2.detach()) + cosine(p2, z1.detach())) / 2


def moved(teacher: Sequence[Tensor], student: Sequence[Tensor], momentum: float) -> list[Tensor]:
    return [momentum * old + (1 - momentum) * new.detach() for old, new in zip(teacher, student)]


def moved_in_place(teacher: Sequence[Tensor], student: Sequence[Tensor], momentum: float) -> list[Tensor]:
    return [old.mul_(momentum).add_((1 - momentum) * new.detach()) for old, new in zip(teacher, student)]


WRONG: list[tuple[Callable[..., bool], object, str]] = [
    (check_deviation, lambda z: z.std(0).mean(), "length 1"),
    (check_deviation, lambda z: F.normalize(z, dim=1).std(1).mean(), "down the batch"),
    (check_deviation, lambda z: F.normalize(z + 1, dim=1).std(0).mean(), "expected"),
    (check_deviation, lambda z: F.normalize(z, dim=1).var(0).mean(), "variance"),
    (check_deviation, lambda z: F.normalize(z, dim=1).std(0), "one number"),
    (check_simsiam_loss, lambda p1, p2, z1, z2: -simsiam(p1, p2, z1, z2), "sign"),
    (check_simsiam_loss, lambda p1, p2, z1, z2: 2 * simsiam(p1, p2, z1, z2), "averaged"),
    (check_simsiam_loss, lambda p1, p2, z1, z2: -cosine(p1, z2.detach()), "p2 predicts z1"),
    (check_simsiam_loss, lambda p1, p2, z1, z2: simsiam(p1, p2, z2, z1), "other view"),
    (check_simsiam_loss, lambda p1, p2, z1, z2: -(cosine(p1, z2) + cosine(p2, z1)) / 2, "held still"),
    (check_simsiam_loss, lambda p1, p2, z1, z2: simsiam(p1.detach(), p2, z1, z2), "a prediction gets no gradient"),
    (check_simsiam_loss, lambda *four: simsiam(*four).detach(), "no gradient at all"),
    (
        check_simsiam_loss,
        lambda p1, p2, z1, z2: -((p1 * z2).sum(1).mean() + (p2 * z1).sum(1).mean()) / 2,
        "dot product",
    ),
    (check_moved_teacher, lambda t, s, m: moved(s, t, m), "exchanged"),
    (check_moved_teacher, lambda t, s, m: [a + (1 - m) * b.detach() for a, b in zip(t, s)], "grow"),
    (check_moved_teacher, lambda t, s, m: [m * a + (1 - m) * b for a, b in zip(t, s)], "detach"),
    (check_moved_teacher, moved_in_place, "return new ones"),
    (check_moved_teacher, lambda t, s, m: moved(t, s, m)[:1], "a list of 2 tensors"),
    (check_moved_teacher, lambda t, s, m: moved(t, s, m / 2), "should be"),
]

RIGHT = [
    (check_deviation, deviation),
    (check_deviation, lambda z: F.normalize(z, dim=1).std(0, correction=0).mean().item()),
    (check_simsiam_loss, simsiam),
    (check_moved_teacher, moved),
]

FUNCTIONS = (check_deviation, check_simsiam_loss, check_moved_teacher)
STUBS = untouched(*FUNCTIONS)

test_answers_are_told_what_they_are = outcomes(STUBS, RIGHT, WRONG)

HISTORIES = {name: pd.DataFrame({"deviation": [0.9, end]}) for name, end in (("one", 0.8), ("other", 0.1))}


def test_predictions_are_judged_by_the_run(verdict):
    assert verdict(check_outcomes, {"one": "hold", "other": "narrow"}, HISTORIES).startswith("correct: ")
    assert "'other' ends at 0.10" in verdict(check_outcomes, {"one": "hold", "other": "hold"}, HISTORIES)
    assert "'one' ends at 0.80" in verdict(check_outcomes, {"one": "narrow", "other": "narrow"}, HISTORIES)
    assert 'expected "hold" or "narrow"' in verdict(check_outcomes, {"one": "holds", "other": "narrow"}, HISTORIES)
    assert "a word for each of: one, other" in verdict(check_outcomes, {"one": "hold"}, HISTORIES)
    assert verdict(check_outcomes, {"one": "hold", "other": ...}, HISTORIES).startswith("not yet: ")
