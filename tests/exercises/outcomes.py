"""One test for all answers to a lesson's exercises: what is said to an untouched stub, to a solution and to a mistake."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

Check = Callable[..., bool]
MISSING = object()
UNTOUCHED: tuple[Any, ...] = (MISSING, ..., lambda *arguments: ..., lambda *arguments: None)
"""What a checker may be called with before a student writes: nothing, no value, a function that returns none."""


def outcomes(
    stubs: Iterable[tuple[Check, Any]], right: Iterable[tuple[Check, Any]], wrong: Iterable[tuple[Check, Any, str]]
) -> Callable[..., None]:
    """Return a test of checkers, to be kept under a name that begins with `test_`.

    Args:
        stubs: checkers with answers that are not given yet.
        right: checkers with solutions.
        wrong: checkers with mistakes, and words that name each mistake.
    """
    cases = [(check, answer, "not yet", "") for check, answer in stubs]
    cases += [(check, answer, "correct", "") for check, answer in right]
    cases += [(check, answer, "not right", words) for check, answer, words in wrong]

    @pytest.mark.parametrize(("check", "answer", "outcome", "words"), cases)
    def test(check: Check, answer: Any, outcome: str, words: str, verdict: Callable[..., str]) -> None:
        said = verdict(check, *(() if answer is MISSING else (answer,)))
        assert said.startswith(outcome) and words in said

    return test


def untouched(*checks: Check) -> list[tuple[Check, Any]]:
    """Each checker with each of `UNTOUCHED`."""
    return [(check, nothing) for check in checks for nothing in UNTOUCHED]
