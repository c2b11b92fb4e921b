"""Confirming candidate pairs and joining them into groups, with as few comparisons as will do."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from brainssl_utils.data.copies.alignment import aligned_correlation
from brainssl_utils.data.copies.candidates import Hashes, Pairs, ShapeIndex, hash_pairs, pair_keys, unique_pairs
from brainssl_utils.data.copies.signatures import Ints, Signatures
from brainssl_utils.data.partition import components

_PASSES = 4
_TRIES = 6


class Linker:
    """Compares candidate pairs and keeps the links.

    A pair inside one group needs no comparison any more, so each image's likeliest partner is tried first, groups are
    joined, and only what is still apart goes on. Then one member of each group stands for it in the next search:
    siblings that crowded out other relatives are gone from the index.

    Args:
        signs: reduced images.
        threshold: correlation that joins two images.
        keep_links: correlation from which a compared pair is kept as evidence.
        threads: of this process; default: all cores.
    """

    def __init__(self, signs: Signatures, threshold: float, keep_links: float, threads: int | None = None):
        self.signs, self.threshold, self.keep_links, self.threads = signs, threshold, keep_links, threads
        self.group = np.arange(len(signs))
        self._compared: list[pd.DataFrame] = []
        self._keys = np.empty(0, dtype=np.int64)

    @property
    def compared(self) -> int:
        """How many pairs were compared."""
        return len(self._keys)

    def run(self, plain: Hashes, mirrored: Hashes, neighbours: int) -> None:
        """Search, compare and join; `plain` and `mirrored` are the perceptual hashes in both orientations."""
        if len(self.signs) < 2:
            return
        index = ShapeIndex(self.signs.shape, self.threads)
        candidates = hash_pairs(plain, mirrored)
        for _ in range(_PASSES):
            groups = int(self.group.max(initial=-1)) + 1
            _, rows = np.unique(self.group, return_index=True)
            self._confirm(_both(candidates, index.pairs(rows, neighbours)))
            if int(self.group.max(initial=-1)) + 1 == groups:
                break
            candidates = Pairs(*(column[:0] for column in vars(candidates).values()))

    def links(self) -> pd.DataFrame:
        """Return the links found: a, b, test, value, flipped."""
        if not self._compared:
            return links_table()
        table = pd.concat(self._compared, ignore_index=True)
        table = table[table["value"] >= self.keep_links].sort_values("value", ascending=False, kind="stable")
        return table.drop_duplicates(["a", "b"]).sort_values(["a", "b"], ignore_index=True)

    def _confirm(self, pairs: Pairs) -> None:
        keys = pair_keys(pairs.a, pairs.b, pairs.flipped)
        waiting = np.flatnonzero(~np.isin(keys, self._keys))
        while len(waiting):
            apart = self.group[pairs.a[waiting]] != self.group[pairs.b[waiting]]
            waiting = waiting[apart]
            waiting = waiting[self._tries(pairs.a[waiting], pairs.b[waiting]) < _TRIES]
            if not len(waiting):
                return
            now = _likeliest_of_each(pairs.a[waiting], pairs.b[waiting])
            chosen = waiting[now]
            self._compare(pairs.a[chosen], pairs.b[chosen], pairs.flipped[chosen], keys[chosen])
            waiting = np.delete(waiting, now)

    def _compare(self, a: Ints, b: Ints, flipped: npt.NDArray[np.bool_], keys: Ints) -> None:
        value = aligned_correlation(self.signs, a, b, flipped, self.threads)
        found = pd.DataFrame({"a": a, "b": b, "test": "pixels", "value": value.astype(np.float64), "flipped": flipped})
        self._compared.append(found)
        self._keys = np.concatenate([self._keys, keys])
        join = value >= self.threshold
        if join.any():
            joined = components(len(self.group), self.group[a[join]], self.group[b[join]])
            self.group = np.unique(joined[self.group], return_inverse=True)[1]

    def _tries(self, a: Ints, b: Ints) -> Ints:
        """Count the comparisons that two rows' groups have already failed."""
        if not self._compared or not len(a):
            return np.zeros(len(a), dtype=np.int64)
        done = self._keys
        before = _unordered(self.group[done >> 33], self.group[(done >> 1) & 0xFFFFFFFF])
        seen, count = np.unique(before, return_counts=True)
        wanted = _unordered(self.group[a], self.group[b])
        place = np.minimum(np.searchsorted(seen, wanted), len(seen) - 1)
        return np.where(seen[place] == wanted, count[place], 0)


def links_table(
    a: npt.ArrayLike = (), b: npt.ArrayLike = (), test: str = "pixels", value: float = 1.0, flipped: bool = False
) -> pd.DataFrame:
    """Make a table of links with its column types, empty or with one test and value for all."""
    a, b = np.asarray(a, dtype=np.int64), np.asarray(b, dtype=np.int64)
    constants = {"test": np.full(len(a), test, dtype=object), "value": np.full(len(a), value)}
    return pd.DataFrame({"a": a, "b": b, **constants, "flipped": np.full(len(a), flipped)})


def _both(first: Pairs, second: Pairs) -> Pairs:
    return unique_pairs(*(np.concatenate(columns) for columns in zip(vars(first).values(), vars(second).values())))


def _unordered(a: Ints, b: Ints) -> Ints:
    return (np.minimum(a, b) << 32) | np.maximum(a, b)


def _likeliest_of_each(a: Ints, b: Ints) -> Ints:
    """Return the places of the pairs that come first for one of their two rows; pairs are sorted by likeness."""
    rows = np.concatenate([a, b])
    place = np.tile(np.arange(len(a)), 2)
    order = np.argsort(place, kind="stable")
    _, first = np.unique(rows[order], return_index=True)
    return np.unique(place[order][first])
