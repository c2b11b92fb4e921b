"""Readings beside random weights: the records' reports, the same probe and images for both, the shipped one where it fits."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from brainssl_utils import grouped_split
from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.splits.split import Split
from brainssl_utils.errors import CourseError
from brainssl_utils.evaluation.baselines import random_encoder
from brainssl_utils.evaluation.protocol import evaluate
from brainssl_utils.methods import make_method
from brainssl_utils.settings import PROFILES
from brainssl_utils.training import readings as module
from brainssl_utils.training.readings import read_runs
from brainssl_utils.training.reference import reference_for, ship
from brainssl_utils.training.run import Run
from brainssl_utils.training.trainer import fit

SHORT = dataclasses.replace(PROFILES["smoke"], epochs=1)


@pytest.fixture(scope="module")
def split(phantoms: Corpus) -> Split:
    return grouped_split(phantoms)


@pytest.fixture(scope="module")
def run(phantoms: Corpus, split: Split) -> Run:
    return fit(make_method("simclr", image_size=32), phantoms, split, SHORT, progress=False)


def test_a_run_stands_beside_random_weights_of_its_own_shape(run: Run, split: Split, phantoms: Corpus) -> None:
    read = read_runs({"fair": run}, {"fair": split}, phantoms, seed=3)
    table = read.scores.set_index(["reading", "model"])
    assert list(table.index) == [(r, m) for r in ("linear probe", "kNN") for m in ("trained", "random")]
    assert set(table["n"]) == {len(split.test)}
    for how, title in (("linear", "linear probe"), ("knn", "kNN")):
        trained, random = read.pairs[f"fair; {title}", "random weights"]
        assert trained == run.record["evaluations"][how]
        assert random == evaluate(random_encoder("paper", 32, 3), phantoms, split, how, seed=3)
        assert table.loc[(title, "random"), "accuracy"] == random["accuracy"]
        assert list(table.loc[(title, "trained"), ["lo", "hi"]]) == list(trained["ci95"])
    assert all(len(groups) == len(split.test) for groups in read.groups.values())
    assert read.chance["fair"] == max(np.bincount(phantoms.labels[split.test])) / len(split.test)


def test_a_shipped_encoder_stands_beside_them_where_one_fits(
    run: Run, split: Split, phantoms: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ship(run, tmp_path / "phantoms")
    monkeypatch.setattr(module, "reference_for", lambda *about: reference_for(*about, folder=tmp_path))
    other = grouped_split(phantoms, seed=1)
    elsewhere = dataclasses.replace(run)
    read = read_runs({"its split": run, "another": elsewhere}, {"its split": split, "another": other}, phantoms)
    shipped = read.scores[read.scores["model"] == "shipped"]
    assert set(shipped["setting"]) == {"its split"} and len(shipped) == 2
    assert len(read.pairs) == 4, "what is shipped is shown, and not part of the comparisons"


def test_what_cannot_be_read_is_refused(run: Run, split: Split, phantoms: Corpus) -> None:
    with pytest.raises(CourseError, match="splits has none for 'fair'; there are: grouped"):
        read_runs({"fair": run}, {"grouped": split}, phantoms)
    unread = dataclasses.replace(run, record={**run.record, "evaluations": {}})
    with pytest.raises(CourseError, match="not read by linear, knn"):
        read_runs({"fair": unread}, {"fair": split}, phantoms)
