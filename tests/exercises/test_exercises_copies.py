"""The appendix's checkers: all pairs of copies and nothing else, chains joined in whatever order their pairs come."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from outcomes import outcomes, untouched

from brainssl_utils.data.partition import components
from brainssl_utils.exercises.copies import check_groups, check_hash_copies

Rows = np.ndarray


def hash_copies(hashes: Rows, k: int) -> list[tuple[int, int]]:
    pairs = []
    for i in range(len(hashes)):
        apart = np.bitwise_count(hashes[i + 1 :] ^ hashes[i])
        pairs += [(i, i + 1 + int(j)) for j in np.flatnonzero(apart <= k)]
    return pairs


def join(n: int, pairs: Rows) -> Rows:
    return components(n, pairs[:, 0], pairs[:, 1])


def one_pass(n: int, pairs: Rows) -> Rows:
    number = np.arange(n)
    for i, j in pairs:
        number[i] = number[j] = min(number[i], number[j])
    return number


def unlinked_together(n: int, pairs: Rows) -> Rows:
    number = join(n, pairs)
    return np.where(np.isin(np.arange(n), pairs), number, -1)


WRONG: list[tuple[Callable[..., bool], Callable[..., object], str]] = [
    (
        check_hash_copies,
        lambda h, k: [pair for pair in hash_copies(h, k) if h[pair[0]] == h[pair[1]]],
        "missing: its hashes differ in 1 bits",
    ),
    (check_hash_copies, lambda h, k: hash_copies(h, k - 1), "missing"),
    (check_hash_copies, lambda h, k: hash_copies(h, k + 1), "not a copy"),
    (check_hash_copies, lambda h, k: hash_copies(h & np.uint64(2**63 - 1), k), "not a copy"),
    (check_hash_copies, lambda h, k: [(j, i) for i, j in hash_copies(h, k)], "wrong way round"),
    (check_hash_copies, lambda h, k: [(i, i) for i in range(len(h))], "itself"),
    (check_hash_copies, lambda h, k: hash_copies(h, k) * 2, "twice"),
    (check_hash_copies, lambda h, k: len(hash_copies(h, k)), "list of pairs"),
    (check_hash_copies, lambda h, k: h.nothing, "AttributeError"),
    (check_groups, one_pass, "are joined by a chain of pairs"),
    (check_groups, lambda n, pairs: np.arange(n), "are a pair"),
    (check_groups, lambda n, pairs: np.zeros(n, int), "no chain of pairs joins them"),
    (check_groups, unlinked_together, "pictures 0 and 1 are both in group -1"),
    (check_groups, lambda n, pairs: join(n, pairs) / 2, "expected 3 whole numbers"),
    (check_groups, lambda n, pairs: join(n, pairs)[1:], "got shape (2,)"),
    (check_groups, lambda n, pairs: [[1], [2, 3]], "one a picture"),
]
RIGHT: list[tuple[Callable[..., bool], Callable[..., object]]] = [
    (check_hash_copies, hash_copies),
    (check_groups, join),
    (check_groups, lambda n, pairs: [100 - int(number) for number in join(n, pairs)]),
]

test_answers_are_told_what_they_are = outcomes(untouched(check_hash_copies, check_groups), RIGHT, WRONG)


@pytest.mark.parametrize("seed", range(5))
def test_any_order_of_the_pairs_joins_the_same_groups(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = rng.integers(0, 30, (20, 2))
    assert np.array_equal(join(30, pairs), join(30, rng.permutation(pairs)[:, ::-1]))
