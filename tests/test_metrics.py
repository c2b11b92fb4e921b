"""c_acc and r_acc against slow obvious versions, dead features."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from brainssl_utils import metrics
from brainssl_utils.errors import CourseError


def slow_contrastive(h1: torch.Tensor, h2: torch.Tensor) -> float:
    a, b = (h.double().numpy() for h in (h1, h2))
    cosine = np.array([[x @ y / (np.linalg.norm(x) * np.linalg.norm(y)) for y in b] for x in a])
    hits = [int(np.argmax(cosine[i]) == i) + int(np.argmax(cosine[:, i]) == i) for i in range(len(a))]
    return sum(hits) / (2 * len(a))


def slow_correlation(h1: torch.Tensor, h2: torch.Tensor) -> float:
    """Feature by feature with numpy's own correlation; a dead feature neither competes nor is ever right."""
    a, b = (h.double().numpy() for h in (h1, h2))
    width = a.shape[1]
    alive = [d for d in range(width) if np.ptp(a[:, d]) > 0 and np.ptp(b[:, d]) > 0]
    correlation = np.full((width, width), -np.inf)
    for i in alive:
        for j in alive:
            correlation[i, j] = np.corrcoef(a[:, i], b[:, j])[0, 1]
    hits = sum(int(np.argmax(correlation[i]) == i) + int(np.argmax(correlation[:, i]) == i) for i in alive)
    return hits / (2 * width)


def two_views(batch: int, width: int, seed: int, noise: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    h = torch.randn(batch, width, generator=generator)
    return h, h + noise * torch.randn(batch, width, generator=generator)


SHAPES = [(2, 5), (3, 1), (5, 2), (17, 33), (40, 12), (64, 31)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("noise", [0.0, 0.7, 3.0])
def test_contrastive_accuracy_equals_the_slow_version(shape: tuple[int, int], noise: float) -> None:
    for seed in range(3):
        h1, h2 = two_views(*shape, seed, noise)
        if shape[1] == 1:
            continue  # every cosine is +-1: ties, decided by rounding
        assert metrics.contrastive_accuracy(h1, h2) == pytest.approx(slow_contrastive(h1, h2))


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape[0] > 2])
@pytest.mark.parametrize("noise", [0.7, 3.0])
@pytest.mark.parametrize("block", [1, 40, metrics.BLOCK_ENTRIES])
def test_correlation_accuracy_equals_the_slow_version_at_any_block_size(
    shape: tuple[int, int], noise: float, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "BLOCK_ENTRIES", block)
    for seed in range(3):
        h1, h2 = two_views(*shape, seed, noise)
        assert metrics.correlation_accuracy(h1, h2) == pytest.approx(slow_correlation(h1, h2))


@pytest.mark.parametrize("block", [1, 60, metrics.BLOCK_ENTRIES])
def test_a_dead_feature_neither_competes_nor_is_right(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "BLOCK_ENTRIES", block)
    h1, h2 = two_views(30, 20, seed=1, noise=0.1)
    h1[:, 4], h2[:, 4] = 0.0, 0.0
    h1[:, 9] = 0.1  # dead in one view alone, at a value whose mean rounds
    assert metrics.correlation_accuracy(h1, h2) == pytest.approx(slow_correlation(h1, h2)) == 18 / 20
    assert metrics.dead_features(h1, h2) == 2
    assert metrics.dead_features(h1) == 2 and metrics.dead_features(h2) == 1


def test_all_features_dead_scores_nothing_and_a_collapse_scores_chance() -> None:
    dead = torch.ones(6, 4)
    assert metrics.correlation_accuracy(dead, dead) == 0.0
    assert metrics.dead_features(dead) == 4
    assert metrics.contrastive_accuracy(dead, dead) == 1 / 6
    same = torch.tensor([[0.0], [1.0], [4.0]]).repeat(1, 8)
    assert metrics.correlation_accuracy(same, same) == 1 / 8


@pytest.mark.parametrize("block", [1, 7, 10**6])
def test_of_equal_correlations_the_first_feature_wins(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "BLOCK_ENTRIES", block)
    h, _ = two_views(16, 6, seed=0)
    h = (h > 0).float()  # few distinct columns would do; make exact copies
    h = torch.cat([h, h[:, :3]], dim=1)
    expected = sum(2 * int(not any(torch.equal(h[:, i], h[:, k]) for k in range(i))) for i in range(h.shape[1]))
    assert metrics.correlation_accuracy(h, h) == pytest.approx(expected / (2 * h.shape[1]))


def test_one_dead_feature_of_128_gives_the_reference_exactly_one_in_128() -> None:
    h1, h2 = two_views(300, 128, seed=3, noise=0.2)
    assert metrics.reference_correlation_accuracy(h1, h2) == metrics.correlation_accuracy(h1, h2) == 1.0
    h1[:, 77], h2[:, 77] = 0.0, 0.0
    assert metrics.reference_correlation_accuracy(h1, h2) == 1 / 128
    assert round(100 * metrics.reference_correlation_accuracy(h1, h2), 2) == 0.78
    assert metrics.correlation_accuracy(h1, h2) == 127 / 128


