"""One image of each group of copies in pre-training: which it is, that nothing else is lost, and that a key tells."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.splits.draw import grouped_split
from brainssl_utils.errors import CourseError
from brainssl_utils.methods import make_method
from brainssl_utils.settings import PROFILES
from brainssl_utils.training.batches import Batches
from brainssl_utils.training.run import load_run
from brainssl_utils.training.trainer import fit
from brainssl_utils.training.training import Training

SIZES = dataclasses.replace(PROFILES["smoke"], epochs=2, steps_per_epoch=None)


def grouped(corpus: Corpus, group: np.ndarray) -> Corpus:
    """The corpus with other groups of copies."""
    marks = pd.DataFrame({"phash": "", "group": group})
    return dataclasses.replace(corpus, copies=corpus._found._replace(marks=marks))


@pytest.fixture(scope="module")
def copied(phantoms: Corpus) -> Corpus:
    """The phantoms, in groups of three."""
    return grouped(phantoms, np.arange(len(phantoms)) // 3)


def training(corpus: Corpus, **changes: bool) -> Training:
    split = grouped_split(corpus, seed=0)
    method = make_method("simclr", image_size=SIZES.image_size, n_classes=len(corpus.classes), **changes)
    return Training(method, corpus, split, SIZES, 0, split.train)


def test_each_group_has_one_image_and_a_labelled_one_where_there_is_one(copied: Corpus) -> None:
    whole, one = training(copied), training(copied, one_per_group=True)
    groups = copied.table["group"].to_numpy()
    assert len(whole.pool) > len(one.pool) == len(np.unique(groups[whole.pool]))
    assert len(np.unique(groups[one.pool])) == len(one.pool)
    labelled = set(groups[whole.labels])
    kept = set(groups[np.intersect1d(one.pool, whole.labels)])
    assert kept == labelled


def test_the_pretext_task_sees_the_pool_alone_and_the_classifier_all_labels(copied: Corpus) -> None:
    whole, one = training(copied), training(copied, one_per_group=True)
    batches = {}
    for name, each in (("whole", whole), ("one", one)):
        batches[name] = Batches(each.method, each.data(), torch.tensor(each.split.unlabeled), SIZES)
    assert len(batches["whole"]) == len(batches["one"])
    seen = torch.cat([batch.rows for batch in batches["one"]])
    assert set(seen.tolist()) <= set(one.pool.tolist())
    labels = sum(len(batch.labels) for batch in batches["one"])
    assert labels == sum(len(batch.labels) for batch in batches["whole"])


def test_it_trains_is_kept_under_its_own_name_and_comes_back(copied: Corpus, tmp_path: Path) -> None:
    split = grouped_split(copied, seed=0)
    for name in ("nnclr", "twin_network"):
        method = make_method(name, image_size=32, one_per_group=True)
        run = fit(method, copied, split, SIZES, out=tmp_path, progress=False, probes=())
        assert run.record["tag"] == "one_per_group_True" and "rows.pool" in run.record["depends_on"]
        again = load_run(tmp_path, run.record)
        pd.testing.assert_series_equal(
            pd.Series(again.method.predict(torch.tensor(copied.resized(32)[:20])).tolist()),
            pd.Series(run.method.predict(torch.tensor(copied.resized(32)[:20])).tolist()),
        )
        if name == "nnclr":
            pool = len(training(copied, one_per_group=True).pool)
            assert len(run.method.queue.bank) == len(again.method.queue.bank) == round(pool / 10)
            assert torch.equal(run.method.queue.bank, again.method.queue.bank)


def test_unlabelled_images_that_are_all_copies_are_told(phantoms: Corpus) -> None:
    one = grouped(phantoms, np.zeros(len(phantoms), dtype=int))
    split = grouped_split(phantoms, seed=0)
    method = make_method("simclr", image_size=32, one_per_group=True)
    with pytest.raises(CourseError, match="one_per_group"):
        Training(method, one, split, SIZES, 0, split.train)


def test_a_method_with_a_queue_of_its_own_length_trains_twice_alike(phantoms: Corpus) -> None:
    split, method = grouped_split(phantoms, seed=0), make_method("nnclr", image_size=32)
    first = fit(method, phantoms, split, SIZES, progress=False, probes=()).record["history"]
    assert len(method.queue.bank) == round(0.1 * (len(split.unlabeled) + len(split.train)))
    second = fit(method, phantoms, split, SIZES, progress=False, probes=()).record["history"]
    assert [row["c_loss"] for row in first] == [row["c_loss"] for row in second]
