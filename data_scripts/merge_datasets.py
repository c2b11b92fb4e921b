"""Merge a folder of archives into one .npz and one .csv: python data_scripts/merge_datasets.py DATA --out merged"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.loading import load_corpus
from brainssl_utils.errors import CourseError, exit_code
from brainssl_utils.files import atomic_path


def export_corpus(corpus: Corpus, path: str | Path) -> tuple[Path, Path]:
    """Write `PATH.npz` (images (N, 1, S, S) uint8, labels (N,) int64, group (N,) int64, classes) and `PATH.csv` (the table).

    Raises:
        CourseError: the folder cannot be written.
    """
    stem = Path(path)
    arrays, table = stem.with_name(stem.name + ".npz"), stem.with_name(stem.name + ".csv")
    try:
        with atomic_path(arrays) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(
                file,
                images=corpus.images,
                labels=corpus.labels,
                group=corpus.table["group"].to_numpy(),
                classes=np.array(corpus.classes),
            )
        with atomic_path(table) as temporary:
            corpus.table.to_csv(temporary, index=False, lineterminator="\n", errors="surrogateescape")
    except OSError as error:
        raise CourseError(f"cannot write {arrays} and {table}: {error.strerror or error}.") from error
    return arrays, table


def main() -> None:
    """Read the arguments, load, write, print the counts and what was odd."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help='folder with archives or class folders, one zip, or "phantoms"')
    parser.add_argument("--out", default="merged", help="path without ending of the .npz and .csv (default: merged)")
    parser.add_argument("--image-size", type=int, default=96, help="side of the square images in px (default: 96)")
    arguments = parser.parse_args()
    corpus = load_corpus(arguments.data, image_size=arguments.image_size)
    written = export_corpus(corpus, arguments.out)
    print(corpus.summary().to_string())
    if len(corpus.problems):
        print(f"\nremarks:\n{corpus.problems.to_string(index=False)}")
    print(f"\nwritten: {', '.join(str(path) for path in written)}")


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
