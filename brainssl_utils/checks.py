"""Refusing a parameter that cannot work, in one sentence that names it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral, Real

from brainssl_utils.errors import CourseError


def check_number(
    name: str,
    value: object,
    *,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    whole: bool = False,
) -> None:
    """Pass if `value` is a finite number within the bounds that are given; NumPy's numbers are numbers too.

    Args:
        name: the parameter, as its reader writes it.
        value: what was given for it.
        above, at_least: lower bounds, without and with the bound itself.
        at_most, below: upper bounds, with and without the bound itself.
        whole: only whole numbers of an integer type pass: 2, not 2.0.

    Raises:
        CourseError: it is no number (a boolean and a string of digits are none), not finite, or outside the bounds.
    """
    if isinstance(value, Integral if whole else Real) and not isinstance(value, bool):
        number = float(value)
        over = (above is None or number > above) and (at_least is None or number >= at_least)
        under = (at_most is None or number <= at_most) and (below is None or number < below)
        if math.isfinite(number) and over and under:
            return
    bounds = {"above": above, "at least": at_least, "at most": at_most, "below": below}
    limits = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)
    expected = ("a whole number" if whole else "a number") + (f" {limits}" if limits else "")
    raise CourseError(f"{name} is {value!r}: it must be {expected}.")


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Pass if `value` is one of `choices`.

    Raises:
        CourseError: it is none of them.
    """
    choices = list(choices)
    if not isinstance(value, str) or value not in choices:
        raise CourseError(f"{name} is {value!r}. Choose one of: {', '.join(choices)}.")
