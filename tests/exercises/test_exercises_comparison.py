"""The checkers of 08 know a stub, a wrong answer and a right one."""

from __future__ import annotations

from outcomes import outcomes, untouched

from brainssl_utils.exercises.comparison import check_chance_level, check_rows_differ
from brainssl_utils.intervals import wilson_interval


def apart(a: int, b: int, n: int) -> bool:
    (low_a, high_a), (low_b, high_b) = wilson_interval(a, n), wilson_interval(b, n)
    return low_a > high_b or low_b > high_a


WRONG = [
    (check_chance_level, lambda size: 1 / size, "when no pair is identical"),
    (check_chance_level, lambda size: 0.5, "guessed right now and then"),
    (check_chance_level, lambda size: 50 + 50 / size, "between 0 and 1"),
    (check_chance_level, lambda size: 0.6, "for a batch of"),
    (check_chance_level, lambda size: 1 / 0, "ZeroDivisionError"),
    (check_rows_differ, lambda a, b, n: a != b, "164 and 179 of 308: the intervals overlap"),
    (check_rows_differ, lambda a, b, n: True, "the intervals overlap"),
    (check_rows_differ, lambda a, b, n: a < b and apart(a, b, n), "223 and 169 of 308: the intervals lie apart"),
]


RIGHT = [(check_chance_level, lambda size: 0.5 + 0.5 / size), (check_rows_differ, apart)]

test_answers_are_told_what_they_are = outcomes(untouched(check_chance_level, check_rows_differ), RIGHT, WRONG)
