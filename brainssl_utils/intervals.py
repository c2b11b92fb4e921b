"""95 % intervals: Wilson's for a share of correct answers, Student's t for a mean over seeds.

SciPy computes both. It takes half a second to import, so it is imported where an interval is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from brainssl_utils.errors import CourseError

LEAST_SEEDS = 3
"""From so many seeds on, means have intervals: Student's t of two reaches thirteen standard errors to either side."""


def wilson_interval(correct: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Interval for the share behind `correct` right answers out of `n` (Wilson 1927, score interval).

    Unlike the textbook p +- 1.96 sqrt(p (1 - p) / n) it stays inside 0..1 and is sensible at 0 and at `n` correct.

    Args:
        correct: right answers, a whole number in 0..n.
        n: answers, at least 1.
        level: confidence level, between 0 and 1.

    Returns:
        (low, high), shares in 0..1.

    Raises:
        CourseError: `n` below 1, `correct` outside 0..n, parts of an answer, or `level` outside (0, 1).
    """
    if n < 1 or not 0 <= correct <= n or n % 1 or correct % 1:
        raise CourseError(
            f"wilson_interval: correct={correct} of n={n}; expected whole numbers, n >= 1 and 0 <= correct <= n."
        )
    _check_level(level)
    from scipy.stats import binomtest

    low, high = binomtest(int(correct), int(n)).proportion_ci(level, method="wilson")
    return float(low), float(high)


def t_interval(values: Iterable[float], level: float = 0.95) -> tuple[float, float, float]:
    """Mean of `values` (one a seed) and its Student-t interval: (mean, low, high).

    One value has a mean but no interval: low and high are NaN. The interval says how far the mean would move with
    other seeds, and nothing about the test images being few: that is Wilson's part.

    Raises:
        CourseError: no values, one that is not a finite number, or `level` outside (0, 1).
    """
    numbers = [float(value) for value in values]
    if not all(map(math.isfinite, numbers)):
        raise CourseError(f"t_interval: {numbers} holds NaN or infinity. Leave out the seeds that have no value.")
    _check_level(level)
    if not numbers:
        raise CourseError("t_interval: no values; expected one a seed.")
    mean = math.fsum(numbers) / len(numbers)
    if len(numbers) == 1:
        return mean, math.nan, math.nan
    from scipy.stats import sem, t

    # In units of the standard error: SciPy's interval of a scale of zero (all values alike) would be NaN.
    error = float(sem(numbers))
    low, high = t.interval(level, len(numbers) - 1)
    return mean, mean + error * float(low), mean + error * float(high)


def interval_over_seeds(values: Iterable[float], share: bool = True) -> tuple[float, float, float]:
    """`t_interval` of results over seeds as tables show it: (mean, low, high), from `LEAST_SEEDS` seeds on.

    Args:
        values: one a seed.
        share: whether they are shares in 0..1, so that an interval ends there, whatever the formula says of three of them.

    Raises:
        CourseError: as `t_interval`.
    """
    numbers = list(values)
    mean, low, high = t_interval(numbers)
    if len(numbers) < LEAST_SEEDS:
        return mean, math.nan, math.nan
    return (mean, max(low, 0.0), min(high, 1.0)) if share else (mean, low, high)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise CourseError(f"level={level}: expected a confidence level between 0 and 1, such as 0.95.")
