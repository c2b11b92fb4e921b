"""What duplicate groups say about a collection: labels that contradict each other, sources that share pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from brainssl_utils.data.partition import majority_label, mixed_units, number_by_first
from brainssl_utils.errors import CourseError

if TYPE_CHECKING:
    from brainssl_utils.data.corpus import Corpus

POLICIES = ("keep", "drop", "majority")


def label_conflicts(corpus: Corpus) -> pd.DataFrame:
    """List the duplicate groups whose members carry different labels.

    Returns:
        one row a group: group, rows (list of row numbers, for showing the pictures), ids, labels (class names), all
        three in the same order; sorted by group.
    """
    table = corpus.table
    mixed = table.groupby("group")["label"].transform("nunique") > 1
    members = table.assign(rows=np.arange(len(table)))[mixed].groupby("group")
    columns = {"rows": "rows", "id": "ids", "class_name": "labels"}
    return members[list(columns)].agg(list).rename(columns=columns).reset_index()


def resolve_conflicts(corpus: Corpus, policy: Literal["keep", "drop", "majority"] | str = "keep") -> Corpus:
    """Settle label conflicts by removing rows; labels are never rewritten.

    Args:
        corpus: the images.
        policy: "keep" changes nothing (splits leave such groups unlabelled); "drop" removes the groups in conflict;
            "majority" removes the members that differ from the label most members of their group carry, and the
            whole group at a tie.

    Returns:
        the corpus itself if nothing is removed, else `corpus.subset` of the rows that stay.

    Raises:
        CourseError: another policy.
    """
    if policy not in POLICIES:
        raise CourseError(f"policy={policy!r}: choose one of {', '.join(POLICIES)}.")
    units = number_by_first(corpus.table["group"].to_numpy())
    labels = np.asarray(corpus.labels, dtype=np.int64)
    mixed = mixed_units(units, labels)
    if policy == "keep" or not mixed.any():
        return corpus
    stays = ~mixed[units]
    if policy == "majority":
        votes = np.zeros((len(mixed), int(labels.max()) + 1), dtype=np.int64)
        np.add.at(votes, (units, labels), 1)
        tied = (votes == votes.max(axis=1, keepdims=True)).sum(axis=1) > 1
        stays |= (labels == majority_label(units, labels)[units]) & ~tied[units]
    return corpus.subset(np.flatnonzero(stays))


def overlap_table(corpus: Corpus) -> pd.DataFrame:
    """Count, for each source (row), its images that have a twin in each source (column).

    A twin is another image of the same duplicate group; on the diagonal, another one of the same source. The table is
    not symmetric: one picture may have two copies in one source and one in the other.
    """
    table = corpus.table
    counts = pd.crosstab(table["group"], table["source"])
    sources = list(counts.columns)
    others = counts.to_numpy()[:, None, :] - np.eye(len(sources), dtype=np.int64)
    shared = (counts.to_numpy()[:, :, None] * (others > 0)).sum(axis=0)
    return pd.DataFrame(shared, index=pd.Index(sources, name="images of"), columns=pd.Index(sources, name="twin in"))
