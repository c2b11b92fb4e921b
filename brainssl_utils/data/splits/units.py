"""Giving whole units (duplicate groups, patients) to the parts of a split, class by class."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from brainssl_utils.data.partition import Ints, apportion, fill, majority_label, mixed_units

TRAIN, UNLABELED, TEST, UNUSED = range(4)
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Wishes:
    """What a split asks for: rows of the parts (`unlabeled` None: all that remain), least test rows a class."""

    test: int
    train: int
    least: int = 1
    unlabeled: int | None = None
    one_per_picture: bool = True


@dataclass
class Division:
    """Rows on their way into parts; every method moves whole units and notes where a wish was not met.

    Attributes:
        rng: source of the draws.
        labels, units, picture: (N,) int64 class, unit (0..U-1) and duplicate group (0..G-1) of each row; a group lies
            inside one unit.
        class_names: for the notes.
        part: (N,) codes TRAIN, UNLABELED, TEST, UNUSED; all rows start unlabelled.
        notes: sentences on deviations from the wishes.
    """

    rng: np.random.Generator
    labels: Ints
    units: Ints
    picture: Ints
    class_names: tuple[str, ...]
    part: Ints = field(init=False)
    notes: list[str] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.part = np.full(len(self.labels), UNLABELED, dtype=np.int64)
        self.size = np.bincount(self.units)
        self.label = majority_label(self.units, self.labels)
        self.strata, self.in_stratum = np.unique(self.labels, return_counts=True)
        self.order = self.rng.permutation(len(self.size))
        self.taken = np.zeros(len(self.size), dtype=bool)
        # Copies that disagree on the class can neither teach nor test; without labels they do no harm.
        self.doubtful = np.zeros(len(self.size), dtype=bool)
        self.doubtful[self.units[mixed_units(self.picture, self.labels)[self.picture]]] = True
        if self.doubtful.any():
            rows = int(self.size[self.doubtful].sum())
            self.notes.append(f"{rows} images are not used with labels: copies in their units disagree on the class.")

    def draw(self, wishes: Wishes) -> None:
        """Choose the test units, then the training units."""
        counted = self._counted(wishes)
        weight = np.bincount(self.units, weights=counted, minlength=len(self.size)).astype(np.int64)
        quotas = apportion(wishes.test, self.in_stratum, wishes.least)
        chosen = np.zeros(len(self.size), dtype=bool)
        for stratum, quota, rows in zip(self.strata, quotas, self.in_stratum):
            mine = self._free(stratum)
            # A large family would lose all its images but one to a single test image.
            cheap = mine[(weight[mine] == self.size[mine]) | (self.size[mine] <= max(10, rows // 20))]
            # Of g units at most g // 2 are tested on, so that some are left to learn from.
            chosen[fill(cheap, weight, int(quota), at_most=len(mine) // 2)] = True
        self._move(chosen, UNUSED)
        self.part[chosen[self.units] & counted] = TEST
        extra = int((self.part == UNUSED).sum())
        if extra:
            self.notes.append(f"{extra} further copies of test images are left unused.")
        self._compare("test", TEST, quotas)
        self._draw_train(wishes)

    def fix_test(self, inside: Mask, wishes: Wishes) -> None:
        """Test on the rows `inside`, leave the rest of their units unused, then choose training units."""
        touched = np.zeros(len(self.size), dtype=bool)
        touched[self.units[inside]] = True
        self._move(touched, UNUSED)
        self.part[inside & self._counted(wishes, inside)] = TEST
        stray = int((touched[self.units] & ~inside).sum())
        if stray:
            self.notes.append(f"{stray} images outside the fold share a unit with it and are left unused.")
        extra = int((inside & (self.part == UNUSED)).sum())
        if extra:
            self.notes.append(f"{extra} further copies of test images are left unused.")
        self._draw_train(wishes)

    def limit_unlabeled(self, n: int) -> None:
        """Keep at most `n` unlabelled rows, in whole units; the others go unused."""
        units = np.zeros(len(self.size), dtype=bool)
        units[fill(self.order[~self.taken[self.order]], self.size, n)] = True
        self.part[(self.part == UNLABELED) & ~units[self.units]] = UNUSED

    def _draw_train(self, wishes: Wishes) -> None:
        quotas = apportion(wishes.train, self.in_stratum)
        chosen = np.zeros(len(self.size), dtype=bool)
        for stratum, quota in zip(self.strata, quotas):
            mine = self._free(stratum)
            units = fill(mine, self.size, int(quota))
            if not len(units) and len(mine):
                units = mine[[np.argmin(self.size[mine])]]  # rather too many labels of a class than none
            chosen[units] = True
        self._move(chosen, TRAIN)
        self._compare("train", TRAIN, quotas)
        if wishes.unlabeled is not None:
            self.limit_unlabeled(wishes.unlabeled)

    def _free(self, stratum: int) -> Ints:
        """Return the units of a class that may be used with labels and are in no part yet, in the drawn order."""
        usable = (self.label == stratum) & ~self.taken & ~self.doubtful
        return self.order[usable[self.order]]

    def _move(self, units: Mask, part: int) -> None:
        self.part[units[self.units]] = part
        self.taken |= units

    def _counted(self, wishes: Wishes, inside: Mask | None = None) -> Mask:
        """Mark the rows that would count as test images: one drawn row of each picture, or all."""
        if not wishes.one_per_picture:
            return np.ones(len(self.labels), dtype=bool)
        order = self.rng.permutation(len(self.labels))
        if inside is not None:
            order = order[inside[order]]
        _, first = np.unique(self.picture[order], return_index=True)
        marked = np.zeros(len(self.labels), dtype=bool)
        marked[order[first]] = True
        return marked

    def _compare(self, name: str, code: int, quotas: Ints) -> None:
        for stratum, quota in zip(self.strata, quotas):
            got = int((self.labels[self.part == code] == stratum).sum())
            if got != quota:
                self.notes.append(f"{name}: {got} images of {self.class_names[stratum]} instead of {quota}.")
