"""Views: the promises of each batched augmentation."""

from __future__ import annotations

from dataclasses import asdict
from itertools import pairwise

import pytest
import torch

from brainssl_utils.errors import CourseError
from brainssl_utils.views import (
    RECIPES,
    SHARED_GRAIN,
    Recipe,
    blur,
    jitter,
    make_views,
    noise,
    random_affine,
    random_flip,
    to_float,
    uniform,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (16, 1, 32, 32), generator=generator(9), dtype=torch.uint8)


@pytest.mark.parametrize("preset", sorted(RECIPES))
@pytest.mark.parametrize("size", [32, 48])
def test_every_preset_gives_floats_in_0_to_1_at_the_asked_size(images: torch.Tensor, preset: str, size: int) -> None:
    views = make_views(preset, size)(images, generator())
    assert views.shape == (16, 1, size, size) and views.dtype == torch.float32
    assert views.min() >= 0 and views.max() <= 1 and views.isfinite().all()


@pytest.mark.parametrize("preset", ["contrastive", "classification", "paper"])
def test_a_seed_fixes_the_views_and_another_changes_them(images: torch.Tensor, preset: str) -> None:
    views = make_views(preset, 32)
    assert torch.equal(views(images, generator(1)), views(images, generator(1)))
    assert not torch.equal(views(images, generator(1)), views(images, generator(2)))


def test_each_named_recipe_adds_to_the_one_before_it_at_the_same_strengths() -> None:
    steps = [asdict(RECIPES[name]) for name in ("none", "paper", "flip_crop", "flip_crop_grey", "contrastive")]
    added = [{field for field in after if after[field] != before[field]} for before, after in pairwise(steps)]
    assert added[:3] == [{"flip"}, {"area"}, {"brightness", "contrast", "gamma"}]
    assert added[3] == {"degrees", "blur", "noise"}


def test_each_image_has_its_own_draw(images: torch.Tensor) -> None:
    same = images[:1].expand(16, -1, -1, -1)
    views = make_views("contrastive", 32)(same, generator()).flatten(1)
    assert len(torch.unique(views, dim=0)) == 16


def test_no_recipe_changes_nothing(images: torch.Tensor) -> None:
    assert torch.equal(make_views("none", 32)(images), to_float(images))


def test_paper_views_are_the_image_or_its_mirror(images: torch.Tensor) -> None:
    views = make_views("paper", 32)(images, generator())
    plain, mirrored = to_float(images), to_float(images).flip(-1)
    is_plain, is_mirror = (views == plain).flatten(1).all(1), (views == mirrored).flatten(1).all(1)
    assert (is_plain | is_mirror).all() and is_plain.any() and is_mirror.any()


def test_flip_probability_is_honoured(images: torch.Tensor) -> None:
    assert torch.equal(random_flip(images, 0.0), images)
    assert torch.equal(random_flip(images, 1.0), images.flip(-1))
    many = torch.arange(2).float().view(1, 1, 1, 2).expand(4000, 1, 1, 2)
    assert abs(float(random_flip(many, 0.3, generator())[:, 0, 0, 0].mean()) - 0.3) < 0.03


def test_an_affine_map_that_changes_nothing_is_the_identity(images: torch.Tensor) -> None:
    assert torch.allclose(random_affine(to_float(images), 32), to_float(images), atol=1e-4)
    assert torch.allclose(random_affine(to_float(images), 32, flip=1.0), to_float(images).flip(-1), atol=1e-4)


def test_a_crop_shows_a_part_of_the_image_and_nothing_from_outside() -> None:
    # A ramp in x: a crop without rotation keeps the values within the ramp and shows a narrower range of it.
    ramp = torch.linspace(0.2, 0.8, 64).view(1, 1, 1, 64).expand(200, 1, 64, 64).contiguous()
    crops = random_affine(ramp, 64, area=(0.25, 0.25), ratio=(1.0, 1.0), generator=generator())
    crops = crops[..., 1:-1, 1:-1]  # half of the outermost pixel may lie outside, where it is black
    spread = crops.amax((1, 2, 3)) - crops.amin((1, 2, 3))
    assert torch.allclose(spread, torch.full_like(spread, 0.3), atol=0.02)
    assert crops.min() > 0.19


def test_rotation_brings_in_black_not_copies() -> None:
    white = torch.ones(50, 1, 32, 32)
    turned = random_affine(white, 32, degrees=30, generator=generator())
    assert turned.min() == 0 and turned[:, :, 12:20, 12:20].min() > 0.999


def test_jitter_without_strength_is_the_identity_and_brightness_scales() -> None:
    images = torch.rand(8, 1, 16, 16, generator=generator()) * 0.5
    assert torch.equal(jitter(images), images)
    bright = jitter(images, brightness=0.5, generator=generator())
    factor = bright.sum((1, 2, 3)) / images.sum((1, 2, 3))
    assert (factor > 0.5).all() and (factor < 1.5).all() and factor.std() > 0.05
    assert torch.allclose(bright, images * factor.view(-1, 1, 1, 1), atol=1e-5)


