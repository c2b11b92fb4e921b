"""Confirming candidate pairs and joining them into groups, with as few comparisons as will do."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from brainssl_utils.data.copies.alignment import aligned_correlation
from brainssl_utils.data.copies.candidates import Hashes, ShapeIndex, hash_pairs, likeliest_first
from brainssl_utils.data.copies.signatures import Signatures
from brainssl_utils.data.partition import Ints, components

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

    Attributes:
        group: (N,) int64 group of each image, numbered in the order of first members.
        compared: every pair that was compared, as `links_table`.
    """

    def __init__(self, signs: Signatures, threshold: float):
        self.signs, self.threshold = signs, threshold
        self.group: Ints = np.arange(len(signs))
        self.compared = links_table()

    def run(self, plain: Hashes, mirrored: Hashes, neighbours: int) -> None:
        """Search, compare and join; `plain` and `mirrored` are the perceptual hashes in both orientations."""
        if len(self.signs) < 2:
            return
        index = ShapeIndex(self.signs.shape)
        candidates = hash_pairs(plain, mirrored)
        for _ in range(_PASSES):
            groups, rows = np.unique(self.group, return_index=True)
            self._confirm(likeliest_first(pd.concat([candidates, index.pairs(rows, neighbours)])))
            if self.group.max() + 1 == len(groups):
                return
            candidates = candidates[:0]

    def _confirm(self, pairs: pd.DataFrame) -> None:
        """Compare what is new among `pairs`, the likeliest of each image first, until all of it is settled."""
        done = pairs.merge(self.compared, how="left", on=["a", "b", "flipped"])["test"].notna()
        waiting = pairs[~done.to_numpy()]
        while len(waiting):
            ends = self.group[waiting[["a", "b"]].to_numpy()]
            open_ = (ends[:, 0] != ends[:, 1]) & (self._tries(ends) < _TRIES)
            waiting = waiting[open_]
            now = _likeliest_of_each(waiting)
            self._compare(waiting[now])
            waiting = waiting[~now]

    def _compare(self, pairs: pd.DataFrame) -> None:
        a, b, flipped = (pairs[name].to_numpy() for name in ("a", "b", "flipped"))
        value = aligned_correlation(self.signs, a, b, flipped)
        self.compared = pd.concat([self.compared, links_table(a, b, "pixels", value, flipped)], ignore_index=True)
        join = value >= self.threshold
        if join.any():
            joined = components(len(self.group), self.group[a[join]], self.group[b[join]])
            self.group = pd.factorize(joined[self.group])[0]

    def _tries(self, groups: Ints) -> Ints:
        """Count the comparisons made between two groups so far, for (P, 2) pairs of them."""
        n = len(self.group)
        made = pd.Series(_pair_numbers(self.group[self.compared[["a", "b"]].to_numpy()], n)).value_counts()
        return np.asarray(made.reindex(_pair_numbers(groups, n), fill_value=0), dtype=np.int64)


def links_table(
    a: npt.ArrayLike = (),
    b: npt.ArrayLike = (),
    test: str = "pixels",
    value: float | npt.ArrayLike = 1.0,
    flipped: bool | npt.ArrayLike = False,
) -> pd.DataFrame:
    """Make a table of links with its column types; test, value and flipped may be one for all."""
    rows = {"a": np.asarray(a, dtype=np.int64), "b": np.asarray(b, dtype=np.int64)}
    table = pd.DataFrame({**rows, "test": test, "value": value, "flipped": flipped})
    return table.astype({"test": str, "value": np.float64, "flipped": bool})


def _pair_numbers(ends: Ints, n: int) -> Ints:
    """Return one number for each of (P, 2) pairs of numbers below n, the same whichever end comes first."""
    low, high = np.sort(ends, axis=1).T
    return low * n + high


def _likeliest_of_each(pairs: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Mark the pairs that come first for one of their two rows; pairs are sorted by likeness."""
    repeated = np.asarray(pd.Series(pairs[["a", "b"]].to_numpy().ravel()).duplicated())
    return np.any(~repeated.reshape(-1, 2), axis=1)
