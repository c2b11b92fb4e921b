"""Parts of a split's labelled images: fewer labels for few-label studies, and a validation part for choices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.partition import apportion, fill, joined_units, majority_label
from brainssl_utils.data.splits.split import Split
from brainssl_utils.errors import CourseError


def independent_units(corpus: Corpus) -> npt.NDArray[np.int64]:
    """Number the units that are independent evidence, (N,): images of one patient, or of one copy-group, share a number.

    A patient who is not known joins nothing.
    """
    patient = corpus.table["patient"].fillna("").astype(str).to_numpy()
    owner = np.where(patient == "", [f"image {row}" for row in range(len(patient))], patient)
    return joined_units(corpus.table["group"].to_numpy(), owner)


def label_subset(split: Split, corpus: Corpus, n: int | float, seed: int = 0) -> npt.NDArray[np.int64]:
    """Choose `n` of the split's labelled images, stratified by class.

    Subsets with the same seed are nested: a smaller one lies inside every larger one. From as many images as there are
    classes on, each class has one. Different pictures come before further copies of the same one.

    Args:
        split: whose `train` part is drawn from.
        corpus: the one the split was made from.
        n: how many images (int), or which share of them (float in 0..1, rounded, at least one a class).
        seed: of the draw.

    Returns:
        (n,) sorted row numbers.

    Raises:
        CourseError: `n` is not positive or larger than the training part.
    """
    rows = split.train
    labels = corpus.labels[rows]
    if isinstance(n, (float, np.floating)):
        if not 0 < n <= 1:
            raise CourseError(f"label_subset: n={n} is a share and must lie in 0..1; give an int for a number.")
        n = min(max(round(float(n) * len(rows)), len(np.unique(labels))), len(rows))
    if not 1 <= n <= len(rows):
        raise CourseError(f"label_subset: n={n}, but the training part has {len(rows)} images: ask for 1 to so many.")
    drawn = corpus.table.loc[np.random.default_rng([seed, 3]).permutation(rows), ["label", "group"]]
    again = drawn.duplicated().sort_values(kind="stable")  # further copies behind the different pictures
    in_class = again.groupby(drawn["label"])
    rank, size = in_class.cumcount(), in_class.transform("size")
    # Sainte-Lague: taking rows by (rank + 1/2) / class size keeps every prefix in proportion, hence nested.
    # One of each class comes first, the largest class before the others.
    place = ((rank + 0.5) / size).where(rank > 0, -size)
    return np.sort(place.reindex(drawn.index).sort_values(kind="stable").index[:n].to_numpy())


def validation_part(split: Split, corpus: Corpus, seed: int = 0, fraction: float = 0.2) -> Split:
    """Move a share of the labelled images into `validation`, for choices that must not see the test set.

    No group of copies (and, in a patient split, no patient) lies on both sides, whatever the split.

    Args:
        split: to be divided; a validation part it already has goes back into `train` first.
        corpus: the one the split was made from.
        seed: of the draw.
        fraction: share of the labelled images, 0..1.

    Returns:
        a copy of the split with `train` and `validation` changed.

    Raises:
        CourseError: `fraction` is out of range, or the groups are too few to divide.
    """
    if not 0 < fraction < 1:
        raise CourseError(f"validation_part: fraction={fraction} must lie between 0 and 1.")
    rows = np.sort(np.concatenate([split.train, split.validation]))
    labels = corpus.labels[rows]
    units = pd.factorize(corpus.table["group"].to_numpy()[rows])[0]
    if split.info.get("parameters", {}).get("unit") == "patient":
        units = joined_units(units, corpus.table["patient"].astype(str).to_numpy()[rows])
    size, label = np.bincount(units), majority_label(units, labels)
    strata, counts = np.unique(labels, return_counts=True)
    shuffled = np.random.default_rng([seed, 4]).permutation(len(size))
    taken = []
    for stratum, quota in zip(strata, apportion(max(round(fraction * len(rows)), len(strata)), counts)):
        mine = shuffled[label[shuffled] == stratum]
        taken.append(fill(mine, size, int(quota), at_most=len(mine) // 2))
    inside = np.isin(units, np.concatenate(taken))
    if not inside.any():
        raise CourseError(
            f"validation_part: {len(rows)} labelled images in {len(size)} groups cannot be divided. Use a larger "
            "training part."
        )
    info = {**split.info, "validation": {"seed": seed, "fraction": fraction, "images": int(inside.sum())}}
    return replace(split, train=rows[~inside], validation=rows[inside], info=info)