def test_blur_equals_a_slow_gaussian_and_leaves_others_alone() -> None:
    from scipy.ndimage import gaussian_filter

    images = torch.rand(6, 1, 24, 24, generator=generator())
    blurred = blur(images, sigma=(1.5, 1.5), probability=1.0)
    slow = gaussian_filter(images[0, 0].numpy(), 1.5, mode="nearest", radius=4)
    assert abs(blurred[0, 0].numpy() - slow).max() < 1e-4
    assert torch.equal(blur(images, probability=0.0), images)
    half = blur(images, sigma=(1.5, 1.5), probability=0.5, generator=generator(3))
    untouched = (half == images).flatten(1).all(1)
    assert untouched.any() and not untouched.all()


@pytest.mark.parametrize("preset", sorted(RECIPES))
def test_views_are_the_same_inside_a_training_in_bfloat16(preset: str) -> None:
    images, views = torch.rand(20, 1, 32, 32), make_views(preset, 32)
    with torch.autocast("cpu", torch.bfloat16):
        inside = views(images, generator())
    assert torch.equal(inside, views(images, generator()))


def test_noise_has_the_asked_level() -> None:
    grey = torch.full((400, 1, 32, 32), 0.5)
    levels = noise(grey, 0.1, generator()).flatten(1).std(1)
    assert levels.max() < 0.11 and abs(float(levels.mean()) - 0.05) < 0.01


def test_images_that_share_a_pattern_of_noise_have_levels_of_their_own() -> None:
    count = 3 * SHARED_GRAIN - 1  # not a multiple
    grain = noise(torch.full((count, 1, 32, 32), 0.5), 0.1, generator()).flatten(1) - 0.5
    alike = torch.corrcoef(grain).abs() > 0.9
    assert len(grain) == count and int(alike.sum(1).max()) == SHARED_GRAIN
    assert len(set(grain.std(1).tolist())) == count


def test_jitter_keeps_black_black_and_equals_the_plain_formula() -> None:
    images = torch.rand(5, 1, 16, 16)
    images[:, :, :4] = 0
    changed = jitter(images, 0.4, 0.0, 0.3, generator())
    assert changed[:, :, :4].max() < 1e-6
    drawn = generator()
    bright, _, power = (uniform(5, low, high, drawn, images.device) for low, high in ((0.6, 1.4), (1, 1), (-0.3, 0.3)))
    torch.testing.assert_close(changed, (images * bright).clamp(0, 1) ** power.exp(), rtol=1e-4, atol=1e-6)


def test_unknown_preset_or_field_is_refused_by_name() -> None:
    with pytest.raises(CourseError, match="strong"):
        make_views("strong", 32)
    with pytest.raises(CourseError, match="blurr"):
        make_views("paper", 32, blurr=1.0)


WRONG = {
    "flip": [-0.1, 1.1, "0.5", True, None, float("nan")],
    "blur": [-0.1, 1.1],
    "brightness": [-0.1, 1.1],
    "contrast": [-0.1, 1.1, "1"],
    "degrees": [-1, float("inf")],
    "gamma": [-0.1],
    "noise": [-0.01, None],
    "area": [(0, 1), (0.5, 0.4), (0.5, 1.1), (0.5,), 0.5, "01", ("0.5", 1), (0.1, 0.5, 1)],
    "blur_sigma": [(0, 1), (-1, 1), (2, 1), 1.0, None],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in WRONG.items() for value in values])
def test_a_recipe_that_cannot_be_drawn_is_refused_by_its_field(field: str, value: object) -> None:
    for make in (lambda: Recipe(**{field: value}), lambda: make_views("contrastive", 32, **{field: value})):
        with pytest.raises(CourseError, match=rf"^{field}(\[[01]\])? is"):
            make()


def test_the_ends_of_every_range_are_allowed(images: torch.Tensor) -> None:
    ends = {"flip": 1, "area": [1e-3, 1], "degrees": 720, "brightness": 1, "contrast": 1, "gamma": 3, "blur": 1}
    views = make_views("none", 32, **ends, blur_sigma=(2, 2), noise=2)(images, generator())
    assert views.isfinite().all() and views.min() >= 0 and views.max() <= 1


@pytest.mark.parametrize("size", [0, -32, 32.0, "32", True, None])
def test_a_size_that_is_no_whole_number_from_1_is_refused(size: object) -> None:
    with pytest.raises(CourseError, match=r"^size is"):
        make_views("paper", size)


@pytest.mark.parametrize("preset", [None, 3, ("paper",)])
def test_views_are_a_preset_or_a_recipe(preset: object) -> None:
    with pytest.raises(CourseError, match="unknown views"):
        make_views(preset, 32)
