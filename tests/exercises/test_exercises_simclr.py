"""The SimCLR lesson's checkers: silent on stubs, strict on mistakes, content with a right answer."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightly.loss import NTXentLoss
from torch import Tensor

from brainssl_utils.exercises.simclr import (
    check_nt_xent,
    check_prediction,
    check_recipe,
    check_temperature,
    contrast_left,
    measure_views,
    slow_nt_xent,
    survival_map,
)
from brainssl_utils.methods import make_method
from brainssl_utils.training.run import Run
from brainssl_utils.views import make_views

NEGATIVES = torch.tensor([0.9, 0.7, 0.5, 0.2, 0.0, -0.3])


def heads(n: int = 64, size: int = 32) -> Tensor:
    """Textured discs with a bright spot off the middle, uint8 (n, 1, size, size): something like a head."""
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    head = x**2 + (y / 1.1) ** 2 < 0.85
    texture = F.interpolate(torch.rand(n, 1, 12, 12, generator=generator), (size, size), mode="bilinear")[:, 0]
    images = torch.where(head, 30 + 150 * texture, 4.0)
    for image, (dy, dx) in zip(images, torch.rand(n, 2, generator=generator) * 0.8 - 0.4):
        image[(x - dx) ** 2 + (y - dy) ** 2 < 0.03] = 220
    return images.round().to(torch.uint8)[:, None]


def run_like(c_acc: float = 0.5, c_loss: float = 2.0, seed: int = 0, **settings: Any) -> Run:
    """What `fit` returns, as far as a checker looks: a record with a configuration and the end of a history."""
    method = make_method("simclr", image_size=32, **settings)
    history = [{"epoch": 0, "c_acc": c_acc, "c_loss": c_loss}]
    about = {"split": "patient", "seed": seed, "sizes": {"epochs": 1}}
    return Run(method, {**about, "config": method.config, "history": history}, None)


def right(z1: Tensor, z2: Tensor, temperature: float) -> Tensor:
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    scores = (z @ z.T / temperature).fill_diagonal_(-math.inf)
    return F.cross_entropy(scores, torch.arange(len(z)).roll(len(z1)))


def without_unit_length(z1: Tensor, z2: Tensor, temperature: float) -> Tensor:
    z = torch.cat([z1, z2])
    return F.cross_entropy((z @ z.T / temperature).fill_diagonal_(-math.inf), torch.arange(len(z)).roll(len(z1)))


def with_itself(z1: Tensor, z2: Tensor, temperature: float) -> Tensor:
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    return F.cross_entropy(z @ z.T / temperature, torch.arange(len(z)).roll(len(z1)))


def cross_view(z1: Tensor, z2: Tensor, temperature: float) -> Tensor:
    scores = F.normalize(z1, dim=1) @ F.normalize(z2, dim=1).T / temperature
    target = torch.arange(len(z1))
    return (F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)) / 2


WRONG = {
    "length 1": without_unit_length,
    "with itself": with_itself,
    "some of the row's negatives": cross_view,
    "added up": lambda z1, z2, t: 2 * len(z1) * right(z1, z2, t),
    "2 N rows": lambda z1, z2, t: 2 * right(z1, z2, t),
    "multiplies": lambda z1, z2, t: right(z1, z2, 1 / t),
    "not used": lambda z1, z2, t: right(z1, z2, 1.0),
    "slip": lambda z1, z2, t: torch.tensor(2.0 * len(z1) - 1).log(),
    "sign": lambda z1, z2, t: -right(z1, z2, t),
    "remember": lambda z1, z2, t: right(z1, z2, t).detach(),
    "one number": lambda z1, z2, t: right(z1, z2, t)[None],
    "expected": lambda z1, z2, t: right(z1, z2, t) + 0.1,
    "RuntimeError": lambda z1, z2, t: z1.view(7, 11),
}


def test_untouched_stubs_are_not_yet(verdict) -> None:
    assert verdict(check_nt_xent, lambda z1, z2, temperature: ...).startswith("not yet")
    assert verdict(check_recipe, ..., heads()).startswith("not yet")
    assert verdict(check_temperature, ..., NEGATIVES).startswith("not yet")


def test_nt_xent_is_accepted_by_hand_and_from_lightly(verdict) -> None:
    for answer in (right, lambda z1, z2, temperature: NTXentLoss(temperature)(z1, z2)):
        assert verdict(check_nt_xent, answer).startswith("correct")


@pytest.mark.parametrize("word", sorted(WRONG))
def test_each_usual_mistake_in_nt_xent_is_named(word: str, verdict) -> None:
    said = verdict(check_nt_xent, WRONG[word])
    assert said.startswith("not right") and word in said


@pytest.mark.parametrize("n", [2, 5, 16])
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_the_slow_loss_is_lightlys(n: int, temperature: float) -> None:
    z1, z2 = torch.randn(2, n, 6, generator=torch.Generator().manual_seed(n)) * 3
    assert slow_nt_xent(z1, z2, temperature) == pytest.approx(float(NTXentLoss(temperature)(z1, z2)), rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"flip": 0.5}, "identical"),
        ({"noise": 0.01}, "too easy"),
        ({"area": (0.05, 0.1)}, "hardly one scan"),
        ({"area": (0.4, 1.0)}, "survives"),
        ({"flip": 0.5, "area": (0.85, 1.0), "contrast": 0.9}, "contrast"),
        ({"zoom": 2}, "zoom"),
        ("flip", "dict"),
    ],
)
def test_recipes_that_break_a_rule_are_told_which(changes: object, word: str, verdict) -> None:
    said = verdict(check_recipe, changes, heads())
    assert said.startswith("not right") and word in said


def test_a_gentle_recipe_passes() -> None:
    gentle = {"flip": 0.5, "area": (0.85, 1.0), "degrees": 6, "brightness": 0.2, "gamma": 0.2, "noise": 0.02}
    assert check_recipe(gentle, heads())


def test_half_of_flip_only_pairs_are_identical() -> None:
    assert measure_views(make_views("paper", 32), heads(400))["identical"] == pytest.approx(0.5, abs=0.1)
    untouched = measure_views(make_views("none", 32), heads())
    assert untouched == pytest.approx({"identical": 1, "correlation": 1, "tissue_kept": 1, "contrast_kept": 1})


def test_spots_survive_without_crops_and_get_lost_at_the_edge_with_them() -> None:
    assert (survival_map(make_views("none", 96, flip=0.5, noise=0.1), grid=8, draws=5) == 1).all()
    cropped = survival_map(make_views("none", 96, area=(0.3, 1.0)), grid=8)
    assert cropped[3:5, 3:5].min() > 0.9 > 0.75 > cropped[0].max()


def test_contrast_left_follows_the_factor() -> None:
    images = heads()
    assert torch.allclose(contrast_left(make_views("none", 32, flip=0.5), images), torch.ones(len(images)))
    darker = contrast_left(make_views("none", 32, brightness=0.9), images)
    assert darker.min() < 0.4 and darker.min() >= 0
    assert len(contrast_left(make_views("none", 32), torch.zeros(3, 1, 32, 32))) == 0


@pytest.mark.parametrize(("temperature", "word"), [(0.1, "raise"), (1.0, "lower"), (-1.0, "above 0")])
def test_a_wrong_temperature_is_told_which_way_to_go(temperature: float, word: str, verdict) -> None:
    said = verdict(check_temperature, temperature, NEGATIVES)
    assert said.startswith("not right") and word in said


def test_the_temperature_that_gives_half_is_accepted() -> None:
    assert check_temperature(0.315, NEGATIVES)


PREDICTIONS = [
    ("higher", {"views": "paper", "c_acc": 0.9}, "correct", "0.9, higher than the usual 0.5"),
    ("lower", {"views": "paper", "c_acc": 0.4}, "correct", "as you said"),
    ("lower", {"views": "paper", "c_acc": 0.9}, "not right", "you said lower"),
    ("more", {"views": "paper"}, "not right", "'higher' or 'lower'"),
    ("higher", {}, "not right", "views is the usual one, contrastive"),
    ("higher", {"views": "paper", "temperature": 0.5}, "not right", "differ in temperature too"),
    ("higher", {"views": "paper", "seed": 1}, "not right", "differ in seed too"),
]


@pytest.mark.parametrize(("said", "changed", "outcome", "words"), PREDICTIONS)
def test_a_prediction_is_held_to_one_change_and_its_run(
    said: str, changed: dict[str, Any], outcome: str, words: str, verdict
) -> None:
    answer = verdict(check_prediction, said, run_like(**changed), run_like(), "views", "c_acc")
    assert answer.startswith(outcome) and words in answer


def test_a_prediction_without_a_run_waits_for_it(verdict) -> None:
    assert verdict(check_prediction, ..., ..., run_like(), "views", "c_acc").startswith("not yet")
    assert "now train" in verdict(check_prediction, "higher", ..., run_like(), "views", "c_acc")
    assert "what fit returned" in verdict(check_prediction, "higher", 0.5, run_like(), "views", "c_acc")