def test_bfloat16_features_are_scored_in_float32() -> None:
    h1, h2 = two_views(48, 200, seed=5, noise=2.0)
    h1, h2 = h1.bfloat16(), h2.bfloat16()
    assert metrics.contrastive_accuracy(h1, h2) == metrics.contrastive_accuracy(h1.float(), h2.float())
    assert metrics.correlation_accuracy(h1, h2) == pytest.approx(slow_correlation(h1, h2))
    alone = metrics.contrastive_accuracy(h1, h2), metrics.correlation_accuracy(h1, h2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (metrics.contrastive_accuracy(h1, h2), metrics.correlation_accuracy(h1, h2)) == alone


def test_a_batch_of_two_and_extreme_scales_are_handled() -> None:
    h = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 2.0]])
    assert metrics.contrastive_accuracy(h, h) == 1.0
    # With two images every living feature is +-1: features 0 and 1 are opposites, feature 2 is dead.
    assert metrics.correlation_accuracy(h, h) == 2 / 3
    h1, h2 = two_views(20, 10, seed=0)
    scale = torch.logspace(-30, 30, 10)
    assert metrics.correlation_accuracy(h1 * scale, h2 * scale) == metrics.correlation_accuracy(h1, h2)


def test_scoring_some_cases_estimates_scoring_all() -> None:
    h1, h2 = two_views(24, 600, seed=2, noise=1.5)
    h1[:, :100] = 1.0
    full = metrics.correlation_accuracy(h1, h2)
    assert 0.2 < full < 0.7
    assert metrics.correlation_accuracy(h1, h2, cases=200) == pytest.approx(full, abs=0.08)
    assert metrics.correlation_accuracy(h1, h2, cases=600) == full


def test_of_some_cases_too_the_first_of_equal_correlations_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "BLOCK_ENTRIES", 7 * 120)
    draw = torch.Generator().manual_seed(0)
    h1 = torch.randint(-3, 4, (6, 40), generator=draw).float().repeat(1, 3)  # each feature is there three times
    rows = torch.arange(0, 120, 4)
    firsts = (h1.T @ h1)[rows].argmax(1)  # of whole numbers: equal products are equal to the last bit
    assert 0 < int((firsts == rows).sum()) < len(rows)
    assert metrics._count_rows(h1, h1, rows) == int((firsts == rows).sum())


def test_diverged_features_give_nan_not_a_score() -> None:
    h1, h2 = two_views(8, 4, seed=0)
    h1[3, 2] = float("inf")
    assert math.isnan(metrics.contrastive_accuracy(h1, h2))
    assert math.isnan(metrics.correlation_accuracy(h1, h2))


PAIR_METRICS = [metrics.contrastive_accuracy, metrics.correlation_accuracy, metrics.dead_features]


@pytest.mark.parametrize("function", PAIR_METRICS)
def test_wrong_shapes_are_refused(function: Callable[[torch.Tensor, torch.Tensor], float]) -> None:
    for h1, h2 in [
        (torch.ones(1, 4), torch.ones(1, 4)),
        (torch.ones(4, 4), torch.ones(4, 5)),
        (torch.ones(4), torch.ones(4)),
    ]:
        with pytest.raises(CourseError, match="shape"):
            function(h1, h2)
    with pytest.raises(CourseError, match="cases"):
        metrics.correlation_accuracy(torch.ones(2, 2), torch.ones(2, 2), cases=0)


def test_no_gradient_flows_and_inputs_are_left_alone() -> None:
    h1, h2 = (h.requires_grad_() for h in two_views(6, 5, seed=0))
    before = h1.detach().clone()
    metrics.correlation_accuracy(h1, h2)
    metrics.contrastive_accuracy(h1, h2)
    assert torch.equal(h1, before) and h1.grad is None


def test_feature_health_tells_a_collapse_from_a_spread() -> None:
    generator = torch.Generator().manual_seed(0)
    spread = torch.randn(2000, 16, generator=generator)
    health = metrics.feature_health(spread)
    assert health["dim"] == 16 and health["dead"] == 0
    assert 15.5 < health["rank"] <= 16
    assert health["std"] == pytest.approx(1 / 4, rel=0.02)
    singular = np.linalg.svd(spread.numpy(), compute_uv=False)
    share = singular / singular.sum()
    assert health["rank"] == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-5)

    line = torch.randn(50, 1, generator=generator) @ torch.randn(1, 30, generator=generator)
    assert metrics.feature_health(line)["rank"] == pytest.approx(1.0, abs=1e-3)
    constant = metrics.feature_health(torch.ones(10, 3))
    assert constant["dead"] == 3 and constant["std"] == pytest.approx(0, abs=1e-6)
    assert metrics.feature_health(np.zeros((4, 3), np.float32))["rank"] == 0
    with pytest.raises(CourseError, match="diverged"):
        metrics.feature_health(torch.full((3, 3), float("nan")))


def test_the_diagonals_share_counts_rows_and_columns() -> None:
    matrix = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.3, 0.6], [0.8, 0.5, 0.7]])  # row 0 is right, columns 0 and 2 are
    assert metrics.diagonal_share(matrix) == 3 / 6
    assert metrics.diagonal_share(torch.eye(4)) == 1 and metrics.diagonal_share(-torch.eye(4)) == 0


def test_cross_correlation_is_numpys_and_zero_without_variance() -> None:
    z1, z2 = torch.randn(2, 40, 5, generator=torch.Generator().manual_seed(1))
    wanted = torch.tensor(np.corrcoef(z1.T, z2.T)[:5, 5:], dtype=torch.float32)
    torch.testing.assert_close(metrics.cross_correlation(z1 * 3 + 2, z2), wanted, atol=1e-5, rtol=1e-4)
    z1[:, 2] = 7.0
    found = metrics.cross_correlation(z1, z2)
    assert (found[2] == 0).all() and found.isfinite().all()
