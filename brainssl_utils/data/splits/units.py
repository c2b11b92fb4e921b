"""Giving whole units (groups of copies, patients) to the parts of a split, class by class."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from brainssl_utils.data.partition import Ints, apportion, fill, majority_label

Mask = npt.NDArray[np.bool_]


class Allocation:
    """Rows on their way into parts; whole units are moved, and notes say where a size could not be met.

    Args:
        rng: source of the draws.
        labels, units, group: (N,) int64 class, unit (0..U-1) and group of copies of each row; a group lies in one unit.
        class_names: for the notes.

    Attributes:
        part: (N,) name of the part of each row; all rows start as "unlabeled".
        notes: sentences on deviations from the sizes.
    """

    def __init__(self, rng: np.random.Generator, labels: Ints, units: Ints, group: Ints, class_names: tuple[str, ...]):
        self.rng, self.labels, self.units, self.group, self.class_names = rng, labels, units, group, class_names
        self.part = np.full(len(labels), "unlabeled")
        self.notes: list[str] = []
        self.size = np.bincount(units)
        self.label = majority_label(units, labels)
        self.strata, self.in_stratum = np.unique(labels, return_counts=True)
        self.order = rng.permutation(len(self.size))
        self.taken = np.zeros(len(self.size), dtype=bool)
        # Copies that disagree on the class can neither teach nor test; without labels they do no harm.
        mixed = pd.Series(labels).groupby(group).transform("nunique") > 1
        self.in_conflict = np.isin(np.arange(len(self.size)), units[mixed])
        if self.in_conflict.any():
            rows = self.size[self.in_conflict].sum()
            self.notes.append(f"{rows} images are not used with labels: copies in their units disagree on the class.")

    def run(
        self, test: int, train: int, unlabeled: int | None, least: int, one_per_group: bool, fold: Mask | None = None
    ) -> None:
        """Choose the test units, then the training units; sizes and `one_per_group` are as in `grouped_split`.

        Args:
            least: smallest number of test rows a class.
            fold: (N,) the rows to test on; the other rows of their units go unused. Default: units are drawn.
        """
        inside = np.ones(len(self.labels), dtype=bool) if fold is None else fold
        counted = self._counted(inside) if one_per_group else inside
        quotas = apportion(test, self.in_stratum, least)
        tested = np.unique(self.units[fold]) if fold is not None else self._test_units(counted, quotas)
        self._move(tested, "unused")
        self.part[np.isin(self.units, tested) & counted] = "test"
        unused = self.part == "unused"
        if stray := (unused & ~inside).sum():
            self.notes.append(f"{stray} images outside the fold share a unit with it and are left unused.")
        if extra := (unused & inside).sum():
            self.notes.append(f"{extra} further copies of test images are left unused.")
        if fold is None:
            self._compare("test", quotas)
        self._allocate_train(train)
        if unlabeled is not None:
            kept = fill(self.order[~self.taken[self.order]], self.size, unlabeled)
            self.part[(self.part == "unlabeled") & ~np.isin(self.units, kept)] = "unused"

    def _counted(self, inside: Mask) -> Mask:
        """Mark the rows that would count as test images: one drawn row of each group."""
        drawn = pd.Series(self.group)[self.rng.permutation(len(self.group))]
        return np.isin(np.arange(len(inside)), drawn[inside[drawn.index]].drop_duplicates().index)

    def _test_units(self, counted: Mask, quotas: Ints) -> Ints:
        weight = np.bincount(self.units, weights=counted).astype(np.int64)
        chosen = []
        for stratum, quota, rows in zip(self.strata, quotas, self.in_stratum):
            mine = self._free(stratum)
            # A large family would lose all its images but one to a single test image.
            cheap = mine[(weight[mine] == self.size[mine]) | (self.size[mine] <= max(10, rows // 20))]
            # Of g units at most g // 2 are tested on, so that some are left to learn from.
            chosen.append(fill(cheap, weight, int(quota), at_most=len(mine) // 2))
        return np.concatenate(chosen)

    def _allocate_train(self, n: int) -> None:
        quotas = apportion(n, self.in_stratum)
        for stratum, quota in zip(self.strata, quotas):
            mine = self._free(stratum)
            units = fill(mine, self.size, int(quota))
            if not len(units) and len(mine):
                units = mine[[np.argmin(self.size[mine])]]  # rather too many labels of a class than none
            self._move(units, "train")
        self._compare("train", quotas)

    def _free(self, stratum: int) -> Ints:
        """Return the units of a class that may be used with labels and are in no part yet, in the drawn order."""
        usable = (self.label == stratum) & ~self.taken & ~self.in_conflict
        return self.order[usable[self.order]]

    def _move(self, units: Ints, part: str) -> None:
        self.part[np.isin(self.units, units)] = part
        self.taken[units] = True

    def _compare(self, part: str, quotas: Ints) -> None:
        for stratum, quota in zip(self.strata, quotas):
            got = (self.labels[self.part == part] == stratum).sum()
            if got != quota:
                self.notes.append(f"{part}: {got} images of {self.class_names[stratum]} instead of {quota}.")
