"""How a checker speaks: "not yet" for an untouched stub, what is wrong for a wrong answer, "correct" for a right one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class NotYet(Exception):
    """The answer is still the stub."""


class Wrong(Exception):
    """The answer is wrong; the message says how, without giving the solution away."""


def checker(check: Callable[..., str]) -> Callable[..., bool]:
    """Turn a function that returns what is right, or raises `NotYet` or `Wrong`, into one that prints and returns a bool.

    A first argument of None or Ellipsis, and a function that returns one of them or raises NotImplementedError, counts
    as an untouched stub. Any other error inside the student's function is shown as what is wrong, so no exercise cell
    ever stops a run.
    """

    def run(answer: Any = None, *arguments: Any, **settings: Any) -> bool:
        if answer is None or answer is ...:
            print("not yet: replace the stub with your answer and run the cell again")
            return False
        try:
            finding = check(answer, *arguments, **settings)
        except (NotYet, NotImplementedError) as reason:
            print(f"not yet: {reason or 'the function still holds its stub'}")
            return False
        except Wrong as reason:
            print(f"not right: {reason}")
            return False
        except Exception as error:
            print(f"not right: your answer stops with {type(error).__name__}: {error}")
            return False
        print(f"correct: {finding}")
        return True

    run.__name__, run.__doc__ = check.__name__, check.__doc__
    return run


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a student's function; a stub's None or Ellipsis raises `NotYet`."""
    result = function(*arguments)
    if result is None or result is ...:
        raise NotYet("the function returns nothing yet")
    return result
