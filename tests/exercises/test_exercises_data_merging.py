"""Notebook 01's checkers say "not yet" to stubs, no to wrong answers and yes to right ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.splits.draw import paper_split
from brainssl_utils.data.splits.split import Split
from brainssl_utils.exercises.data_merging import check_patient_split, check_repaired_split

Rows = np.ndarray


def repair(train: Rows, unlabeled: Rows, test: Rows, group: Rows) -> tuple[Rows, Rows, Rows]:
    train = train[~np.isin(group[train], group[test])]
    taken = group[np.concatenate([test, train])]
    return train, unlabeled[~np.isin(group[unlabeled], taken)], test


def split_patients(patients: Rows, share: float, seed: int) -> tuple[Rows, Rows]:
    names, counts = np.unique(patients[patients != ""], return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    chosen = names[order][np.cumsum(counts[order]) <= share * counts.sum()]
    test = np.isin(patients, chosen)
    return np.flatnonzero(~test & (patients != "")), np.flatnonzero(test)


@pytest.fixture
def leaky(phantoms: Corpus) -> Split:
    return paper_split(phantoms, 0)


def says(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def test_stubs_are_not_yet(phantoms, leaky, capsys):
    stub = lambda *arguments: None  # noqa: E731
    assert not check_repaired_split(stub, phantoms, leaky)
    assert not check_patient_split(stub, phantoms)
    assert says(capsys).count("not yet") == 2


def test_solutions_are_correct(phantoms, leaky, capsys):
    assert check_repaired_split(repair, phantoms, leaky)
    assert check_patient_split(split_patients, phantoms)
    text = says(capsys)
    assert text.count("correct") == 2 and ", 0 % after" in text


def test_a_corpus_without_patients_is_checked_on_a_small_table(phantoms, capsys):
    nameless = replace(phantoms, files=phantoms.files.assign(patient=""))
    assert check_patient_split(split_patients, nameless)
    assert "names no patients" in says(capsys)
    assert not check_patient_split(lambda p, s, seed: (np.arange(4), np.arange(2)), nameless)


def keep_all(train, unlabeled, test, group):
    return train, unlabeled, test


def shrink_test(train, unlabeled, test, group):
    return train, unlabeled, test[~np.isin(group[test], group[np.concatenate([train, unlabeled])])]


def forget_unlabeled(train, unlabeled, test, group):
    return repair(train, unlabeled[:0], test, group)


def only_test_boundary(train, unlabeled, test, group):
    kept = (part[~np.isin(group[part], group[test])] for part in (train, unlabeled))
    return *kept, test


def invent(train, unlabeled, test, group):
    train, unlabeled, test = repair(train, unlabeled, test, group)
    return unlabeled, train, test


@pytest.mark.parametrize(
    "function, reason",
    [
        (keep_all, "still lie in both"),
        (shrink_test, "test part has changed"),
        (forget_unlabeled, "are gone"),
        (only_test_boundary, "both train and unlabeled"),
        (invent, "not in it before"),
        (lambda *parts: parts[:2], "return 3 arrays"),
    ],
)
def test_splits_not_repaired_are_told_why(phantoms, leaky, function, reason, capsys):
    assert not check_repaired_split(function, phantoms, leaky)
    assert reason in says(capsys)


def by_image(patients, share, seed):
    order = np.random.default_rng(seed).permutation(np.flatnonzero(patients != ""))
    cut = int(share * len(order))
    return order[cut:], order[:cut]


def unknown_is_a_patient(patients, share, seed):
    train, test = split_patients(patients, share, seed)
    return np.concatenate([train, np.flatnonzero(patients == "")]), test


@pytest.mark.parametrize(
    "function, reason",
    [
        (by_image, "in both parts"),
        (unknown_is_a_patient, "not known"),
        (lambda p, share, seed: split_patients(p, share / 4, seed), "were asked for"),
        (lambda p, share, seed: split_patients(p, share, 7), "another seed gives the same"),
        (lambda p, share, seed: (split_patients(p, share, seed)[0][3:], split_patients(p, share, seed)[1]), "neither"),
        (lambda p, share, seed: split_patients(p, share, int(np.random.randint(2**30))), "same seed"),
        (lambda p, share, seed: (p == "p1", p != "p1"), "row numbers"),
    ],
)
def test_wrong_patient_splits_are_told_why(phantoms, function, reason, capsys):
    assert not check_patient_split(function, phantoms)
    assert reason in says(capsys)
