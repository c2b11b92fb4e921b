"""Checkers of the appendix on copies: pairs by hash, groups from pairs."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from operator import index
from typing import Any

import numpy as np
import numpy.typing as npt

from brainssl_utils.data.partition import components
from brainssl_utils.exercises.base import Wrong, call, checker

Rows = npt.NDArray[np.int64]


@checker
def check_hash_copies(function: Callable[..., Any]) -> str:
    """Check `function(hashes, k)`: all pairs (i, j), i < j, of (N,) uint64 hashes that differ in at most `k` of 64 bits."""
    rng = np.random.default_rng(3)
    hashes = rng.integers(0, 2**64, 40, dtype=np.uint64)
    # Planted: an equal hash, and copies of it 1, 4 and 5 bits away, the highest bit (a sign, in int64) among them.
    for row, flips in ((7, ()), (12, (63,)), (23, (0, 5, 31, 63)), (31, (1, 2, 3, 40, 62))):
        hashes[row] = hashes[2] ^ np.uint64(sum(1 << flip for flip in flips))
    for k in (0, 1, 4, 5):
        wanted = {(i, j) for i, j in combinations(range(40), 2) if _apart(hashes[i], hashes[j]) <= k}
        found = _pairs(call(function, hashes.copy(), k))
        if missed := sorted(wanted - found):
            i, j = missed[0]
            apart = _apart(hashes[i], hashes[j])
            raise Wrong(f"with k={k}, the pair {missed[0]} is missing: its hashes differ in {apart} bits")
        if extra := sorted(found - wanted):
            i, j = extra[0]
            apart = _apart(hashes[i], hashes[j])
            raise Wrong(f"with k={k}, the pair {extra[0]} is not a copy: its hashes differ in {apart} bits")
    return "every planted copy is found, at 0, 1, 4 and 5 bits, and nothing else"


@checker
def check_groups(function: Callable[..., Any]) -> str:
    """Check `function(n, pairs)`: (n,) whole numbers, equal for two of `n` pictures if and only if pairs join them.

    `pairs` is an int64 array (M, 2). Tried on no pair at all, on a chain given in an order that one pass over the pairs
    does not join, and on random pairs.
    """
    rng = np.random.default_rng(11)
    chain = np.array([[4, 5], [2, 3], [3, 4], [1, 2], [7, 6]])
    for n, pairs in ((3, chain[:0]), (9, chain), (60, rng.integers(0, 60, (35, 2)))):
        given = _numbers(call(function, n, pairs.copy()), n)
        wanted = components(n, pairs[:, 0], pairs[:, 1])
        linked = {tuple(sorted(map(int, pair))) for pair in pairs}
        for i, j in combinations(range(n), 2):
            if wanted[i] == wanted[j] and given[i] != given[j]:
                how = "are a pair" if (i, j) in linked else "are joined by a chain of pairs"
                raise Wrong(f"pictures {i} and {j} {how}, and got different groups, {given[i]} and {given[j]}")
            if wanted[i] != wanted[j] and given[i] == given[j]:
                raise Wrong(f"pictures {i} and {j} are both in group {given[i]}, and no chain of pairs joins them")
    return "chains are joined in whatever order their pairs come, and nothing else is"


def _apart(first: np.uint64, second: np.uint64) -> int:
    return (int(first) ^ int(second)).bit_count()


def _pairs(answer: Any) -> set[tuple[int, int]]:
    try:
        given = [(i, j) for i, j in answer]
    except (TypeError, ValueError):
        raise Wrong(f"expected a list of pairs of row numbers, got {type(answer).__name__}") from None
    try:
        pairs = [(index(i), index(j)) for i, j in given]
    except TypeError:
        raise Wrong("row numbers are whole numbers (int), and something else is in a pair") from None
    for i, j in pairs:
        if i == j:
            raise Wrong(f"row {i} is paired with itself")
        if i > j:
            raise Wrong(f"the pair {(i, j)} is the wrong way round: give the smaller row first")
    if len(set(pairs)) < len(pairs):
        raise Wrong("a pair is given twice")
    return set(pairs)


def _numbers(answer: Any, n: int) -> Rows:
    try:
        numbers = np.asarray(answer)
    except ValueError:  # lists of different lengths
        raise Wrong(f"expected {n} whole numbers, one a picture") from None
    if numbers.shape != (n,) or not np.issubdtype(numbers.dtype, np.integer):
        raise Wrong(f"expected {n} whole numbers, one a picture; got shape {numbers.shape}, {numbers.dtype}")
    return numbers.astype(np.int64)
