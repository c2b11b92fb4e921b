"""What groups of copies say about a collection: labels that contradict each other, sources that share pictures, hashes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from brainssl_utils.checks import check_choice
from brainssl_utils.data.corpus import Corpus


def label_conflicts(corpus: Corpus) -> pd.DataFrame:
    """List the groups of copies whose members carry different labels.

    Returns:
        one row a group: group, rows (list of row numbers, for showing the pictures), ids, labels (class names), all
        three in the same order; sorted by group.
    """
    table = corpus.table
    mixed = table["label"].where(table["label"] >= 0).groupby(table["group"]).transform("nunique") > 1
    members = table.assign(rows=np.arange(len(table)))[mixed].groupby("group")
    columns = {"rows": "rows", "id": "ids", "class_name": "labels"}
    return members[list(columns)].agg(list).rename(columns=columns).reset_index()


def resolve_conflicts(corpus: Corpus, policy: str = "keep") -> Corpus:
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
    check_choice("policy", policy, ("keep", "drop", "majority"))
    table = corpus.table
    labelled = table[table["label"] >= 0]
    votes = pd.crosstab(labelled["group"], labelled["label"])
    mixed = (votes > 0).sum(axis=1) > 1
    if policy == "keep" or not mixed.any():
        return corpus
    if policy == "drop":
        stays = ~table["group"].isin(mixed.index[mixed])
    else:
        tied = votes.eq(votes.max(axis=1), axis=0).sum(axis=1) > 1
        stays = (table["label"] == table["group"].map(votes.idxmax(axis=1)[~tied])) | (table["label"] < 0)
    return corpus.subset(np.flatnonzero(stays))


def overlap_table(corpus: Corpus) -> pd.DataFrame:
    """Count, for each source (row), its images that have a copy in each source (column).

    A copy is another image of the same group; on the diagonal, another one of the same source. The table is not
    symmetric: one picture may have two copies in one source and one in the other.
    """
    counts = pd.crosstab(corpus.table["group"], corpus.table["source"])
    shared = counts.T.dot((counts > 0).astype(int)) - np.diag((counts == 1).sum())  # no image is a copy of itself
    return shared.rename_axis(index="images of", columns="copy in")


def hash_search(corpus: Corpus, bits: Sequence[int] = (0, 4, 10)) -> pd.DataFrame:
    """Compare what perceptual hashes alone would call copies with the groups of copies, all pairs of images at a time.

    Args:
        corpus: the images.
        bits: how many of a hash's 64 bits may differ.

    Returns:
        one row a number of bits: pairs found, how many of them lie in one group, how many images these pairs reach, and
        the number of images that have a copy.
    """
    hashes = np.array([int(text, 16) for text in corpus.table["phash"]], dtype=np.uint64)
    group = corpus.table["group"].to_numpy()
    copied = pd.Series(group).duplicated(keep=False).to_numpy()
    near = []
    for row, own in enumerate(hashes):
        distance = np.bitwise_count(hashes[row + 1 :] ^ own)
        found = np.flatnonzero(distance <= max(bits))
        near.append(np.stack([np.full_like(found, row), found + row + 1, distance[found]]))
    first, second, apart = np.concatenate(near, axis=1)
    together = group[first] == group[second]
    rows = {}
    for most in bits:
        right = together & (apart <= most)
        reached = np.isin(np.flatnonzero(copied), np.concatenate([first[right], second[right]]))
        rows[most] = {"pairs": (apart <= most).sum(), "in one group": right.sum(), "images reached": reached.sum()}
    return pd.DataFrame(rows).T.rename_axis("bits").assign(**{"images with a copy": copied.sum()})
