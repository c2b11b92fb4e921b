"""Writing a merged corpus in plain formats, for use outside the course."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from brainssl_utils.data.corpus import Corpus
from brainssl_utils.errors import CourseError
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
