"""A lesion in views and under an encoder's eye: shares that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from brainssl_utils.errors import CourseError
from brainssl_utils.evaluation.lesions import head_masks, lesion_kept, occlusion_maps, share_on
from brainssl_utils.views import make_views

SIZE = 24


def masks(*corners: tuple[int, int], side: int = 4) -> np.ndarray:
    """Squares of `side` pixels with these upper left corners, a mask each."""
    made = np.zeros((len(corners), SIZE, SIZE), bool)
    for mask, (row, column) in zip(made, corners):
        mask[row : row + side, column : column + side] = True
    return made


class Corner(nn.Module):
    """Its features are the mean of the picture's upper left quarter, beside a constant."""

    def forward(self, images: Tensor) -> Tensor:
        mean = images[..., : SIZE // 2, : SIZE // 2].mean((1, 2, 3))
        return torch.stack([mean, torch.full_like(mean, 0.5)], 1)


def test_a_view_that_crops_nothing_keeps_every_lesion() -> None:
    for preset in ("none", "paper"):
        kept = lesion_kept(make_views(preset, SIZE), masks((0, 0), (10, 10), (20, 20)), draws=3)
        assert kept.shape == (3, 3) and (kept == 1).all()


def test_crops_lose_what_lies_at_the_edge_more_often_and_tighter_crops_more_of_it() -> None:
    lesions = masks((0, 0), (10, 10))
    mean = {area: lesion_kept(make_views("none", SIZE, area=(area, area)), lesions, 200).mean(0) for area in (0.3, 0.7)}
    assert mean[0.3][0] < mean[0.7][0] < 1
    assert all(edge < middle for edge, middle in mean.values())
    kept = lesion_kept(make_views("none", SIZE, area=(0.3, 0.3)), lesions, 200)
    assert kept.min() == 0 and kept.max() == 1 and len(np.unique(kept)) > 2, "lost, whole, and cut through"


def test_kept_shares_are_those_of_the_crops_area() -> None:
    """The whole picture as the lesion: what is left of it is the crop."""
    kept = lesion_kept(make_views("none", SIZE, area=(0.25, 0.25)), np.ones((1, SIZE, SIZE), bool), 100)
    assert kept.mean() == pytest.approx(0.29, abs=0.05), "a quarter, and pixels that the crop's edge cuts through"


def test_the_seed_fixes_the_draws() -> None:
    views, lesions = make_views("contrastive", SIZE), masks((0, 0))
    np.testing.assert_array_equal(lesion_kept(views, lesions, 5, seed=1), lesion_kept(views, lesions, 5, seed=1))
    assert (lesion_kept(views, lesions, 20, seed=1) != lesion_kept(views, lesions, 20, seed=2)).any()


def test_the_head_is_the_tissue_with_what_it_encloses() -> None:
    ring = np.zeros((1, 1, SIZE, SIZE), np.uint8)
    ring[..., 4:20, 4:20] = 200
    ring[..., 8:12, 8:12] = 0
    expected = np.zeros((1, SIZE, SIZE), bool)
    expected[:, 4:20, 4:20] = True
    np.testing.assert_array_equal(head_masks(ring), expected)


def test_an_encoder_that_sees_one_quarter_looks_there_alone() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 1, SIZE, SIZE), dtype=np.uint8)
    images[..., : SIZE // 2, : SIZE // 2] //= 3
    maps = occlusion_maps(Corner(), images)
    assert maps.shape == (3, SIZE, SIZE) and maps.dtype == np.float32 and (maps >= 0).all()
    quarter = np.zeros((3, SIZE, SIZE), bool)
    quarter[:, : SIZE // 2, : SIZE // 2] = True
    assert (share_on(maps, quarter) > 0.85).all(), "squares on the border of the quarter reach a little over it"
    assert (maps[:, -8:, -8:] == 0).all()


def test_a_model_comes_back_in_the_mode_it_had() -> None:
    network = nn.Sequential(Corner(), nn.Dropout(0.5)).train()
    occlusion_maps(network, np.full((1, 1, SIZE, SIZE), 90, np.uint8))
    assert network.training


def test_shares_of_a_map() -> None:
    even = np.ones((2, SIZE, SIZE))
    even[1] = 0
    shares = share_on(even, masks((0, 0), (0, 0), side=12))
    assert shares[0] == 0.25 and np.isnan(shares[1])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(CourseError, match="one mask a map"):
        share_on(np.ones((2, SIZE, SIZE)), masks((0, 0)))
    with pytest.raises(CourseError, match="of bool"):
        lesion_kept(make_views("none", SIZE), np.ones((1, SIZE, SIZE)))
    with pytest.raises(CourseError, match="without a lesion"):
        lesion_kept(make_views("none", SIZE), np.zeros((1, SIZE, SIZE), bool))
    with pytest.raises(CourseError, match="draws"):
        lesion_kept(make_views("none", SIZE), masks((0, 0)), draws=0)
