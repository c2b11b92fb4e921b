"""The second project's split of its three tumour classes, and the same with copies kept together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.reading.sources import SOURCES
from brainssl_utils.data.splits.draw import check_divisible, eligible_rows, grouped_split, random_split
from brainssl_utils.data.splits.split import Rows, Split

CLASSES = ("glioma", "meningioma", "pituitary")
SIZES = {"train": 1235, "test": 490, "unlabeled": 2451}


def second_project_split(corpus: Corpus, seed: int = 0, by_group: bool = False) -> Split:
    """The second project's split: three tumour classes, 1235 labelled, 2451 unlabelled and 490 test images.

    The project drew slices of the figshare set. By slice, as many images are drawn first as have that set's shares of the
    classes (glioma 46.5 %, meningioma 23.1 %, pituitary 30.4 %), so that accuracies compare with the project's own; the
    others are in no part. By group, the images' own shares stay. Fewer images than these sizes need are divided in the
    same proportions.

    Args:
        corpus, seed: as in `paper_split`.
        by_group: keep groups of copies whole, as `grouped_split` does.

    Returns:
        a Split named "second project" or "second project, grouped".

    Raises:
        CourseError: the corpus lacks one of the classes, or as `paper_split` and `grouped_split`.
    """
    rows = eligible_rows(corpus, CLASSES)
    if by_group:
        sizes = _sizes(len(rows))
        split = grouped_split(
            corpus, seed, sizes["test"], sizes["train"], classes=CLASSES, unlabeled=sizes["unlabeled"]
        )
        name = "second project, grouped"
        return replace(split, name=name, info={**split.info, "kind": name})
    rows = _with_figshare_shares(corpus, seed)
    parameters = {**_sizes(len(rows)), "classes": CLASSES, "unit": "image"}
    return random_split(corpus, "second project", seed, parameters, rows)


def _sizes(n: int) -> dict[str, int]:
    """The sizes of the second project's parts, for `n` images in all."""
    share = min(1.0, n / sum(SIZES.values()))
    return {part: max(len(CLASSES), int(size * share)) for part, size in SIZES.items()}


def _with_figshare_shares(corpus: Corpus, seed: int) -> Rows:
    """Draw as many rows of the second project's classes as have the figshare set's shares of them."""
    wanted = np.array([SOURCES["figshare"].counts[title] for title in CLASSES])
    of_class = [np.flatnonzero(corpus.labels == corpus.classes.index(title)) for title in CLASSES]
    counts = np.floor(wanted * min(len(rows) / count for rows, count in zip(of_class, wanted))).astype(int)
    rng = np.random.default_rng(seed)
    rows = np.sort(np.concatenate([rng.choice(rows, n, replace=False) for rows, n in zip(of_class, counts)]))
    check_divisible(
        f"corpus '{corpus.name}', in the second project's shares", corpus.files["class_name"].iloc[rows].tolist()
    )
    return rows
