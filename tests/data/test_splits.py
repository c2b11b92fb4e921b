"""Splits keep what they promise, over random collections of groups and patients."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brainssl_utils import CourseError
from brainssl_utils.data.copies.linking import links_table
from brainssl_utils.data.corpus import Copies, Corpus
from brainssl_utils.data.partition import apportion, components, fill
from brainssl_utils.data.reading.sources import CLASSES
from brainssl_utils.data.splits.draw import default_split, grouped_split, paper_split, patient_split
from brainssl_utils.data.splits.leakage import leakage
from brainssl_utils.data.splits.named import make_split
from brainssl_utils.data.splits.second_project import CLASSES as SECOND_CLASSES
from brainssl_utils.data.splits.split import PARTS, Split
from brainssl_utils.data.splits.subsets import independent_units, label_subset, validation_part


def make_corpus(
    labels, groups=None, patients=None, folds=None, links=None, fingerprint="f" * 64, classes=CLASSES
) -> Corpus:
    labels = np.asarray(labels, dtype=np.int8)
    n = len(labels)
    table = pd.DataFrame(
        {
            "id": [f"s{i % 2}/{i}.png" for i in range(n)],
            "source": [f"s{i % 2}" for i in range(n)],
            "label": labels,
            "class_name": [classes[label] for label in labels],
            "patient": [""] * n if patients is None else patients,
        }
    )
    if folds is not None:
        table["fold"] = folds
    images = np.zeros((n, 1, 8, 8), dtype=np.uint8)
    marks = pd.DataFrame({"group": np.arange(n) if groups is None else groups})
    copies = Copies(marks, links_table() if links is None else links)
    return Corpus(images, table, pd.DataFrame(), fingerprint, "toy", copies, classes)


def random_corpus(seed: int, n: int = 600, patients: bool = False) -> Corpus:
    """Classes of unequal size; groups of very different sizes, some with mixed labels, one huge."""
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, int(n * rng.uniform(0.3, 1.5)), n)
    groups[rng.random(n) < rng.uniform(0, 0.1)] = 0
    label_of = rng.choice(4, 2 * n, p=rng.dirichlet([6, 6, 4, 6]))
    labels = np.where(rng.random(n) < 0.01, rng.integers(0, 4, n), label_of[groups])
    names = [f"p{g // 4}" if g % 7 else "" for g in groups] if patients else None
    return make_corpus(labels, groups, names)


def parts_of(split: Split) -> list[np.ndarray]:
    return [getattr(split, part) for part in PARTS]


def crossing(split: Split, key: np.ndarray) -> set:
    """Values of `key` that occur in more than one of the parts that are used."""
    seen = [set(key[getattr(split, part)]) for part in ("train", "validation", "unlabeled", "test")]
    return {value for i, a in enumerate(seen) for b in seen[i + 1 :] for value in a & b}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("make", [paper_split, grouped_split])
def test_every_row_is_in_exactly_one_part(make, seed: int) -> None:
    corpus = random_corpus(seed)
    rows = np.concatenate(parts_of(make(corpus, seed)))
    assert np.array_equal(np.sort(rows), np.arange(len(corpus)))
    assert all(part.dtype == np.int64 for part in parts_of(make(corpus, seed)))


def test_the_paper_split_has_the_papers_sizes() -> None:
    rng = np.random.default_rng(0)
    corpus = make_corpus(rng.choice(4, 7671, p=[0.28, 0.28, 0.17, 0.27]))
    split = paper_split(corpus)
    assert (len(split.train), len(split.unlabeled), len(split.test)) == (1235, 6128, 308)
    assert split.name == "as published" and not split.info["deviations"]


@pytest.mark.parametrize("make", [paper_split, grouped_split])
def test_classes_have_the_same_share_in_train_and_test(make) -> None:
    labels = np.repeat(np.arange(4), [900, 700, 300, 100])
    corpus = make_corpus(labels)
    split = make(corpus, 3, test=200, train=400)
    for part, size in ((split.test, 200), (split.train, 400)):
        assert np.abs(np.bincount(labels[part]) - size * np.bincount(labels) / len(labels)).max() <= 1


def test_small_collections_still_test_on_four_images_a_class() -> None:
    corpus = make_corpus(np.repeat(np.arange(4), [40, 30, 20, 10]))
    for make in (paper_split, grouped_split):
        assert np.bincount(corpus.labels[make(corpus).test]).min() >= 4


@pytest.mark.parametrize("seed", range(12))
def test_no_group_crosses_a_boundary(seed: int) -> None:
    corpus = random_corpus(seed)
    groups = corpus.table["group"].to_numpy()
    for one_per_group in (True, False):
        split = grouped_split(corpus, seed, one_per_group=one_per_group)
        assert not crossing(split, groups)
        assert not crossing(validation_part(split, corpus, seed), groups)
        test_groups = groups[split.test]
        if one_per_group:
            assert len(set(test_groups)) == len(test_groups)
            spare = np.isin(groups[split.unused], test_groups)
            assert spare.all()
        else:
            assert not len(split.unused)


@pytest.mark.parametrize("seed", range(6))
def test_groups_that_disagree_on_the_class_are_never_used_with_labels(seed: int) -> None:
    corpus = random_corpus(seed)
    split = grouped_split(corpus, seed)
    mixed = corpus.table.groupby("group")["label"].transform("nunique").to_numpy() > 1
    assert not mixed[np.concatenate([split.train, split.test])].any()


def test_sizes_asked_for_are_met_when_groups_are_small() -> None:
    rng = np.random.default_rng(1)
    groups = rng.integers(0, 900, 1500)
    corpus = make_corpus(groups % 4, groups)
    split = grouped_split(corpus, 0, test=120, train=300)
    assert (len(split.test), len(split.train)) == (120, 300)
    assert all("instead of" not in note for note in split.info["deviations"])


def test_deviations_name_the_class_and_the_numbers() -> None:
    groups = np.concatenate([np.arange(60), np.full(30, 100)])  # all images of class 3 are one picture
    corpus = make_corpus(np.repeat([0, 1, 2, 3], [20, 20, 20, 30]), groups)
    split = grouped_split(corpus)
    assert "test: 0 images of pituitary instead of 4." in split.info["deviations"]
    assert not (corpus.labels[split.test] == 3).any() and (corpus.labels[split.train] == 3).any()


def test_large_families_are_not_spent_on_one_test_image() -> None:
    groups = np.concatenate([np.repeat(np.arange(8), 30), np.arange(100, 400)])
    corpus = make_corpus(groups % 4, groups)
    for seed in range(5):
        split = grouped_split(corpus, seed)
        assert np.bincount(groups)[groups[split.test]].max() == 1
        assert not len(split.unused)


def test_same_seed_same_split_other_seed_other_split() -> None:
    corpus = random_corpus(0)
    for make in (paper_split, grouped_split):
        assert all(map(np.array_equal, parts_of(make(corpus, 5)), parts_of(make(corpus, 5))))
        assert not np.array_equal(make(corpus, 5).test, make(corpus, 6).test)


@pytest.mark.parametrize("make", [paper_split, grouped_split])
def test_classes_can_be_restricted_and_the_rest_limited(make) -> None:
    corpus = make_corpus(np.arange(4000) % 4)
    split = make(corpus, 0, test=490, train=123, classes=("glioma", "meningioma", "pituitary"), unlabeled=2000)
    assert (len(split.test), len(split.train), len(split.unlabeled), len(split.unused)) == (490, 123, 2000, 387)
    assert not (corpus.labels[np.concatenate(parts_of(split))] == 2).any()
    assert split.info["left_out"] == 1000


@pytest.mark.parametrize("seed", range(8))
def test_no_patient_and_no_group_crosses_in_a_patient_split(seed: int) -> None:
    corpus = random_corpus(seed, patients=True)
    patient = corpus.table["patient"].to_numpy()
    split = patient_split(corpus, seed)
    assert split.name == "patient"
    for used in (split, validation_part(split, corpus, seed)):
        assert not crossing(used, patient) and not crossing(used, corpus.table["group"].to_numpy())
    assert set(np.flatnonzero(patient == "")) <= set(split.unused)


def test_a_fold_is_tested_on_whole_and_its_copies_elsewhere_are_left_out() -> None:
    n = 200
    patients = [f"p{i // 5}" for i in range(n)]
    folds = np.array([(i // 5) % 5 + 1 for i in range(n)])
    groups = np.arange(n)
    groups[7] = groups[2]  # a picture of a fold-2 patient is also a fold-1 patient's
    split = patient_split(make_corpus(np.arange(n) // 5 % 2, groups, patients, folds), fold=1)
    assert np.array_equal(split.test, np.flatnonzero(folds == 1))
    assert set(split.unused) == {5, 6, 7, 8, 9}
    assert any("share a unit" in note for note in split.info["deviations"])


def test_patient_splits_say_what_is_missing() -> None:
    with pytest.raises(CourseError, match="no image of corpus 'toy' has a patient"):
        patient_split(make_corpus(np.arange(40) % 4))
    corpus = make_corpus(np.arange(40) % 4, patients=[f"p{i}" for i in range(40)])
    with pytest.raises(CourseError, match="no column 'fold'"):
        patient_split(corpus, fold=1)
    with pytest.raises(CourseError, match=r"has folds \[1, 2\]"):
        patient_split(make_corpus(np.arange(40) % 4, patients=["p"] * 40, folds=np.arange(40) % 2 + 1), fold=7)


def test_the_default_keeps_patients_apart_where_all_are_known_and_copies_where_none_is() -> None:
    everyone = make_corpus(np.tile([0, 1, 2, 3], 60), patients=[f"p{i // 4}" for i in range(240)])
    assert default_split(everyone, 3) == patient_split(everyone, 3)
    nobody = make_corpus(np.repeat(np.tile([0, 1, 2, 3], 30), 2), groups=np.arange(240) // 2)
    assert default_split(nobody, 3, train=40) == grouped_split(nobody, 3, train=40)
    assert make_split("default", nobody, 3) == grouped_split(nobody, 3)


@pytest.mark.parametrize("seed", range(5))
def test_where_some_patients_are_known_the_default_keeps_those_whole_and_uses_the_others_too(seed: int) -> None:
    corpus = random_corpus(seed, patients=True)
    split = default_split(corpus, seed)
    assert split.name == "known patients"
    units = independent_units(corpus)
    taught, tested = np.concatenate([split.train, split.unlabeled]), split.test
    assert not np.isin(units[tested], units[taught]).any()
    patient = corpus.table["patient"].to_numpy()
    assert (patient[split.train] == "").any()
    assert f"{(patient == '').sum()} images are of unknown patients" in split.info["deviations"][-1]


def test_images_without_a_class_stay_away_from_known_patients_who_are_tested() -> None:
    labels = np.tile([0, 1, 2, 3], 75)
    labels[200:] = -1
    patients = [f"p{i % 50}" if i % 3 else "" for i in range(300)]
    classes = [*CLASSES, ""]  # the name at place -1
    corpus = make_corpus(labels, patients=patients, classes=classes)
    corpus = replace(corpus, classes=CLASSES)
    split = default_split(corpus, 0)
    patient = corpus.table["patient"].to_numpy()
    free = split.unlabeled[corpus.labels[split.unlabeled] < 0]
    assert not np.isin(patient[free], np.setdiff1d(patient[np.r_[split.test, split.train]], [""])).any()
    assert (patient[free] == "").sum() == ((labels < 0) & (np.array(patients) == "")).sum()


def test_independent_units_join_copies_and_patients_and_leave_unknown_patients_alone() -> None:
    corpus = make_corpus([0] * 7, groups=[0, 0, 1, 2, 3, 4, 4], patients=["p", "q", "q", "", "", "r", ""])
    assert independent_units(corpus).tolist() == [0, 0, 0, 1, 2, 3, 3]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("make", [paper_split, grouped_split])
def test_label_subsets_are_nested_stratified_and_different_pictures_first(make, seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 5000, 7671)
    corpus = make_corpus(np.array([0, 0, 0, 1, 1, 1, 2, 3, 3, 3])[groups % 10], groups)
    split = make(corpus, seed)
    sizes = [1, 4, 5, 12, 40, 123, 500, len(split.train)]
    subsets = [label_subset(split, corpus, n, seed) for n in sizes]
    for n, smaller, larger in zip(sizes, subsets, subsets[1:]):
        assert len(smaller) == n and set(smaller) <= set(larger)
    assert np.array_equal(subsets[-1], split.train)
    whole = np.bincount(corpus.labels[split.train]) / len(split.train)
    for n, rows in zip(sizes[1:], subsets[1:]):
        counts = np.bincount(corpus.labels[rows], minlength=4)
        assert counts.min() >= 1
        assert np.abs(counts - n * whole).max() <= 2


def test_few_labels_are_spent_on_different_pictures() -> None:
    groups = np.arange(400) // 8  # 50 pictures, eight copies each
    corpus = make_corpus(groups % 4, groups)
    split = grouped_split(corpus, train=160)
    pictures = len(set(groups[split.train]))
    assert 15 < pictures < 25
    assert len(set(groups[label_subset(split, corpus, 12)])) == 12


def test_label_subset_takes_a_share_and_refuses_nonsense() -> None:
    corpus = make_corpus(np.arange(400) % 4)
    split = paper_split(corpus, train=100)
    assert len(label_subset(split, corpus, 0.25)) == 25
    assert len(label_subset(split, corpus, 0.001)) == 4
    for n in (0, -3, 101, 1.5, 0.0):
        with pytest.raises(CourseError, match="label_subset"):
            label_subset(split, corpus, n)


@pytest.mark.parametrize("seed", range(4))
def test_the_validation_part_comes_out_of_train_alone(seed: int) -> None:
    corpus = random_corpus(seed, n=900)
    split = grouped_split(corpus, seed)
    divided = validation_part(split, corpus, seed, 0.25)
    both = np.sort(np.concatenate([divided.train, divided.validation]))
    assert np.array_equal(both, split.train) and not len(split.validation)
    assert 0 < len(divided.validation) <= round(0.25 * len(split.train))
    assert np.array_equal(divided.test, split.test) and np.array_equal(divided.unlabeled, split.unlabeled)
    again = validation_part(divided, corpus, seed, 0.25)
    assert np.array_equal(again.validation, divided.validation)
    with pytest.raises(CourseError, match="fraction"):
        validation_part(split, corpus, fraction=1.0)


def test_counts_add_up_by_class_source_and_part() -> None:
    corpus = random_corpus(2)
    split = validation_part(grouped_split(corpus), corpus)
    counts = split.counts(corpus)
    assert counts["total"].sum() == len(corpus)
    for part in counts.columns.drop("total"):
        assert counts[part].sum() == len(getattr(split, part))
    mine = (corpus.table["class_name"] == "glioma") & (corpus.table["source"] == "s1")
    assert counts.loc[("glioma", "s1"), "test"] == mine.to_numpy()[split.test].sum()


@pytest.mark.parametrize("patients", [False, True])
def test_a_saved_split_loads_as_it_was(tmp_path: Path, patients: bool) -> None:
    corpus = random_corpus(3, patients=patients)
    made = patient_split(corpus, 4) if patients else grouped_split(corpus, 4, classes=["glioma", "meningioma"])
    split = validation_part(made, corpus, 1)
    loaded = Split.load(split.save(tmp_path / "deep" / "split.json"), corpus)
    assert all(map(np.array_equal, parts_of(loaded), parts_of(split)))
    assert (loaded.name, loaded.info, loaded.fingerprint) == (split.name, split.info, split.fingerprint)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["split.json"]


def test_splits_are_equal_by_content(tmp_path: Path) -> None:
    corpus = random_corpus(3)
    split, again, other = grouped_split(corpus, 4), grouped_split(corpus, 4), grouped_split(corpus, 5)
    loaded = Split.load(split.save(tmp_path / "split.json"), corpus)
    assert split == again == loaded and hash(split) == hash(again) == hash(loaded)
    assert split != other and split != "a split" and split.digest != other.digest
    assert split.digest == again.digest and len(split.digest) == 16
    for changed in ({"name": "as published"}, {"fingerprint": "0" * 64}, {"unused": split.unused[1:]}):
        assert replace(split, **changed) != split
    moved = replace(split, train=split.train[1:], validation=split.train[:1])
    assert moved != split and moved.digest != split.digest
    assert {split, again, loaded, other} == {split, other}
    assert {split: "kept"}[again] == "kept" and other not in {split: "kept"}


def test_a_splits_rows_cannot_be_written_to() -> None:
    mine = np.array([3, 1, 2])
    split = Split(train=mine, unlabeled=np.array([0]), test=np.array([4]))
    for rows in parts_of(split):
        with pytest.raises(ValueError, match="read-only"):
            rows[:] = 0
    mine[0] = 7
    assert split.train.tolist() == [1, 2, 3]


@pytest.mark.parametrize("each", [2.5, 3, 5, 8])
@pytest.mark.parametrize("make", [paper_split, grouped_split])
def test_sizes_nobody_asked_for_make_room_in_a_small_corpus(make, each: float) -> None:
    labels = np.arange(int(12 * each)) % 12
    names = tuple(f"type {number}" for number in range(12))
    corpus = make_corpus(labels, classes=names)
    split = make(corpus)
    assert min(len(split.train), len(split.test)) >= 12 and len(split.unlabeled)
    assert len(np.unique(labels[split.test])) == len(np.unique(labels[split.train])) == 12


def test_fewer_images_than_two_a_class_are_refused_with_the_number_needed() -> None:
    corpus = make_corpus(np.arange(24) % 12, classes=tuple(map(str, range(12))))
    with pytest.raises(CourseError, match="24 images are too few to split; at least 25 needed for 12 classes"):
        paper_split(corpus)


def test_a_split_of_another_corpus_is_refused(tmp_path: Path) -> None:
    path = grouped_split(random_corpus(0)).save(tmp_path / "split.json")
    other = make_corpus(np.arange(600) % 4, fingerprint="0" * 64)
    with pytest.raises(CourseError, match=r"made for another corpus.*ffffffffffff.*000000000000"):
        Split.load(path, other)


def test_a_file_that_is_no_split_is_refused(tmp_path: Path) -> None:
    corpus = random_corpus(0)
    with pytest.raises(CourseError, match="no split file"):
        Split.load(tmp_path / "missing.json", corpus)
    for content in ("not json", "[1, 2]", json.dumps({"format": "other"})):
        (tmp_path / "x.json").write_text(content)
        with pytest.raises(CourseError, match="not a split file"):
            Split.load(tmp_path / "x.json", corpus)


def test_hopeless_collections_are_refused_with_a_reason() -> None:
    with pytest.raises(CourseError, match="19 images are too few"):
        paper_split(make_corpus(np.arange(19) % 4))
    with pytest.raises(CourseError, match="largest holds 80"):
        grouped_split(make_corpus(np.arange(80) % 4, np.zeros(80, dtype=int)))
    for n, message in ((60, "all 60 images are of one class"), (19, "19 images are too few")):
        for make in (paper_split, grouped_split):
            with pytest.raises(CourseError, match=message):
                make(make_corpus(np.zeros(n, dtype=int)))
    corpus = make_corpus(np.arange(80) % 4)
    for make in (paper_split, grouped_split):
        with pytest.raises(CourseError, match="need more than the 80 images"):
            make(corpus, test=50, train=50)
        with pytest.raises(CourseError, match="test=2"):
            make(corpus, test=2)
        with pytest.raises(CourseError, match="give a list of names"):
            make(corpus, classes=["glioma", "sarcoma"])


def test_leakage_counts_test_images_with_a_copy_by_part_and_threshold() -> None:
    # 0-9 test, 10-59 train, 60-99 unlabelled. Test 0, 1 have copies in train, 2 in unlabelled; 3 is a near slice of 61,
    # and 4 of 5, which is in the test part itself; 6 has a copy in the test part alone.
    groups = np.arange(100)
    groups[[10, 11, 60, 7]] = groups[[0, 1, 2, 6]]
    edges = [(0, 10, 0.99), (1, 11, 1.0), (2, 60, 0.985), (3, 61, 0.93), (4, 5, 0.95), (6, 7, 0.99), (61, 62, 0.92)]
    a, b, value = zip(*edges)
    links = links_table(a, b).assign(value=value)
    corpus = make_corpus(np.arange(100) % 4, groups, links=links)
    rows = np.arange(100)
    split = Split(train=rows[10:60], unlabeled=rows[60:], test=rows[:10])
    table = leakage(corpus, split, (0.995, 0.98, 0.90)).set_index(["threshold", "part"])["with_copy"]
    assert table.to_dict() == {
        (0.995, "train"): 1, (0.995, "unlabeled"): 0, (0.995, "either"): 1,
        (0.98, "train"): 2, (0.98, "unlabeled"): 1, (0.98, "either"): 3,
        (0.90, "train"): 2, (0.90, "unlabeled"): 2, (0.90, "either"): 4,
    }  # fmt: skip
    assert leakage(corpus, split)["share"].tolist() == [0.2, 0.1, 0.3, 0.2, 0.2, 0.4]
    divided = Split(train=rows[20:60], validation=rows[10:20], unlabeled=rows[60:], test=rows[:10])
    assert leakage(corpus, divided).equals(leakage(corpus, split))  # what chose a model was seen as well


@pytest.mark.parametrize("seed", range(4))
def test_a_grouped_split_leaks_nothing_at_the_group_threshold(seed: int) -> None:
    corpus = random_corpus(seed)
    assert leakage(corpus, grouped_split(corpus, seed), (0.98,))["with_copy"].sum() == 0
    assert leakage(corpus, paper_split(corpus, seed), (0.98,))["with_copy"].sum() > 0


@pytest.mark.parametrize("seed", range(20))
def test_apportion_adds_up_and_stays_within_bounds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts, least = rng.integers(0, 60, rng.integers(1, 8)), int(rng.integers(0, 6))
    total = int(rng.integers(0, counts.sum() + 10))
    quota = apportion(total, counts, least)
    assert quota.sum() == min(total, counts.sum()) and (quota <= counts).all() and (quota >= 0).all()
    if np.minimum(least, counts).sum() <= total:
        assert (quota >= np.minimum(least, counts)).all()


def test_fill_never_exceeds_the_quota() -> None:
    weights = np.array([5, 1, 4, 2, 9])
    assert fill(np.arange(5), weights, 8).tolist() == [0, 1, 3]
    assert fill(np.arange(5), weights, 8, at_most=2).tolist() == [0, 1]


def test_components_are_numbered_by_their_first_row() -> None:
    assert components(6, [4, 5], [1, 4]).tolist() == [0, 1, 2, 3, 1, 1]


def test_splits_are_made_by_the_name_they_carry(phantoms: Corpus) -> None:
    for name, make in (("as published", paper_split), ("grouped", grouped_split), ("patient", patient_split)):
        split = make_split(name, phantoms, seed=3)
        assert split.name == name
        np.testing.assert_array_equal(split.test, make(phantoms, 3).test)
    np.testing.assert_array_equal(make_split("published", phantoms).test, make_split("as published", phantoms).test)
    with pytest.raises(CourseError, match="unknown split 'random'"):
        make_split("random", phantoms)


def test_labels_are_taken_away_by_their_copies_or_as_many_others() -> None:
    rng = np.random.default_rng(0)
    corpus = make_corpus(np.arange(400) % 4, groups=np.concatenate([rng.integers(0, 60, 120), 100 + np.arange(280)]))
    group = corpus.table["group"].to_numpy()
    whole, without, fewer = (make_split(name, corpus, 3) for name in ("published", "copies removed", "others removed"))
    leaks = np.isin(group[whole.train], group[whole.test])
    assert 0 < leaks.sum() < len(leaks)
    for split in (without, fewer):
        assert np.array_equal(split.test, whole.test) and np.array_equal(split.unlabeled, whole.unlabeled)
        assert len(split.train) == (~leaks).sum() and split.info["removed"] == leaks.sum()
    assert without.train.tolist() == whole.train[~leaks].tolist(), "the others stay"
    assert set(whole.train[leaks]) <= set(fewer.train), "copies stay, others go"
    assert set(fewer.unused) - set(whole.unused) == set(whole.train) - set(fewer.train)
    with pytest.raises(CourseError, match="nothing to compare"):
        make_split("copies removed", make_corpus(np.arange(400) % 4, groups=np.arange(400)))


def test_the_second_projects_split_has_its_sizes_and_its_shares_of_the_classes() -> None:
    corpus = make_corpus(np.random.default_rng(0).choice(4, 7671, p=[0.277, 0.281, 0.175, 0.267]))
    split, other = (make_split("second project", corpus, seed) for seed in (0, 1))
    assert [len(getattr(split, part)) for part in ("train", "unlabeled", "test")] == [1235, 2451, 490]
    assert set(np.concatenate(parts_of(split))) != set(np.concatenate(parts_of(other)))
    for rows in (split.train, split.test, np.concatenate(parts_of(split))):
        shares = [(corpus.labels[rows] == corpus.classes.index(name)).mean() for name in SECOND_CLASSES]
        assert shares == pytest.approx([1426 / 3064, 708 / 3064, 930 / 3064], abs=0.002)
    part = np.sort(np.concatenate(parts_of(split)))
    alone = paper_split(corpus.subset(part), 0, 490, 1235, SECOND_CLASSES, 2451)
    assert (part[alone.train] == split.train).all(), "as the split as published draws among these images alone"
    grouped = make_split("second project, grouped", corpus, 0)
    assert grouped == replace(grouped_split(corpus, 0, 490, 1235, True, SECOND_CLASSES, 2451), name=grouped.name)


def test_the_second_projects_split_of_fewer_images_keeps_its_proportions() -> None:
    corpus = make_corpus(np.arange(800) % 4)
    for name in ("second project", "second project, grouped"):
        split = make_split(name, corpus, 0)
        sizes = [len(split.train), len(split.unlabeled), len(split.test)]
        assert np.divide(sizes, sum(sizes)) == pytest.approx(np.divide([1235, 2451, 490], 4176), abs=0.01)
        assert split.name == name == split.info["kind"] and len(crossing(split, np.arange(800))) == 0
    with pytest.raises(CourseError, match=r"second project's shares.*too few"):
        make_split("second project", make_corpus(np.arange(36) % 4), 0)
    with pytest.raises(CourseError, match="give a list of names"):
        make_split("second project", make_corpus(np.arange(40) % 2, classes=("glioma", "no_tumor")), 0)
