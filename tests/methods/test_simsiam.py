"""SimSiam is its paper's formula, holds the predicted side still, and collapses without either of its two parts."""

from __future__ import annotations

import pytest
import torch
from lightly.models.modules import SimSiamPredictionHead, SimSiamProjectionHead
from torch import nn
from without_negatives import negative_cosine, noise, pretrained

from brainssl_utils.errors import CourseError
from brainssl_utils.methods import make_method
from brainssl_utils.views import to_float

EVEN = 1 / 64**0.5


def test_the_loss_is_the_papers_formula() -> None:
    method = make_method("simsiam", image_size=32)
    features = [method.encoder(to_float(noise(10, seed))) for seed in (0, 1)]
    loss = method.pretext_loss(features)
    z1, z2 = (method.projection_head(view) for view in features)
    p1, p2 = method.prediction_head(z1), method.prediction_head(z2)
    by_hand = (negative_cosine(p1.detach(), z2.detach()) + negative_cosine(p2.detach(), z1.detach())) / 2
    assert loss.item() == pytest.approx(by_hand, abs=1e-5)
    assert isinstance(method.projection_head, SimSiamProjectionHead)
    assert isinstance(method.prediction_head, SimSiamPredictionHead)


@pytest.mark.parametrize("stop", [True, False])
def test_the_gradient_stops_at_the_target(stop: bool) -> None:
    method = make_method("simsiam", image_size=32, stop_gradient=stop)
    z1, z2 = torch.randn(2, 6, 64).unbind()
    z1.requires_grad_()
    z2.requires_grad_()
    targets = method.targets([z1, z2], None)
    assert [target.requires_grad for target in targets] == [not stop] * 2
    assert all(torch.equal(target, z) for target, z in zip(targets, (z1, z2)))


def test_without_a_predictor_the_stop_only_halves_the_gradient() -> None:
    gradients = []
    for stop in (True, False):
        method = make_method("simsiam", image_size=32, predictor=False, stop_gradient=stop)
        method.pretext_loss([method.encoder(to_float(noise(10, seed))) for seed in (0, 1)]).backward()
        gradients.append(method.encoder.features[0].weight.grad)
    assert torch.allclose(2 * gradients[0], gradients[1], rtol=1e-3, atol=1e-6)
    assert isinstance(method.prediction_head, nn.Identity)


CASES = {"both": {}, "no stop": {"stop_gradient": False}, "no predictor": {"predictor": False}}


@pytest.fixture(scope="module")
def ends() -> dict[str, dict[str, float]]:
    """How short trainings end, without a batch norm at the projections' end."""
    return {
        name: pretrained(make_method("simsiam", image_size=32, output_norm=False, **changes), 25)
        for name, changes in CASES.items()
    }


def test_it_keeps_its_spread_with_both_parts(ends: dict[str, dict[str, float]]) -> None:
    assert ends["both"]["std"] > 0.6 * EVEN and ends["both"]["rank"] > 5


@pytest.mark.parametrize("without", ["no stop", "no predictor"])
def test_it_collapses_without_either_part(ends: dict[str, dict[str, float]], without: str) -> None:
    assert ends[without]["std"] < 0.5 * ends["both"]["std"]
    assert ends[without]["rank"] < 0.7 * ends["both"]["rank"]
    assert ends[without]["loss"] < ends["both"]["loss"] - 0.1, "the better loss belongs to the worse features"


def test_a_batch_norm_at_the_end_keeps_the_deviation_up_while_the_rank_falls(ends: dict[str, dict[str, float]]) -> None:
    end = pretrained(make_method("simsiam", image_size=32, predictor=False), 25)
    assert end["std"] > 2 * ends["no predictor"]["std"] and end["rank"] < 20


def test_settings_that_cannot_work_are_refused() -> None:
    for changes, word in (({"head_widths": (64,)}, "head_widths|widths"), ({"predictor_width": 0}, "predictor_width")):
        with pytest.raises(CourseError, match=word):
            make_method("simsiam", image_size=32, **changes)
    with pytest.raises(CourseError, match="expected two"):
        make_method("simsiam", image_size=32, head_widths=(64, 64, 64))
    with pytest.raises(CourseError, match="no study has a row of SimSiam: use protocol 'fair'"):
        make_method("simsiam", "published", image_size=32)
