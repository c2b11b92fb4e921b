"""Intervals of shares and of means over seeds, against the formulas they stand for."""

from __future__ import annotations

import math
import subprocess
import sys
from statistics import NormalDist

import pytest

from brainssl_utils.errors import CourseError
from brainssl_utils.intervals import interval_over_seeds, t_interval, wilson_interval


@pytest.mark.parametrize(
    ("correct", "interval"),
    [(164, (47.7, 58.7)), (179, (52.5, 63.5)), (169, (49.3, 60.3)), (223, (67.2, 77.1))],
)
def test_wilson_interval_gives_the_known_intervals(correct: int, interval: tuple[float, float]) -> None:
    low, high = wilson_interval(correct, 308)
    assert (round(100 * low, 1), round(100 * high, 1)) == interval
    # The interval's ends are the shares at which the score test's statistic is exactly the quantile.
    for end in (low, high):
        assert abs(correct / 308 - end) / math.sqrt(end * (1 - end) / 308) == pytest.approx(1.959964, rel=1e-5)


def test_wilson_interval_at_the_edges() -> None:
    assert wilson_interval(0, 10)[0] == 0.0 and wilson_interval(10, 10)[1] == 1.0
    assert wilson_interval(0, 10)[1] == pytest.approx(0.2775, abs=1e-4)
    for correct, n in [(1, 0), (-1, 5), (6, 5)]:
        with pytest.raises(CourseError, match="correct"):
            wilson_interval(correct, n)
    for correct, n in [(2.5, 5), (2, 5.5), (math.nan, 5), (2, math.inf)]:
        with pytest.raises(CourseError, match="whole numbers"):
            wilson_interval(correct, n)
    with pytest.raises(CourseError, match="level"):
        wilson_interval(1, 2, level=95)


@pytest.mark.parametrize("n", [1, 2, 7, 308, 100_000])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_wilson_interval_is_the_formula_of_1927(n: int, level: float) -> None:
    z = NormalDist().inv_cdf(0.5 + level / 2)
    for correct in {0, 1, n // 3, n - 1, n}:
        share, scale = correct / n, 1 + z * z / n
        centre = (share + z * z / (2 * n)) / scale
        half = z / scale * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
        assert wilson_interval(correct, n, level) == pytest.approx((centre - half, centre + half), abs=1e-12)


def test_t_interval_over_seeds() -> None:
    mean, low, high = t_interval([0.70, 0.74, 0.78])
    assert mean == pytest.approx(0.74)
    assert (high - mean) == pytest.approx(mean - low) == pytest.approx(4.302653 * 0.04 / math.sqrt(3), rel=1e-5)
    mean, low, high = t_interval([0.5])
    assert mean == 0.5 and math.isnan(low) and math.isnan(high)
    assert t_interval([0.5, 0.5, 0.5]) == (0.5, 0.5, 0.5)
    with pytest.raises(CourseError, match="no values"):
        t_interval([])
    with pytest.raises(CourseError, match="nan"):
        t_interval([0.5, float("nan")])


def test_importing_the_module_does_not_import_scipy() -> None:
    program = "import sys, brainssl_utils.intervals; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_means_over_seeds_have_intervals_from_three_on_and_shares_end_at_0_and_1() -> None:
    mean, low, high = interval_over_seeds([0.9, 0.8])
    assert mean == pytest.approx(0.85) and math.isnan(low) and math.isnan(high)
    assert interval_over_seeds([1.0, 1.0, 0.3])[1:] == (0, 1), "the formula says -0.23 to 1.77"
    assert interval_over_seeds([0.01, 0.05, 0.0], share=False) == t_interval([0.01, 0.05, 0.0])
    assert interval_over_seeds([0.01, 0.05, 0.0], share=False)[1] < 0
    with pytest.raises(CourseError, match="no values"):
        interval_over_seeds([])
