"""Split: the rows of a corpus, by the part they play."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from brainssl_utils.data.corpus import Corpus
from brainssl_utils.errors import CourseError
from brainssl_utils.files import write_json
from brainssl_utils.validity import digest

Rows = npt.NDArray[np.int64]
PARTS = ("train", "validation", "unlabeled", "test", "unused")
_FORMAT = "brainssl-split-1"


def _no_rows() -> Rows:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers of a corpus, by part; every array is sorted int64, read-only, and no row is in two of them.

    Two splits are equal when their parts, names and fingerprints are; `info` does not count.

    Attributes:
        train: labelled images to learn from.
        unlabeled: images whose labels are not used.
        test: images for the final score.
        validation: labelled images for choices, taken out of `train` by `validation_part`; else empty.
        unused: rows in no part: further copies of a test image, patients unknown, what exceeds a size asked for.
        info: how it was made: kind, seed, parameters, deviations (sentences; empty when all sizes were met).
        fingerprint: the corpus's, so that a saved split is never used with other rows.
        name: "as published", "grouped" or "patient".
    """

    train: Rows
    unlabeled: Rows
    test: Rows
    validation: Rows = field(default_factory=_no_rows)
    unused: Rows = field(default_factory=_no_rows)
    info: dict[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        for part in PARTS:
            rows = np.sort(np.asarray(getattr(self, part), dtype=np.int64))
            rows.flags.writeable = False
            object.__setattr__(self, part, rows)

    @property
    def digest(self) -> str:
        """16 hex digits that stand for the rows of all parts."""
        return digest(*(getattr(self, part) for part in PARTS))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Split) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[str, str, str]:
        return self.digest, self.name, self.fingerprint

    def __repr__(self) -> str:
        sizes = ", ".join(f"{part} {len(getattr(self, part))}" for part in PARTS if len(getattr(self, part)))
        return f"Split({self.name!r}: {sizes}; seed {self.info.get('seed')})"

    def counts(self, corpus: Corpus) -> pd.DataFrame:
        """Count images: one row a (class, source), one column a part that holds any, and their total."""
        part = pd.Series(index=corpus.table.index, dtype=object)
        for name in PARTS:
            part.iloc[getattr(self, name)] = name
        table = pd.crosstab([corpus.table["class_name"], corpus.table["source"]], part)
        table = table.reindex(columns=[name for name in PARTS if name in table.columns])
        return table.assign(total=table.sum(axis=1)).rename_axis(index=["class", "source"], columns="part")

    def save(self, path: str | Path) -> Path:
        """Write the split as a small JSON file, whole or not at all; return its path."""
        content = {"format": _FORMAT, "name": self.name, "fingerprint": self.fingerprint, "info": self.info}
        # One text a part instead of one line a number: a file of 7,671 rows stays at 40 kB and opens in any editor.
        rows = {part: " ".join(map(str, getattr(self, part).tolist())) for part in PARTS}
        return write_json(path, {**content, "rows": rows})

    @classmethod
    def load(cls, path: str | Path, corpus: Corpus) -> Split:
        """Read a saved split for the corpus it was made from.

        Raises:
            CourseError: there is no such file, it is not a split, or it belongs to another corpus.
        """
        path = Path(path)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["format"] != _FORMAT:
                raise KeyError("format")
            rows = {part: np.array(content["rows"][part].split(), dtype=np.int64) for part in PARTS}
            name, fingerprint, info = content["name"], content["fingerprint"], content["info"]
        except FileNotFoundError as error:
            raise CourseError(f"no split file at {path}. Make one with split.save({str(path)!r}).") from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CourseError(f"{path} is not a split file written by Split.save. Make it again.") from error
        if fingerprint != corpus.fingerprint:
            raise CourseError(
                f"{path} was made for another corpus ({fingerprint[:12]}, this one is {corpus.fingerprint[:12]}), and row "
                "numbers do not carry over: load the data it was made from, or make a new split."
            )
        return cls(**rows, info=info, fingerprint=fingerprint, name=name)
