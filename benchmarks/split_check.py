"""What the grouped split promises, checked by another measure: plain correlation of every test image with all it is kept from.

    python benchmarks/split_check.py DATA [--seeds 1] [--threshold 0.98] [--out DIR]

`grouped_split` promises that no group of copies lies on two sides, and groups rest on candidates, an alignment and a
filter. Here nothing is left out: each test image is correlated, as it is and mirrored, at 96 pixels, with every image that
a model may see. Printed is each pair at or above the threshold, with what the search for copies made of it; a sheet of
their pictures is saved, for a number alone cannot tell a copy from another slice of one head.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from brainssl_utils import plots
from brainssl_utils.data.copies.search import pair_correlation
from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.loading import load_corpus
from brainssl_utils.data.splits.draw import grouped_split
from brainssl_utils.data.splits.split import Split


def unit_rows(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Images (N, H, W) as rows (N, H * W) of mean 0 and length 1: their products are correlations."""
    rows = images.reshape(len(images), -1).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


def close_pairs(corpus: Corpus, split: Split, threshold: float = 0.98) -> pd.DataFrame:
    """Pairs of a test image and one that is learned from whose plain correlation reaches `threshold`.

    Returns:
        one row a pair: test, seen (row numbers), part ("labelled" or "unlabelled"), plain, mirrored (the second fits
        better so), aligned (`pair_correlation`), linked (the search has a link of it), test_id, seen_id.
    """
    labelled = np.concatenate([split.train, split.validation])
    seen = np.concatenate([labelled, split.unlabeled])
    tested = unit_rows(corpus.images[split.test, 0])
    as_is = tested @ unit_rows(corpus.images[seen, 0]).T
    mirrored = tested @ unit_rows(corpus.images[seen, 0, :, ::-1]).T
    plain = np.maximum(as_is, mirrored)
    i, j = np.nonzero(plain >= threshold)
    test, other = split.test[i], seen[j]
    aligned = pair_correlation(corpus.images[test], corpus.images[other])[0] if len(i) else np.empty(0)
    links = set(zip(corpus.links["a"], corpus.links["b"]))
    ids = corpus.table["id"].to_numpy()
    return pd.DataFrame(
        {
            "test": test,
            "seen": other,
            "part": np.where(np.isin(other, labelled), "labelled", "unlabelled"),
            "plain": plain[i, j],
            "mirrored": mirrored[i, j] > as_is[i, j],
            "aligned": aligned,
            "linked": [(min(pair), max(pair)) in links for pair in zip(test, other)],
            "test_id": ids[test],
            "seen_id": ids[other],
        }
    )


def main() -> None:
    """Check, print the pairs of each seed, and save their pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help='folder with archives, or "phantoms"')
    parser.add_argument("--seeds", type=int, default=1, help="splits drawn with the seeds 0, 1, ...")
    parser.add_argument("--threshold", type=float, default=0.98)
    parser.add_argument("--out", type=Path, help="folder for the sheets of pictures")
    arguments = parser.parse_args()
    corpus = load_corpus(arguments.data)
    for seed in range(arguments.seeds):
        split = grouped_split(corpus, seed)
        pairs = close_pairs(corpus, split, arguments.threshold)
        near, n = pairs["test"].nunique(), len(split.test)
        print(f"seed {seed}: {near} of {n} test images have one at {arguments.threshold:g} or above among those seen")
        if len(pairs):
            print(pairs.to_string(index=False, float_format="{:.3f}".format))
        if len(pairs) and arguments.out:
            notes = [f"{row.plain:.3f}{', mirrored' if row.mirrored else ''}" for row in pairs.itertuples()]
            figure = plots.picture_pairs(corpus, pairs["test"][:24], pairs["seen"][:24], notes[:24], ("test", "seen"))
            plots.show(figure, "Plain correlation at 96 px.", arguments.out, f"split_check_seed{seed}")


if __name__ == "__main__":
    main()
