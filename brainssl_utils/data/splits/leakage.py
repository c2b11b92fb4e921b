"""How many test images have a copy among the images a model has seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.partition import components
from brainssl_utils.data.splits.split import Split

GROUP_THRESHOLD = 0.98  # at which a corpus is grouped when it is loaded


def leakage(corpus: Corpus, split: Split, thresholds: Sequence[float] = (0.98, 0.90)) -> pd.DataFrame:
    """Measure the share of test images that have a copy in the parts a model learns from.

    Two images are copies at 0.98 when they lie in one group. Below, they also count as copies when a link at least that
    strong joins their two groups, so 0.90 finds neighbouring slices of one patient without chaining from slice to
    slice. Above 0.98, groups are formed anew of the links that are strong enough.

    Args:
        corpus: the images with their links; links weaker than 0.90 are not kept, so lower thresholds find no more.
        split: any split of that corpus; a validation part counts as train.
        thresholds: correlations in 0..1.

    Returns:
        one row a (threshold, part), part being "train", "unlabeled" or "either"; columns threshold, part, test_images,
        with_copy, share.
    """
    a, b, value = (corpus.links[name].to_numpy() for name in ("a", "b", "value"))
    learned = {"train": np.concatenate([split.train, split.validation]), "unlabeled": split.unlabeled}
    learned["either"] = np.concatenate(list(learned.values()))
    records = []
    for threshold in thresholds:
        strong = value >= max(threshold, GROUP_THRESHOLD)
        again = threshold > GROUP_THRESHOLD
        group = components(len(corpus.table), a[strong], b[strong]) if again else corpus.table["group"].to_numpy()
        weak = (value >= threshold) & ~strong
        one, other = np.concatenate([group[a[weak]], group[b[weak]]]), np.concatenate([group[b[weak]], group[a[weak]]])
        for part, rows in learned.items():
            seen = group[rows]
            near = np.concatenate([seen, one[np.isin(other, seen)]])
            hits = int(np.isin(group[split.test], near).sum())
            records.append((threshold, part, len(split.test), hits, hits / max(len(split.test), 1)))
    return pd.DataFrame(records, columns=["threshold", "part", "test_images", "with_copy", "share"])
