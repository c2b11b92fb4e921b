"""Checkers of 08: the chance level of c_acc with flips, and whether two rows of a table differ."""

from __future__ import annotations

from typing import Any

import numpy as np

from brainssl_utils.exercises.base import Wrong, as_number, call, checker
from brainssl_utils.intervals import wilson_interval


@checker
def check_chance_level(function: Any) -> str:
    """Check f(batch size): half of the pairs found for certain, the others guessed."""
    for size in (16, 2, 500):  # not 2 first: 1 / 2 is what the mistakes below have in common
        value, expected = as_number(call(function, size)), 0.5 + 0.5 / size
        if abs(value - 1 / size) < 1e-9:
            raise Wrong("that is chance when no pair is identical; half of them are, and those are always found")
        if abs(value - 0.5) < 1e-9:
            raise Wrong("that counts the identical pairs alone; the others are guessed right now and then")
        if value > 1:
            raise Wrong("give a share between 0 and 1, not a percentage")
        if abs(value - expected) > 1e-6:
            raise Wrong(f"for a batch of {size} you say {value:.4f}, but it is {expected:.4f}")
    return "with flips alone guessing reaches a little more than one half, whatever the batch"


@checker
def check_rows_differ(function: Any) -> str:
    """Check f(correct a, correct b, n): True if the Wilson intervals lie apart, in either order."""
    cases = [
        (164, 179, 308),
        (169, 223, 308),
        (223, 169, 308),
        (179, 223, 308),
        (0, 1, 2),
        (500, 900, 1000),
        (90, 90, 100),
    ]
    for a, b, n in cases:
        (low_a, high_a), (low_b, high_b) = wilson_interval(a, n), wilson_interval(b, n)
        expected = low_a > high_b or low_b > high_a
        answer = call(function, a, b, n)
        if not isinstance(answer, (bool, np.bool_)):
            raise Wrong(f"answer True or False, not {answer!r} ({type(answer).__name__})")
        if answer != expected:
            raise Wrong(
                f"{a} and {b} of {n}: the intervals {'lie apart' if expected else 'overlap'}; you say otherwise"
            )
    return "the published baselines cannot be told apart, the proposed row can"
