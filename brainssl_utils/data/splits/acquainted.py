"""Two splits that differ in whom they know: what it is worth to a model to have met the patients it is tested on.

Patients are dealt to two models, half to each. Of the images of each patient one half is for testing, and the other half is
learned from by the model that the patient belongs to. Both models are tested on the same images, so that each is answered by
a model that has met its patient and by one that has not; and every patient is tested both ways.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.splits.split import Split
from brainssl_utils.data.splits.subsets import independent_units
from brainssl_utils.errors import CourseError


def acquainted_splits(corpus: Corpus, seed: int = 0) -> tuple[Split, Split]:
    """Deal the patients to two models, each of which learns from half of the images of its own.

    Where a patient is not known, the copies of one picture stand for the patient: what is measured then is what copies are
    worth. Who has a single image cannot be both learned from and tested, and is left `unused`; so are images without class.

    Args:
        corpus: the images.
        seed: of the draw.

    Returns:
        two Splits named "acquainted", with the same test images (about half of those that take part) and different labelled
        ones (about a quarter each), nothing unlabelled.

    Raises:
        CourseError: there are not two patients with two images, of each class that has any.
    """
    rng = np.random.default_rng([seed, 6])
    table = pd.DataFrame({"row": np.arange(len(corpus)), "unit": independent_units(corpus), "label": corpus.labels})
    table = table[(table["label"] >= 0) & table["unit"].duplicated(keep=False)]
    table = table.iloc[rng.permutation(len(table))]
    # The odd image of a patient who has three goes to either half, as the draw has it.
    first = rng.integers(0, 2, len(corpus))
    learned = ((table.groupby("unit").cumcount() + first[table["unit"]]) % 2 == 0).to_numpy(dtype=bool)
    model = _dealt(table, rng)
    there = pd.crosstab(model[learned], table["label"].to_numpy()[learned])
    if there.shape != (2, len(np.unique(corpus.labels[corpus.labels >= 0]))) or not there.to_numpy().all():
        raise CourseError(
            f"corpus '{corpus.name}': to deal patients to two models takes two of each class with two images or more. Where "
            "patients are not known and pictures have no copies, nobody can be met twice."
        )
    rows = table["row"].to_numpy()
    return _split(corpus, seed, rows[learned & (model == 0)], rows[~learned]), _split(
        corpus, seed, rows[learned & (model == 1)], rows[~learned]
    )


def _dealt(table: pd.DataFrame, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return 0 or 1 for each row, the model of its patient: neighbours in class and size go to different models."""
    units = table.groupby("unit").agg(label=("label", "first"), size=("row", "size"))
    units = units.iloc[rng.permutation(len(units))].sort_values(["label", "size"], kind="stable")
    one = rng.integers(0, 2, (len(units) + 1) // 2)
    units["model"] = np.stack([one, 1 - one], axis=1).ravel()[: len(units)]
    return units["model"].reindex(table["unit"]).to_numpy(dtype=np.int64)


def _split(corpus: Corpus, seed: int, train: npt.NDArray[np.int64], test: npt.NDArray[np.int64]) -> Split:
    unused = np.setdiff1d(np.arange(len(corpus)), np.concatenate([train, test]))
    info = {"kind": "acquainted", "seed": seed, "parameters": {"unit": "patient or group"}, "deviations": []}
    none = np.empty(0, np.int64)
    return Split(train, none, test, unused=unused, info=info, fingerprint=corpus.fingerprint, name="acquainted")
