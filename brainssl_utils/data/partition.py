"""Dividing rows among parts without tearing units (duplicate groups, patients): quotas and greedy filling."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def apportion(total: int, counts: Ints, least: int = 1) -> Ints:
    """Share `total` among strata in proportion to their sizes (largest remainders), never more than a stratum has.

    Args:
        total: how many to hand out; cut to `counts.sum()` when larger.
        counts: (C,) sizes of the strata.
        least: every non-empty stratum gets at least this many (or all it has), as long as `total` allows.

    Returns:
        (C,) quotas with sum `min(total, counts.sum())`.
    """
    counts = np.asarray(counts, dtype=np.int64)
    total = int(min(total, counts.sum()))
    floor = np.minimum(least, counts)
    while floor.sum() > total:
        floor[np.argmax(floor)] -= 1
    wanted = total * counts / max(counts.sum(), 1)
    quota = np.clip(np.floor(wanted).astype(np.int64), floor, counts)
    while quota.sum() < total:
        gap = np.where(quota < counts, wanted - quota, -np.inf)
        quota[np.argmax(gap)] += 1
    while quota.sum() > total:
        gap = np.where(quota > floor, quota - wanted, -np.inf)
        quota[np.argmax(gap)] -= 1
    return quota


def fill(order: Ints, weights: Ints, quota: int, at_most: int | None = None) -> Ints:
    """Take units in `order` whose weights fit into what is left of `quota`; a unit too heavy is passed over.

    Args:
        order: unit numbers in the order in which they are tried.
        weights: weight of every unit number (rows that it would bring).
        quota: sum of weights not to be exceeded.
        at_most: largest number of units taken.

    Returns:
        the unit numbers taken, in that order.
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
    """Number the connected components of n rows joined by the edges a[i] - b[i].

    Returns:
        (n,) int64 component numbers, 0 upwards in the order of each component's first row.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    a, b = np.asarray(a, dtype=np.int64), np.asarray(b, dtype=np.int64)
    graph = coo_array((np.ones(len(a), dtype=bool), (a, b)), shape=(n, n))
    _, label = connected_components(graph, directed=False)
    return number_by_first(label)


def number_by_first(values: npt.ArrayLike) -> Ints:
    """Renumber values 0, 1, 2 ... in the order in which they first appear."""
    _, first, inverse = np.unique(np.asarray(values), return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(len(first))
    return rank[inverse.ravel()]


def majority_label(units: Ints, labels: Ints) -> Ints:
    """Return the commonest label of each unit (the lowest of equals); `units` are numbered 0..U-1."""
    table = np.zeros((int(units.max(initial=-1)) + 1, int(labels.max(initial=0)) + 1), dtype=np.int64)
    np.add.at(table, (units, labels), 1)
    return table.argmax(axis=1)


def mixed_units(units: Ints, labels: Ints) -> npt.NDArray[np.bool_]:
    """Tell which units (numbered 0..U-1) hold more than one label."""
    n = int(units.max(initial=-1)) + 1
    low, high = np.full(n, np.iinfo(np.int64).max), np.full(n, -1, dtype=np.int64)
    np.minimum.at(low, units, labels)
    np.maximum.at(high, units, labels)
    return high > low


def joined_units(first: Ints, second: Ints) -> Ints:
    """Join rows that share a number in either array (numbered from 0); return the (N,) numbers of the joined units."""
    n, n_first = len(first), int(first.max(initial=-1)) + 1
    rows = np.arange(n)
    nodes = n + n_first + int(second.max(initial=-1)) + 1
    label = components(nodes, np.concatenate([rows, rows]), np.concatenate([n + first, n + n_first + second]))
    return number_by_first(label[:n])
