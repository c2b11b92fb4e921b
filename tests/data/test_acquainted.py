"""Two models that swap acquaintances: the same test images, each met by one of the two and by one alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from test_splits import make_corpus

from brainssl_utils import CourseError
from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.splits.acquainted import acquainted_splits
from brainssl_utils.data.splits.subsets import independent_units


def people(seed: int, n: int = 400) -> Corpus:
    """Patients of 1 to 9 images and one class each; every third image is a copy of the one before it."""
    rng = np.random.default_rng(seed)
    patient = np.sort(rng.integers(0, n // 4, n))
    copied = (np.arange(n) % 3 == 2) & (patient == np.roll(patient, 1))
    group = np.where(copied, np.arange(n) - 1, np.arange(n))
    return make_corpus(patient % 4, group, [f"p{number}" for number in patient])


@pytest.mark.parametrize("seed", range(4))
def test_every_test_image_is_met_by_one_model_and_by_one_alone(seed: int) -> None:
    corpus = people(seed)
    unit = independent_units(corpus)
    first, second = acquainted_splits(corpus, seed)
    assert np.array_equal(first.test, second.test) and not len(first.unlabeled)
    met = [np.isin(unit[part.test], unit[part.train]) for part in (first, second)]
    assert np.array_equal(met[0], ~met[1]) and 0.4 < met[0].mean() < 0.6
    assert not set(unit[first.train]) & set(unit[second.train])
    for part in (first, second):
        assert not set(part.train) & set(part.test)
        assert len(part.train) + len(part.test) + len(part.unused) == len(corpus)


def test_both_models_have_about_as_many_labels_of_each_class_and_who_has_one_image_is_left_out() -> None:
    corpus = people(1)
    first, second = acquainted_splits(corpus, 0)
    counts = [np.bincount(corpus.labels[part.train], minlength=4) for part in (first, second)]
    assert np.abs(counts[0] - counts[1]).max() <= 0.2 * counts[0].max() + 3
    single = pd.Series(independent_units(corpus)).groupby(independent_units(corpus)).transform("size") == 1
    assert single.any() and set(np.flatnonzero(single)) <= set(first.unused) & set(second.unused)


def test_the_seed_alone_fixes_the_draw() -> None:
    corpus = people(2)
    assert acquainted_splits(corpus, 5) == acquainted_splits(corpus, 5)
    assert acquainted_splits(corpus, 5) != acquainted_splits(corpus, 6)


def test_copies_stand_for_patients_who_are_not_known() -> None:
    corpus = make_corpus(np.repeat(np.arange(4), 50), np.repeat(np.arange(100), 2))
    first, second = acquainted_splits(corpus, 0)
    group = corpus.table["group"].to_numpy()
    assert len(first.test) == 100 and set(group[first.train]) | set(group[second.train]) == set(range(100))


@pytest.mark.parametrize(
    "corpus",
    [
        make_corpus(np.arange(40) % 4),  # no copies, no patients
        make_corpus(np.arange(40) % 4, [0, 1, 2, 3] * 2 + list(range(8, 40))),  # one patient a class with two images
        make_corpus(np.repeat([0, 1], 20), np.r_[np.repeat(np.arange(10), 2), np.arange(20, 40)]),  # a class without
    ],
)
def test_where_nobody_can_be_met_twice_a_sentence_says_so(corpus: Corpus) -> None:
    with pytest.raises(CourseError, match="takes two of each class"):
        acquainted_splits(corpus, 0)
