"""Dividing rows among parts without tearing units (groups of copies, patients): quotas and greedy filling."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

Ints = npt.NDArray[np.int64]


def apportion(total: int, counts: Ints, least: int = 1) -> Ints:
    """Share `total` among strata of `counts` (C,) rows in proportion (largest remainders), never more than one has.

    Every non-empty stratum gets `least` (or all it has), as long as `total` allows. The (C,) quotas add up to `total`, or
    to `counts.sum()` where that is smaller.
    """
    counts = np.asarray(counts, dtype=np.int64)
    total = int(min(total, counts.sum()))
    floor = np.minimum(least, counts)
    while floor.sum() > total:
        floor[np.argmax(floor)] -= 1
    wanted = total * counts / max(counts.sum(), 1)
    quota = np.clip(np.floor(wanted).astype(np.int64), floor, counts)
    while quota.sum() < total:
        quota[np.argmax(np.where(quota < counts, wanted - quota, -np.inf))] += 1
    while quota.sum() > total:
        quota[np.argmax(np.where(quota > floor, quota - wanted, -np.inf))] -= 1
    return quota


def fill(order: Ints, weights: Ints, quota: int, at_most: int | None = None) -> Ints:
    """Take units in `order` whose weights fit into what is left of `quota`; a unit too heavy is passed over.

    `weights` (U,) says how many rows each unit number brings; a unit without any is not taken, and no more than `at_most`.
    """
    taken: list[int] = []
    left = quota
    for unit in order.tolist():
        if left <= 0 or (at_most is not None and len(taken) >= at_most):
            break
        weight = int(weights[unit])
        if 0 < weight <= left:
            taken.append(unit)
            left -= weight
    return np.asarray(taken, dtype=np.int64)


def components(n: int, a: npt.ArrayLike, b: npt.ArrayLike) -> Ints:
    """Number, (n,) 0 upwards by first rows, the connected components of n rows joined by the edges a[i] - b[i]."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = np.asarray(a, dtype=np.int64), np.asarray(b, dtype=np.int64)
    graph = coo_array((np.ones(len(ends[0]), dtype=bool), ends), shape=(n, n))
    return pd.factorize(connected_components(graph, directed=False)[1])[0]


def majority_label(units: Ints, labels: Ints) -> Ints:
    """Return the commonest label of each unit (the lowest of equals); `units` are numbered 0..U-1."""
    return np.asarray(pd.crosstab(units, labels).idxmax(axis=1), dtype=np.int64)


def joined_units(first: npt.ArrayLike, second: npt.ArrayLike) -> Ints:
    """Join rows that share a value in either array; return (N,) numbers of the joined units, in order of appearance."""
    rows = pd.Series(np.arange(len(np.asarray(first))))
    ends = [rows.groupby(np.asarray(values)).transform("first") for values in (first, second)]
    return components(len(rows), np.tile(rows, 2), np.concatenate(ends))
