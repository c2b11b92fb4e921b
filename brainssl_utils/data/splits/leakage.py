"""How many test images have a twin among the images a model has seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from brainssl_utils.data.partition import components, number_by_first

if TYPE_CHECKING:
    from brainssl_utils.data.corpus import Corpus
    from brainssl_utils.data.splits.split import Split

GROUP_THRESHOLD = 0.98  # at which a corpus is grouped when it is loaded


def leakage(corpus: Corpus, split: Split, thresholds: Sequence[float] = (0.98, 0.90)) -> pd.DataFrame:
    """Measure the share of test images that have a twin in the parts a model learns from.

    Two images are twins at 0.98 when they lie in one duplicate group. Below, they are also twins when a link at least
    that strong joins their two groups, so 0.90 finds neighbouring slices of one patient without chaining from slice to
    slice. Above 0.98, groups are formed anew of the links that are strong enough.

    Args:
        corpus: the images with their links; links weaker than 0.90 are not kept, so lower thresholds find no more.
        split: any split of that corpus; a validation part counts as train.
        thresholds: correlations in 0..1.

    Returns:
        one row a (threshold, part), part being "train", "unlabeled" or "either"; columns threshold, part, test_images,
        with_twin, share.
    """
    n, links = len(corpus.table), corpus.links
    a, b, value = (links[name].to_numpy() for name in ("a", "b", "value"))
    groups = number_by_first(corpus.table["group"].to_numpy())
    seen = np.zeros((n, 2), dtype=bool)
    seen[np.concatenate([split.train, split.validation]), 0] = True
    seen[split.unlabeled, 1] = True
    records = []
    for threshold in thresholds:
        strong = value >= max(threshold, GROUP_THRESHOLD)
        family = groups if threshold <= GROUP_THRESHOLD else components(n, a[strong], b[strong])
        has = np.zeros((int(family.max(initial=-1)) + 1, 2), dtype=bool)
        np.logical_or.at(has, family, seen)
        near = has.copy()
        weak = (value >= threshold) & ~strong
        for one, other in ((a[weak], b[weak]), (b[weak], a[weak])):
            np.logical_or.at(near, family[one], has[family[other]])
        found = near[family[split.test]]
        hits = {"train": found[:, 0].sum(), "unlabeled": found[:, 1].sum(), "either": found.any(axis=1).sum()}
        for part, hit in hits.items():
            records.append((threshold, part, len(found), int(hit), float(hit) / max(len(found), 1)))
    return pd.DataFrame(records, columns=["threshold", "part", "test_images", "with_twin", "share"])
