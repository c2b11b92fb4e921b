"""A parameter that cannot work is refused by name; what works passes."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from brainssl_utils.checks import check_choice, check_number
from brainssl_utils.errors import CourseError


@pytest.mark.parametrize("value", [0, 1, 0.5, Fraction(1, 3), np.float32(0.5), np.float64(1), np.int8(1), np.uint64(0)])
def test_numbers_within_the_bounds_pass_whoever_made_them(value: object) -> None:
    check_number("share", value, at_least=0, at_most=1)


@pytest.mark.parametrize(
    "value",
    [None, "1", True, np.True_, math.nan, math.inf, -math.inf, np.float32("nan"), 1j, [1], (1,), np.array([1.0])],
)
def test_what_is_no_finite_number_is_refused_even_without_bounds(value: object) -> None:
    with pytest.raises(CourseError, match=r"^share is .*: it must be a number"):
        check_number("share", value)


def test_bounds_hold_with_or_without_the_bound_itself() -> None:
    for bound, passes, fails in (
        ({"above": 1}, [1.001, 5], [1, 0]),
        ({"at_least": 1}, [1, 5], [0.999, -3]),
        ({"at_most": 1}, [1, -7], [1.001, 2]),
        ({"below": 1}, [0.999, -7], [1, 2]),
        ({"above": 0, "at_most": 1}, [0.5, 1], [0, 1.5]),
    ):
        for value in passes:
            check_number("x", value, **bound)
        for value in fails:
            with pytest.raises(CourseError):
                check_number("x", value, **bound)


@pytest.mark.parametrize("value", [2.0, 2.5, np.float64(2), "2"])
def test_a_whole_number_is_of_an_integer_type(value: object) -> None:
    check_number("n", 2, whole=True)
    check_number("n", np.int32(2), whole=True)
    with pytest.raises(CourseError, match="a whole number"):
        check_number("n", value, whole=True)


def test_the_sentence_names_parameter_value_and_what_was_expected() -> None:
    with pytest.raises(CourseError, match=r"^temperature is -1: it must be a number above 0\.$"):
        check_number("temperature", -1, above=0)
    with pytest.raises(CourseError, match=r"^k is '8': it must be a whole number at least 1 and at most 64\.$"):
        check_number("k", "8", at_least=1, at_most=64, whole=True)
    with pytest.raises(CourseError, match=r"^kind is 'nn'\. Choose one of: linear, knn\.$"):
        check_choice("kind", "nn", ("linear", "knn"))


def test_a_choice_is_a_string_among_those_given() -> None:
    check_choice("kind", "knn", {"linear": 1, "knn": 2})
    check_choice("kind", "knn", (name for name in ("linear", "knn")))
    for value in (None, 1, "", ["knn"], "KNN"):
        with pytest.raises(CourseError, match="kind"):
            check_choice("kind", value, ("linear", "knn"))
