"""Frozen features, probes, the test report and the label curve."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as reference
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tiny import CLASSES, Holder, TinyCorpus, TinyEncoder, tiny_split

from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.splits.acquainted import acquainted_splits
from brainssl_utils.data.splits.draw import paper_split
from brainssl_utils.data.splits.subsets import independent_units, label_subset
from brainssl_utils.errors import CourseError
from brainssl_utils.evaluation import probes
from brainssl_utils.evaluation.baselines import Pixels, imagenet_features, random_encoder
from brainssl_utils.evaluation.features import FeatureBank, encode
from brainssl_utils.evaluation.fine_tuning import FineTuning, fine_tune
from brainssl_utils.evaluation.probes import knn_probe, linear_probe
from brainssl_utils.evaluation.protocol import acquainted_answers, evaluate, label_curve, pixel_knn, pixel_knn_by_copies
from brainssl_utils.evaluation.reports import accuracy_table, test_report


@pytest.fixture
def corpus() -> TinyCorpus:
    return TinyCorpus()


# Encoding ---------------------------------------------------------------------------------------------------------------


def test_encoding_is_the_encoders_evaluation_mode_output(corpus: TinyCorpus) -> None:
    model = Holder().train()
    model.encoder.conv.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    features = encode(model, corpus.images, batch_size=33)
    assert features.shape == (160, 32) and features.dtype == np.float32
    assert model.training and model.encoder.training and model.encoder.norm.training and not model.encoder.conv.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with torch.no_grad():
        direct = model.encoder.eval()(torch.from_numpy(corpus.images).float() / 255).numpy()
    np.testing.assert_allclose(features, direct, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(features, encode(model.encoder, torch.from_numpy(corpus.images)), rtol=1e-5, atol=1e-6)
    half = encode(model, corpus.images, precision="bfloat16")
    assert 0 < np.abs(half - features).max() < 0.05


def test_what_is_no_image_or_encoder_is_refused(corpus: TinyCorpus) -> None:
    for images in (corpus.images / 255, corpus.images[:, 0], corpus.images[:0]):
        with pytest.raises(CourseError, match="uint8 images"):
            encode(TinyEncoder(), images)
    with pytest.raises(CourseError, match="expected a trained method"):
        encode("simclr", corpus.images)
    with pytest.raises(CourseError, match="precision"):
        encode(TinyEncoder(), corpus.images, precision="half")
    with pytest.raises(CourseError, match="batch_size"):
        encode(TinyEncoder(), corpus.images, batch_size=0)


def test_a_bank_encodes_each_row_once_and_only_those_asked_for(corpus: TinyCorpus) -> None:
    encoder = TinyEncoder()
    bank = FeatureBank(encoder, corpus)
    np.testing.assert_allclose(bank.rows(np.array([5, 3, 5])), encode(encoder, corpus.images[[5, 3, 5]]), rtol=1e-5)
    encoder.seen = 0
    bank.rows(np.array([3, 5, 7]))
    assert encoder.seen == 1
    split = tiny_split(corpus)
    for kind in ("linear", "knn"):
        evaluate(bank, corpus, split, kind)
    assert encoder.seen == 1 + 80 - 3 + 60
    with pytest.raises(CourseError, match="another corpus"):
        evaluate(bank, TinyCorpus(seed=1), split)


def test_images_are_brought_to_the_encoders_size(corpus: TinyCorpus) -> None:
    assert FeatureBank(Pixels(), corpus).rows(np.arange(2)).shape == (2, 256)
    small = FeatureBank(Pixels(), corpus, image_size=8).rows(np.arange(2))
    np.testing.assert_allclose(small, corpus.resized(8)[:2].reshape(2, -1) / 255, rtol=1e-6)
    encoder = random_encoder("paper", image_size=8)
    assert FeatureBank(encoder, corpus).rows(np.arange(2)).shape == (2, encoder.out_dim)


# Probes -----------------------------------------------------------------------------------------------------------------


def blobs(n: int, width: int, seed: int, classes: int = 4, spread: float = 6.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, width))
    y = np.arange(n) % classes
    x = centres[y] + spread * rng.normal(size=(n, width))
    x *= np.random.default_rng(98).uniform(0.1, 10, width)
    x[:, 0] = 0.1  # a dead feature
    return x, y


def joined(x: np.ndarray, y: np.ndarray, vx: np.ndarray, vy: np.ndarray) -> tuple[np.ndarray, np.ndarray, list]:
    """A training and a validation part as one, with the fold that chooses on the second."""
    return np.concatenate([x, vx]), np.concatenate([y, vy]), [probes.holdout_fold(len(y), len(vy))]


@pytest.mark.parametrize("width", [7, 60, 700])
def test_the_linear_probe_equals_plain_logistic_regression(width: int) -> None:
    (x, y), (vx, vy), (tx, _) = (blobs(n, width, seed) for n, seed in ((60, 0), (40, 1), (200, 2)))
    labelled, codes, folds = joined(x, y, vx, vy)
    probe = linear_probe(labelled, codes, tx, folds)

    def plain(strength: float) -> Any:
        return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=5000, tol=1e-8))

    accuracy = {c: plain(c).fit(x, y).score(vx, vy) for c in probes.STRENGTHS}
    assert accuracy[probe.chosen["C"]] == pytest.approx(max(accuracy.values()))
    assert probe.validation_accuracy == pytest.approx(max(accuracy.values()))
    refitted = plain(probe.chosen["C"]).fit(labelled, codes)
    assert (probe.predictions == refitted.predict(tx)).mean() > 0.99


def test_rotation_keeps_every_score_of_a_penalised_model() -> None:
    (x, y), (tx, _) = blobs(50, 400, 0), blobs(80, 400, 1)
    inside, outside = probes.rotate(x, tx)
    assert inside.shape[1] <= 50
    scaler = StandardScaler().fit(x)
    whole = LogisticRegression(C=0.01, tol=1e-10, max_iter=5000).fit(scaler.transform(x), y)
    turned = LogisticRegression(C=0.01, tol=1e-10, max_iter=5000).fit(inside, y)
    expected = whole.predict_proba(scaler.transform(tx))
    np.testing.assert_allclose(turned.predict_proba(outside), expected, atol=1e-4)


def slow_knn(bank: np.ndarray, labels: np.ndarray, x: np.ndarray, k: int, temperature: float) -> np.ndarray:
    answers = []
    for row in x:
        similarity = [row @ other / (np.linalg.norm(row) * np.linalg.norm(other)) for other in bank]
        votes = np.zeros(4)
        for place in np.argsort(similarity)[::-1][:k]:
            votes[labels[place]] += np.exp(similarity[place] / temperature)
        answers.append(votes.argmax())
    return np.array(answers)


def test_knn_equals_a_slow_vote_with_the_settings_best_on_validation() -> None:
    (x, y), (vx, vy), (tx, _) = (blobs(n, 12, seed, spread=1.5) for n, seed in ((44, 0), (30, 1), (50, 2)))
    ks, temperatures = (1, 3, 9), (0.05, 0.3)
    labelled, codes, folds = joined(x, y, vx, vy)
    probe = knn_probe(labelled, codes, tx, folds, ks, temperatures)
    accuracy = {(k, t): (slow_knn(x, y, vx, k, t) == vy).mean() for k in ks for t in temperatures}
    chosen = int(probe.chosen["k"]), probe.chosen["temperature"]
    assert accuracy[chosen] == max(accuracy.values()) == probe.validation_accuracy
    expected = slow_knn(labelled, codes, tx, *chosen)
    assert (probe.predictions == expected).all()


def test_knn_takes_fewer_images_than_neighbours_and_classes_with_gaps() -> None:
    (x, y), (tx, ty) = blobs(6, 20, 0, classes=2, spread=0.1), blobs(10, 20, 1, classes=2, spread=0.1)
    probe = knn_probe(x, 3 * y, tx, neighbours=(200,))
    assert probe.chosen["k"] == 6 and set(probe.predictions) <= {0, 3}
    assert (knn_probe(x, 3 * y, tx).predictions == 3 * ty).all()
    single = knn_probe(x[:2], y[:2], tx)  # one image a class: nothing to choose with
    assert single.validation_accuracy is None and single.chosen["k"] == 1


def test_settings_are_chosen_on_labels_that_were_not_fitted() -> None:
    for n, expected in ((4, 0), (12, 3), (123, 5), (600, 1)):
        y = np.arange(n) % 4
        folds = probes.stratified_folds(y, seed=1)
        assert len(folds) == expected
        for fit, validate in folds:
            assert sorted([*fit, *validate]) == list(range(n)) and set(y[validate]) == set(range(4))
    y, groups = np.arange(120) % 4, np.arange(120) % 4 + 4 * (np.arange(120) // 12)  # ten groups a class, of three each
    for fit, validate in probes.stratified_folds(y, groups=groups):
        assert not set(groups[fit]) & set(groups[validate]) and set(y[validate]) == set(range(4))
    assert probes.stratified_folds(y, groups=y) == []


@pytest.mark.parametrize("probe", [linear_probe, knn_probe])
def test_probes_refuse_what_they_cannot_read(probe: Any) -> None:
    x, y = blobs(20, 5, 0)
    holed = np.where(x == x[0, 0], np.nan, x)
    for features, to_classify in ((holed, x), (x, holed)):
        with pytest.raises(CourseError, match="NaN or infinity"):
            probe(features, y, to_classify)
    for features, codes in ((x, y[:-1]), (x[:0], y[:0]), (x[:, 0], y)):
        with pytest.raises(CourseError, match="n labels"):
            probe(features, codes, x)
    with pytest.raises(CourseError, match="width"):
        probe(x, y, x[:, :3])
    with pytest.raises(CourseError, match="one class"):
        probe(x, 0 * y, x)


# Reports ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("width", [4, 4096])
@pytest.mark.parametrize("probe", [linear_probe, knn_probe])
def test_features_that_are_all_equal_are_read_at_chance(probe: Any, width: int, value: float) -> None:
    x, y = np.full((30, width), value, np.float32), np.arange(30) % 3
    answer = probe(x, y, np.full((9, width), value, np.float32)).predictions
    assert answer.shape == (9,) and len(np.unique(answer)) == 1
    odd = np.random.default_rng(0).normal(size=(9, width)).astype(np.float32)  # alive on the test images alone
    assert probe(x, y, odd).predictions.shape == (9,)


@pytest.mark.parametrize("width", [2, 50])
def test_a_fold_of_one_class_is_left_out_of_the_choice(width: int) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, width)).astype(np.float32), np.array([0, 0, 0, 1, 1, 1])
    one, both = (np.array([0, 1]), np.array([2, 3])), (np.array([0, 1, 3, 4]), np.array([2, 5]))
    assert linear_probe(x, y, x, [one, both]).validation_accuracy == linear_probe(x, y, x, [both]).validation_accuracy
    alone = linear_probe(x, y, x, [one])
    assert alone.validation_accuracy is None and alone.predictions.shape == (6,)
    assert knn_probe(x, y, x, [one]).predictions.shape == (6,)


@pytest.mark.parametrize("kind", ["linear", "knn"])
def test_copies_under_two_labels_among_four_can_be_read(kind: str, corpus: TinyCorpus) -> None:
    # Groups {0}, {1, 2}, {3} of the classes 0, 0 1, 1: whichever is held out, one class may be left to fit on.
    first, second = (np.flatnonzero(corpus.labels[:80] == label)[:2] for label in (0, 1))
    rows = np.concatenate([first, second])
    table = corpus.table
    table.loc[second[0], "group"] = table.loc[first[1], "group"]
    paired = SimpleNamespace(**vars(corpus), table=table, resized=corpus.resized)
    for seed in range(6):
        assert evaluate(Pixels(), paired, tiny_split(corpus), kind, rows, seed=seed)["labels"] == 4


def test_the_report_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth, answer = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
    report = test_report(truth, answer, CLASSES)
    assert report["n"] == 200 and report["correct"] == (truth == answer).sum()
    assert report["accuracy"] == reference.accuracy_score(truth, answer)
    assert report["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(truth, answer))
    assert report["macro_f1"] == pytest.approx(reference.f1_score(truth, answer, average="macro"))
    assert report["confusion"] == reference.confusion_matrix(truth, answer).tolist()
    assert list(report["recall"].values()) == pytest.approx(reference.recall_score(truth, answer, average=None))
    assert report["ci95"][0] < report["accuracy"] < report["ci95"][1]
    assert (report["truth"], report["predictions"]) == (truth.tolist(), answer.tolist())


def test_a_class_without_test_images_has_no_recall() -> None:
    report = test_report([0, 0, 1, 3], [0, 1, 1, 3], CLASSES)
    assert report["recall"] == {"glioma": 0.5, "meningioma": 1.0, "no_tumor": None, "pituitary": 1.0}
    assert report["balanced_accuracy"] == pytest.approx(2.5 / 3)
    assert report["macro_f1"] == pytest.approx(reference.f1_score([0, 0, 1, 3], [0, 1, 1, 3], average="macro"))
    for truth, answer in [([], []), ([0], [0, 1]), ([0], [4]), ([-1], [0])]:
        with pytest.raises(CourseError, match="test_report"):
            test_report(truth, answer, CLASSES)


@pytest.mark.parametrize("kind", ["linear", "knn"])
def test_no_label_is_read_but_those_given_and_the_tests(kind: str, corpus: TinyCorpus) -> None:
    split, labels = tiny_split(corpus, validation=16), np.arange(20, 44)
    report = evaluate(TinyEncoder(), corpus, split, kind, labels=labels)
    assert report["labels"] == 24 and report["n"] == 60 and report["kind"] == kind
    other = TinyCorpus()
    hidden = np.setdiff1d(np.arange(other.n), np.concatenate([labels, split.test]))
    other.labels[hidden] = 3 - other.labels[hidden]
    assert evaluate(TinyEncoder(), other, split, kind, labels=labels) == report
    # Shuffled test labels change the score alone, not what was chosen or predicted.
    other.labels[split.test] = np.roll(other.labels[split.test], 1)
    again = evaluate(TinyEncoder(), other, split, kind, labels=labels)
    assert again["chosen"] == report["chosen"]
    assert np.sum(again["confusion"], 0).tolist() == np.sum(report["confusion"], 0).tolist()


@pytest.mark.parametrize("kind", ["linear", "knn"])
def test_the_validation_part_chooses_and_then_joins_the_labels(kind: str, corpus: TinyCorpus) -> None:
    split = tiny_split(corpus, validation=20)
    bank = FeatureBank(TinyEncoder(), corpus)
    report = evaluate(bank, corpus, split, kind)
    function = linear_probe if kind == "linear" else knn_probe
    x, y, folds = joined(
        *(p for rows in (split.train, split.validation) for p in (bank.rows(rows), corpus.labels[rows]))
    )
    probe = function(x, y, bank.rows(split.test), folds)
    assert report["correct"] == (probe.predictions == corpus.labels[split.test]).sum()
    assert report["chosen"] == probe.chosen and report["labels"] == 80


@pytest.mark.parametrize("kind", ["linear", "knn"])
def test_labels_that_are_named_are_used_and_no_others(kind: str, corpus: TinyCorpus) -> None:
    """Until this rule, naming all of `split.train` brought in the validation part, and one row less did not."""
    split = tiny_split(corpus, validation=20)
    bank = FeatureBank(TinyEncoder(), corpus)
    reports = [evaluate(bank, corpus, split, kind, labels=split.train[skipped:]) for skipped in (0, 1)]
    assert [report["labels"] for report in reports] == [60, 59]
    without_validation = replace(split, validation=split.validation[:0])
    assert reports[0] == evaluate(bank, corpus, without_validation, kind)
    assert reports[0]["validation_accuracy"] == evaluate(bank, corpus, split, kind, split.train)["validation_accuracy"]
    assert reports[0] != evaluate(bank, corpus, split, kind)


def test_the_task_is_learned_and_pixels_are_a_baseline(corpus: TinyCorpus) -> None:
    split = tiny_split(corpus)
    assert evaluate(TinyEncoder(), corpus, split, "linear")["accuracy"] > 0.8
    assert pixel_knn(corpus, split)["accuracy"] > 0.5


def test_labels_from_the_test_part_and_other_slips_are_refused(corpus: TinyCorpus) -> None:
    split = tiny_split(corpus)
    for labels, reason in [
        (np.array([1, 120]), "test images"),
        (np.array([1, 1]), "different row numbers"),
        (np.array([1, 400]), "different row numbers"),
        (np.array([], np.int64), "empty"),
        (np.flatnonzero(corpus.labels[:80] == 2), "one class"),
    ]:
        with pytest.raises(CourseError, match=reason):
            evaluate(TinyEncoder(), corpus, split, labels=labels)
    with pytest.raises(CourseError, match="kind is 'svm'"):
        evaluate(TinyEncoder(), corpus, split, "svm")
    with pytest.raises(CourseError, match="another corpus"):
        evaluate(TinyEncoder(), corpus, replace(split, fingerprint="other"))


# The label curve --------------------------------------------------------------------------------------------------------


def test_the_curve_has_one_row_a_result_on_the_same_labels(corpus: TinyCorpus) -> None:
    split = tiny_split(corpus, validation=16)
    models = {"tiny": TinyEncoder(), "pixels": Pixels(), "by seed": [TinyEncoder(), Pixels()]}
    curve = label_curve(models, corpus, split, ns=(8, 40, 1235), seeds=(0, 1))
    assert len(curve) == 3 * 3 * 2 * 2
    assert sorted(curve["labels"].unique()) == [8, 40, 80]
    chosen = curve.set_index(["method", "kind", "labels", "seed"])["accuracy"]
    for kind in ("linear", "knn"):
        assert chosen["by seed", kind, 40, 0] == chosen["tiny", kind, 40, 0]
        assert chosen["by seed", kind, 40, 1] == chosen["pixels", kind, 40, 1]
    assert chosen.groupby("labels").mean().is_monotonic_increasing
    assert ((curve["lo"] <= curve["accuracy"]) & (curve["accuracy"] <= curve["hi"])).all()


def test_the_curve_fine_tunes_with_each_models_own_settings(corpus: TinyCorpus) -> None:
    split = tiny_split(corpus)
    frozen = FineTuning(steps=30, freeze="all", augmentation="none", learning_rate=0.02)
    free = replace(frozen, freeze="none", encoder_lr_factor=1.0)
    models = {"frozen": TinyEncoder(), "free": TinyEncoder()}
    curve = label_curve(
        models, corpus, split, ns=(40,), seeds=(3,), kinds=["fine_tune"], fine_tuning={"others": frozen, "free": free}
    )
    accuracy = curve.set_index("method")["accuracy"]
    assert set(curve["kind"]) == {"fine_tune"} and accuracy["frozen"] != accuracy["free"] and accuracy.min() > 0.3
    labels = label_subset(split, corpus, 40, seed=3)
    for name, settings in (("frozen", frozen), ("free", free)):
        assert (
            accuracy[name]
            == fine_tune(models[name], corpus, split, labels, replace(settings, seed=3)).report["accuracy"]
        )


def test_the_curve_refuses_unknown_names_before_it_computes(corpus: TinyCorpus) -> None:
    split = tiny_split(corpus)
    with pytest.raises(CourseError, match="svm"):
        label_curve({"a": TinyEncoder()}, corpus, split, kinds=["svm"])
    with pytest.raises(CourseError, match="not there: b"):
        label_curve({"a": TinyEncoder()}, corpus, split, fine_tuning={"a": FineTuning(), "b": FineTuning()})
    with pytest.raises(CourseError, match="no settings for b"):
        label_curve({"a": TinyEncoder(), "b": TinyEncoder()}, corpus, split, fine_tuning={"a": FineTuning()})
    with pytest.raises(CourseError, match="2 models for 3 seeds"):
        label_curve({"a": [TinyEncoder()] * 2}, corpus, split)


def test_what_copies_are_worth_is_asked_on_unchanged_test_images(phantoms: Corpus) -> None:
    table = pixel_knn_by_copies(phantoms, seed=0, seeds=1)
    split = paper_split(phantoms, 0)
    report = pixel_knn(phantoms, split, seed=0)
    assert list(table.index) == ["all labels", "copies removed", "others removed"]
    assert set(table["n"]) == {len(split.test)}
    assert table.loc["all labels", "correct"] == report["correct"]


def test_answers_are_sorted_by_whether_the_model_has_met_the_patient(phantoms: Corpus) -> None:
    dealt = acquainted_splits(phantoms, 0)
    table = acquainted_answers(Pixels(), phantoms, dealt, "knn")
    unit, group = independent_units(phantoms), phantoms.table["group"].to_numpy()
    assert table["row"].tolist() == dealt[0].test.tolist() and table["copy"].any()
    for model, part in enumerate(dealt):
        given = np.array(pixel_knn(phantoms, part)["predictions"])
        met = np.isin(unit[part.test], unit[part.train])
        assert (table.loc[met, "met"] == given[met]).all() and (table.loc[~met, "not met"] == given[~met]).all()
        assert (table.loc[met, "copy"] == np.isin(group[part.test][met], group[part.train])).all(), model
    with pytest.raises(CourseError, match="different images"):
        acquainted_answers(Pixels(), phantoms, (dealt[0], paper_split(phantoms, 0)), "knn")


def test_a_table_of_accuracies_is_in_percent() -> None:
    report = test_report([0, 1, 1, 0], [0, 1, 0, 0], ("a", "b"))
    row = accuracy_table({"mine": report}).loc["mine"]
    assert (row["correct"], row["n"], row["accuracy"]) == (3, 4, 75.0)
    assert [row["low"], row["high"]] == [100 * end for end in report["ci95"]]


# Baseline encoders ------------------------------------------------------------------------------------------------------


def test_a_random_encoder_depends_on_its_seed_alone() -> None:
    state = torch.random.get_rng_state()
    first, again, other = (random_encoder("reference", 16, seed) for seed in (0, 0, 1))
    assert torch.equal(state, torch.random.get_rng_state())
    pairs = list(zip(first.parameters(), again.parameters(), other.parameters()))
    assert all(torch.equal(a, b) for a, b, _ in pairs) and not all(torch.equal(a, c) for a, _, c in pairs)


def test_imagenet_features_come_from_disk_or_not_at_all(
    tmp_path: Path, corpus: TinyCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.models import resnet18

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(CourseError, match=r"resnet18-f37072fd\.pth"):
        imagenet_features(corpus.images)
    (tmp_path / "checkpoints").mkdir()
    path = tmp_path / "checkpoints" / "resnet18-f37072fd.pth"
    path.write_bytes(b"half a download")
    with pytest.raises(CourseError, match="does not hold"):
        imagenet_features(corpus.images)
    torch.save(resnet18(weights=None).state_dict(), path)
    features = imagenet_features(corpus.images[:3])
    assert features.shape == (3, 512) and np.isfinite(features).all()
