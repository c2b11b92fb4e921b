"""95 % intervals: Wilson's for a share of correct answers, Student's t for a mean over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import NormalDist, fmean, stdev

from brainssl_utils.errors import CourseError


def wilson_interval(correct: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Interval for the share behind `correct` right answers out of `n` (Wilson 1927, score interval).

    Unlike the textbook p +- 1.96 sqrt(p (1 - p) / n) it stays inside 0..1 and is sensible at 0 and at `n` correct.

    Args:
        correct: right answers, 0..n.
        n: answers, at least 1.
        level: confidence level, between 0 and 1.

    Returns:
        (low, high), shares in 0..1.

    Raises:
        CourseError: `n` below 1, `correct` outside 0..n, or `level` outside (0, 1).
    """
    if n < 1 or not 0 <= correct <= n:
        raise CourseError(f"wilson_interval: correct={correct} of n={n}; expected n >= 1 and 0 <= correct <= n.")
    z = NormalDist().inv_cdf(0.5 + _checked(level) / 2)
    share, scale = correct / n, 1 + z * z / n
    centre = (share + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low = 0.0 if correct == 0 else max(0.0, centre - half)
    high = 1.0 if correct == n else min(1.0, centre + half)
    return low, high


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
    level = _checked(level)
    if not numbers:
        raise CourseError("t_interval: no values; expected one a seed.")
    mean = fmean(numbers)
    if len(numbers) == 1:
        return mean, math.nan, math.nan
    from scipy.stats import t  # 0.5 s to import, so only where it is needed

    half = float(t.ppf(0.5 + level / 2, len(numbers) - 1)) * stdev(numbers) / math.sqrt(len(numbers))
    return mean, mean - half, mean + half


def _checked(level: float) -> float:
    if not 0 < level < 1:
        raise CourseError(f"level={level}: expected a confidence level between 0 and 1, such as 0.95.")
    return level
