"""Checkers of notebook 01: a split repaired, patients kept apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from brainssl_utils.data.splits.leakage import leakage
from brainssl_utils.exercises.base import Wrong, call, checker

if TYPE_CHECKING:
    from brainssl_utils.data.corpus import Corpus
    from brainssl_utils.data.splits.split import Split

Rows = npt.NDArray[np.int64]
_PARTS = ("train", "unlabeled", "test")
_TOLERANCE = 0.10  # of the images: how far the test part's size may lie from what was asked for


@checker
def check_repaired_split(function: Callable[..., Any], corpus: Corpus, split: Split) -> str:
    """Check `function(train, unlabeled, test, group)`: three arrays of rows such that no group lies in two of them.

    The test part must stay as it is, and no group outside it may be lost altogether. Tried on eight rows by hand, then
    on `split`, whose leakage is measured before and after.
    """
    group = np.array([0, 1, 0, 2, 1, 3, 2, 4])
    _check_repair(
        function, {"train": np.array([0, 3, 5]), "unlabeled": np.array([1, 4, 6]), "test": np.array([2, 7])}, group
    )
    before = {part: getattr(split, part) for part in _PARTS}
    after = _check_repair(function, before, corpus.table["group"].to_numpy(dtype=np.int64))
    repaired = replace(split, train=after["train"], unlabeled=after["unlabeled"], test=after["test"])
    shares = [_leak(corpus, version) for version in (split, repaired)]
    if shares[1] > 0:
        raise Wrong(f"leakage still finds a copy of {100 * shares[1]:.0f} % of the test images")
    sizes = ", ".join(f"{part} {len(before[part])} -> {len(after[part])}" for part in _PARTS)
    return f"test images with a copy: {100 * shares[0]:.0f} % before, {100 * shares[1]:.0f} % after ({sizes})"


@checker
def check_patient_split(function: Callable[..., Any], corpus: Corpus) -> str:
    """Check `function(patients, share, seed)`: row numbers (train, test) with about `share` of the images for testing.

    No patient may be on both sides, images whose patient is "" go nowhere, and the seed alone fixes the draw. Tried on
    a small table, then on the corpus's own patients where it has any.
    """
    rng = np.random.default_rng(5)
    small = np.array([f"p{number}" for number in rng.integers(0, 30, 120)] + [""] * 10)[rng.permutation(130)]
    _check_patients(function, small)
    own = corpus.table["patient"].fillna("").astype(str).to_numpy()
    if not (own != "").any():
        return "no patient is on both sides in the small table (this corpus names no patients)"
    test = _check_patients(function, own)
    return f"no patient is on both sides; {len(test)} test images of {len(np.unique(own[test]))} patients"


def _rows(answer: Any, names: tuple[str, ...]) -> list[Rows]:
    """Return the answer as arrays of different row numbers, one a name."""
    if not isinstance(answer, (tuple, list)) or len(answer) != len(names):
        raise Wrong(f"return {len(names)} arrays of row numbers: {', '.join(names)}")
    rows = []
    for part, values in zip(names, answer):
        try:
            array = np.asarray(values)
        except ValueError:  # lists of different lengths
            raise Wrong(f"{part}: expected a flat array of row numbers") from None
        if array.dtype == bool or array.ndim != 1 or (len(array) and not np.issubdtype(array.dtype, np.integer)):
            raise Wrong(f"{part}: expected a flat array of row numbers, got shape {array.shape}, {array.dtype}")
        if len(np.unique(array)) < len(array):
            raise Wrong(f"{part}: a row is in it twice")
        rows.append(array.astype(np.int64))
    return rows


def _check_repair(function: Callable[..., Any], before: dict[str, Rows], group: Rows) -> dict[str, Rows]:
    answer = call(function, *(before[part].copy() for part in _PARTS), group.copy())
    after = dict(zip(_PARTS, _rows(answer, _PARTS)))
    if not np.array_equal(np.sort(after["test"]), np.sort(before["test"])):
        raise Wrong(
            "the test part has changed: mend the other two, so that old and new results have the same test images"
        )
    for part in ("train", "unlabeled"):
        if len(new := np.setdiff1d(after[part], before[part])):
            raise Wrong(f"{part} has rows that were not in it before, such as {new[0]}")
    for one, other in combinations(_PARTS, 2):
        shared = np.intersect1d(group[after[one]], group[after[other]])
        if len(shared):
            raise Wrong(f"{len(shared)} groups still lie in both {one} and {other}, such as group {shared[0]}")
    seen = [np.concatenate([version["train"], version["unlabeled"]]) for version in (before, after)]
    lost = np.setdiff1d(group[seen[0]], np.concatenate([group[seen[1]], group[before["test"]]]))
    if len(lost):
        raise Wrong(f"{len(lost)} groups that share nothing with the test part are gone, such as group {lost[0]}")
    return after


def _leak(corpus: Corpus, split: Split) -> float:
    table = leakage(corpus, split, (0.98,))
    return float(table.loc[table["part"] == "either", "share"].iloc[0])


def _check_patients(function: Callable[..., Any], patients: npt.NDArray[Any], share: float = 0.2) -> Rows:
    train, test = _rows(call(function, patients.copy(), share, 0), ("train", "test"))
    both = np.concatenate([train, test])
    if len(both) and (both.min() < 0 or both.max() >= len(patients)):
        raise Wrong(f"row numbers must lie in 0..{len(patients) - 1}")
    if len(shared := np.intersect1d(patients[train], patients[test])):
        raise Wrong(f"{len(shared)} patients are in both parts, such as '{shared[0]}'")
    if (patients[both] == "").any():
        raise Wrong("an image whose patient is not known ('') is in a part: it could be anyone's, so leave it out")
    known = np.flatnonzero(patients != "")
    if len(both) < len(known):
        raise Wrong(f"{len(known) - len(both)} images of known patients are in neither part")
    largest = np.unique(patients[known], return_counts=True)[1].max()
    wanted, room = share * len(known), max(float(largest), _TOLERANCE * len(known))
    if abs(len(test) - wanted) > room:
        raise Wrong(f"the test part has {len(test)} images; about {wanted:.0f} were asked for (share={share})")
    again, other = (_rows(call(function, patients.copy(), share, seed), ("train", "test"))[1] for seed in (0, 1))
    if set(again) != set(test):
        raise Wrong("the same seed gives another split the second time: draw from np.random.default_rng(seed)")
    if set(other) == set(test):
        raise Wrong("another seed gives the same split: shuffle the patients before dividing them")
    return test
