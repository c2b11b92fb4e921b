"""How a checker speaks: "not yet" for an untouched stub, what is wrong for a wrong answer, "correct" for a right one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor


class NotYet(Exception):
    """The answer is still the stub."""


class Wrong(Exception):
    """The answer is wrong; the message says how, without giving the solution away."""


class Verdict:
    """Whether an answer is right: true or false to Python, and nothing more for a notebook to show than what was printed."""

    def __init__(self, right: bool) -> None:
        self.right = right

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        return f"Verdict({self.right})"

    def _ipython_display_(self) -> None:
        """Nothing: the checker has spoken."""


def checker(check: Callable[..., str]) -> Callable[..., Verdict]:
    """Turn a function that returns what is right, or raises `NotYet` or `Wrong`, into one that prints it and tells yes or no.

    A first argument of None or Ellipsis, and a function that returns one of them or raises NotImplementedError, counts
    as an untouched stub. Any other error inside the student's function is shown as what is wrong, so no exercise cell
    ever stops a run.
    """

    def run(answer: Any = None, *arguments: Any, **settings: Any) -> Verdict:
        if answer is None or answer is ...:
            print("not yet: replace the stub with your answer and run the cell again")
            return Verdict(False)
        try:
            finding = check(answer, *arguments, **settings)
        except (NotYet, NotImplementedError) as reason:
            print(f"not yet: {reason or 'the function still holds its stub'}")
        except Wrong as reason:
            print(f"not right: {reason}")
        except Exception as error:
            print(f"not right: your answer stops with {type(error).__name__}: {error}")
        else:
            print(f"correct: {finding}")
            return Verdict(True)
        return Verdict(False)

    run.__name__, run.__doc__ = check.__name__, check.__doc__
    return run


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a student's function; a stub's None or Ellipsis raises `NotYet`, what is no function at all `Wrong`."""
    if not callable(function):
        raise Wrong(f"hand over the function itself, not {_kind(function)}")
    result = function(*arguments)
    if result is None or result is ...:
        raise NotYet("the function returns nothing yet")
    return result


def name_mistake(value: float, mistakes: Iterable[tuple[Any, str]], rel_tol: float = 0.0, abs_tol: float = 0.0) -> None:
    """Raise `Wrong` with the sentence of the first mistake that gives `value`, within `math.isclose`'s tolerances.

    Args:
        value: what the student's function gives.
        mistakes: what each mistake gives, a number, and the sentence that names it.
    """
    for result, sentence in mistakes:
        if math.isclose(value, float(result), rel_tol=rel_tol, abs_tol=abs_tol):
            raise Wrong(sentence)


def as_number(answer: Any, what: str = "one number") -> float:
    """Return an answer, a plain number or an array or tensor of one without a shape, as a float.

    Raises:
        Wrong: it is no number, several of them, a truth value, NaN or infinite.
    """
    if isinstance(answer, (Tensor, np.ndarray)):
        if answer.ndim:
            raise Wrong(f"expected {what}, got {tuple(answer.shape)}: {math.prod(answer.shape)} of them")
        answer = answer.item()
    if isinstance(answer, (bool, np.bool_)) or not isinstance(answer, (int, float, np.number)):
        raise Wrong(f"expected {what}, got {_kind(answer)}")
    value = float(answer)
    if not math.isfinite(value):
        raise Wrong(f"expected {what}, got {value}: somewhere a division by zero, a logarithm or an overflow")
    return value


def as_tensor(answer: Any, shape: tuple[int, ...], what: str) -> Tensor:
    """Return an answer as a float64 tensor without a gradient.

    Raises:
        Wrong: it does not hold numbers, has another shape, or holds NaN or infinity.
    """
    try:
        values = torch.as_tensor(answer).detach().double()
    except (TypeError, ValueError, RuntimeError):
        raise Wrong(f"expected {what}, got {_kind(answer)}") from None
    if values.shape != shape:
        raise Wrong(f"expected {what} of shape {shape}, got {tuple(values.shape)}")
    if strange := int((~values.isfinite()).sum()):
        raise Wrong(f"{strange} of its {values.numel()} entries are NaN or infinite: look for a division by zero")
    return values


def _kind(answer: Any) -> str:
    return f"{answer!r} ({type(answer).__name__})" if isinstance(answer, (str, bool)) else type(answer).__name__
