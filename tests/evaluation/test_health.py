"""What is measured of features: planted cases whose answer is known, and the formulas by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from brainssl_utils import metrics
from brainssl_utils.errors import CourseError
from brainssl_utils.evaluation.health import MEASURES, feature_measures
from brainssl_utils.evaluation.probes import knn_accuracy_apart


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_alignment_and_uniformity_are_the_formulas_pair_by_pair() -> None:
    h1, h2 = drawn(0, 6, 3), drawn(1, 6, 3)
    a, b = (h.numpy() / np.linalg.norm(h.numpy(), axis=1, keepdims=True) for h in (h1, h2))
    wanted = sum(sum((a[i] - b[i]) ** 2) for i in range(6)) / 6
    assert metrics.alignment(h1, h2) == pytest.approx(wanted, rel=1e-5)
    pairs = [math.exp(-2 * sum((a[i] - a[j]) ** 2)) for i in range(6) for j in range(i)]
    assert metrics.uniformity(h1) == pytest.approx(math.log(sum(pairs) / len(pairs)), rel=1e-5)
    assert feature_measures(h1, h2)["uniformity"] == pytest.approx(
        (metrics.uniformity(h1) + metrics.uniformity(h2)) / 2
    )


def test_alike_views_align_and_opposite_ones_lie_two_apart() -> None:
    h = drawn(0, 10, 4)
    assert metrics.alignment(h, 3 * h) == pytest.approx(0, abs=1e-6)
    assert metrics.alignment(h, -h) == pytest.approx(4, rel=1e-5)
    with pytest.raises(CourseError, match="one shape"):
        metrics.alignment(h, h[:5])
    with pytest.raises(CourseError, match="B >= 2"):
        metrics.uniformity(h[:1])


def test_random_features_are_spread_and_constant_ones_have_collapsed() -> None:
    spread = feature_measures(drawn(0, 300, 16), drawn(1, 300, 16))
    assert set(spread) == set(MEASURES)
    assert spread["feature_rank"] > 15.5 and spread["feature_deviation"] == pytest.approx(1, rel=0.03)
    assert spread["uniformity"] < -3 and spread["dead_share"] == 0

    point = torch.ones(20, 16) + 1e-4 * drawn(0, 20, 16)
    collapsed = feature_measures(point, point)
    assert collapsed["feature_rank"] < 1.1 and collapsed["feature_deviation"] < 1e-3
    assert collapsed["uniformity"] == pytest.approx(0, abs=1e-4) and collapsed["alignment"] == 0


def test_a_feature_counts_as_dead_when_both_views_have_it_constant() -> None:
    h1, h2 = drawn(0, 30, 8), drawn(1, 30, 8)
    h1[:, 2] = 0
    assert feature_measures(h1, h2)["dead_share"] == 0, "it lives in the other view"
    h2[:, 2] = 0
    assert feature_measures(h1, h2)["dead_share"] == 1 / 8


def test_features_that_are_no_numbers_have_no_measures() -> None:
    h = drawn(0, 4, 3)
    h[1, 1] = math.inf
    assert all(math.isnan(value) for value in feature_measures(h, h).values())


def test_neighbours_of_ones_own_patient_do_not_vote() -> None:
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(20), 4)
    y = patients % 2
    # Each patient lies by itself, anywhere: only who knows the patient knows the class.
    x = rng.normal(size=(20, 30))[patients] + 0.01 * rng.normal(size=(80, 30))
    itself, own = np.eye(80, dtype=bool), patients[:, None] == patients
    assert knn_accuracy_apart(x, y, x, y, itself) == 1
    assert knn_accuracy_apart(x, y, x, y, own) < 0.8

    x = x + 5 * np.eye(30)[y]
    assert knn_accuracy_apart(x, y, x, y, own) == 1, "classes that lie apart are told in any patient"
    fresh = 5 * np.eye(30)[[0, 1]]
    assert knn_accuracy_apart(x, y, fresh, np.array([0, 0]), np.zeros((2, 80), bool)) == 0.5
    with pytest.raises(CourseError, match="NaN"):
        knn_accuracy_apart(x * np.nan, y, x, y, own)


def test_features_all_alike_give_the_accuracy_of_one_answer() -> None:
    y = np.arange(40) % 4
    x = np.ones((40, 5))
    assert knn_accuracy_apart(x, y, x, y, np.eye(40, dtype=bool)) <= 0.5
