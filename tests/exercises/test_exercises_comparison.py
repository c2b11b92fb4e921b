"""The checkers of 08 know a stub, a wrong answer and a right one."""

from __future__ import annotations

import pytest

from brainssl_utils.exercises.comparison import check_chance_level, check_rows_differ
from brainssl_utils.intervals import wilson_interval


def apart(a: int, b: int, n: int) -> bool:
    (low_a, high_a), (low_b, high_b) = wilson_interval(a, n), wilson_interval(b, n)
    return low_a > high_b or low_b > high_a


def test_chance_level(capsys: pytest.CaptureFixture[str]) -> None:
    assert not check_chance_level(lambda size: None) and "not yet" in capsys.readouterr().out
    assert check_chance_level(lambda size: 0.5 + 0.5 / size) and "correct" in capsys.readouterr().out
    for wrong in (lambda size: 1 / size, lambda size: 0.5, lambda size: 1 / 0):
        assert not check_chance_level(wrong) and "not right" in capsys.readouterr().out


def test_rows_differ(capsys: pytest.CaptureFixture[str]) -> None:
    assert not check_rows_differ(lambda a, b, n: ...) and "not yet" in capsys.readouterr().out
    assert check_rows_differ(apart) and "correct" in capsys.readouterr().out
    for wrong in (lambda a, b, n: a != b, lambda a, b, n: True, lambda a, b, n: a < b and apart(a, b, n)):
        assert not check_rows_differ(wrong) and "not right" in capsys.readouterr().out
