"""The split as published with fewer labels, to measure what copies among the labels are worth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.splits.draw import paper_split
from brainssl_utils.data.splits.split import Rows, Split
from brainssl_utils.errors import CourseError


def paper_split_less(corpus: Corpus, seed: int = 0, copies: bool = True) -> Split:
    """The split as published with fewer labels: without the copies of test images, or without as many others.

    Both test the same images as `paper_split` does, and differ from each other in nothing but the copies: what lies between
    two models trained on them is what the copies among the labels are worth. The unlabelled part stays as it is.

    Args:
        corpus, seed: as in `paper_split`.
        copies: take away the labelled images that have a copy among the test images; False takes as many of the others.

    Returns:
        a Split named "copies removed" or "others removed"; what was taken away is `unused`.

    Raises:
        CourseError: as `paper_split`, or nothing would be left.
    """
    split = paper_split(corpus, seed)
    copied, others = copied_and_others(corpus, split, seed)
    gone = copied if copies else others
    if not 0 < len(gone) < len(split.train):
        raise CourseError(
            f"corpus '{corpus.name}': {len(gone)} of {len(split.train)} labelled images would be removed, so there is "
            "nothing to compare: these splits need some copies, and labelled images without one."
        )
    name = "copies removed" if copies else "others removed"
    kept, unused = np.delete(split.train, gone), np.concatenate([split.unused, split.train[gone]])
    return replace(split, train=kept, unused=unused, name=name, info={**split.info, "kind": name, "removed": len(gone)})


def copied_and_others(corpus: Corpus, split: Split, seed: int = 0) -> tuple[Rows, Rows]:
    """Return places in `split.train`: of the images with a copy among the test images, and of as many others, drawn."""
    group = corpus.table["group"].to_numpy()
    copied = np.isin(group[split.train], group[split.test])
    return np.flatnonzero(copied), np.random.default_rng(seed).permutation(np.flatnonzero(~copied))[: copied.sum()]
