"""BYOL's teacher is the moving average of its student, learns from no gradient, and is there again after a stop."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import pandas as pd
import pytest
import torch
from lightly.models.modules import BYOLPredictionHead, BYOLProjectionHead
from lightly.utils.scheduler import cosine_schedule
from without_negatives import negative_cosine, noise, pretrained

from brainssl_utils import grouped_split
from brainssl_utils.data.corpus import Corpus
from brainssl_utils.errors import CourseError
from brainssl_utils.evaluation.fine_tuning import FineTuning, fine_tune
from brainssl_utils.methods import make_method
from brainssl_utils.methods.base import Method
from brainssl_utils.methods.byol import BYOL
from brainssl_utils.settings import PROFILES
from brainssl_utils.training.run import load_run
from brainssl_utils.training.trainer import fit
from brainssl_utils.views import to_float

SMALL = dataclasses.replace(PROFILES["smoke"], epochs=3)


def weights(module: torch.nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def student_and_teacher(method: BYOL) -> list[tuple[list[torch.Tensor], list[torch.Tensor]]]:
    return [(weights(part), weights(method.teacher[name])) for name, part in method.taught().items()]


def test_the_loss_is_of_the_students_predictions_and_the_teachers_projections() -> None:
    method = make_method("byol", image_size=32)
    with torch.no_grad():
        for parameter in method.teacher.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    views = [to_float(noise(10, seed)) for seed in (0, 1)]
    features = [method.encoder(view) for view in views]
    loss = method.pretext_loss(features, views)
    p1, p2 = (method.prediction_head(method.projection_head(view)).detach() for view in features)
    t1, t2 = (method.teacher["projection_head"](method.teacher["encoder"](view)) for view in views)
    by_hand = (negative_cosine(p1, t2) + negative_cosine(p2, t1)) / 2
    assert loss.item() == pytest.approx(by_hand, abs=1e-4)
    squares = torch.nn.functional.normalize(p1, dim=1) - torch.nn.functional.normalize(t2, dim=1)
    assert float(squares.square().sum(1).mean()) == pytest.approx(2 + 2 * negative_cosine(p1, t2), abs=1e-4), "eq. 2"
    assert isinstance(method.projection_head, BYOLProjectionHead)
    assert isinstance(method.prediction_head, BYOLPredictionHead)


def test_no_gradient_and_no_optimiser_reaches_the_teacher() -> None:
    method = make_method("byol", image_size=32)
    views = [to_float(noise(10, seed)) for seed in (0, 1)]
    method.pretext_loss([method.encoder(view) for view in views], views).backward()
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in method.teacher.parameters())
    held = {id(parameter) for parameter in method.teacher.parameters()}
    optimised = {id(p) for group in method.configure_optimizers().param_groups for p in group["params"]}
    assert not held & optimised and len(held | optimised) == len(list(method.parameters()))


@pytest.mark.parametrize("momentum", [0.0, 0.9, 1.0])
def test_the_teacher_moves_by_the_average(momentum: float) -> None:
    method = make_method("byol", image_size=32)
    with torch.no_grad():
        for parameter in method.encoder.parameters():
            parameter.add_(1.0)
    before = student_and_teacher(method)
    method.move_teacher(momentum)
    for (student, teacher), (same, moved) in zip(before, student_and_teacher(method)):
        assert all(map(torch.equal, student, same)), "the student stays"
        for old, new, now in zip(teacher, student, moved):
            assert torch.allclose(now, momentum * old + (1 - momentum) * new, atol=1e-6)


def test_the_momentum_of_a_training_follows_the_cosine(phantoms: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    move = BYOL.move_teacher
    monkeypatch.setattr(BYOL, "move_teacher", lambda self, momentum: (seen.append(momentum), move(self, momentum))[1])
    method = make_method("byol", image_size=32, momentum=0.8)
    fit(method, phantoms, grouped_split(phantoms), SMALL, progress=False, probes=())
    steps = SMALL.epochs * SMALL.steps_per_epoch
    assert seen == [cosine_schedule(step, steps, 0.8, 1.0) for step in range(steps)]
    assert seen[0] == pytest.approx(0.8) and seen[-1] == 1 and seen == sorted(seen)


def test_an_interrupted_training_resumes_to_the_uninterrupted_result_teacher_and_all(
    phantoms: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(out: Path | None = None):
        method = make_method("byol", image_size=32)
        return fit(method, phantoms, grouped_split(phantoms), SMALL, out=out, progress=False, probes=())

    whole, step = train(), Method.training_step

    def stop(self: Method, *arguments: object) -> torch.Tensor:
        if self.current_epoch == 2:
            raise RuntimeError("power cut")
        return step(self, *arguments)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):
        patch.setattr(Method, "training_step", stop)
        train(tmp_path)
    resumed = train(tmp_path)
    assert resumed.record["taken_up_at_epochs"] == [2]
    histories = [run.history.drop(columns="seconds").astype(float) for run in (whole, resumed)]
    pd.testing.assert_frame_equal(*histories, check_exact=True)
    states = [run.method.state_dict() for run in (whole, resumed, load_run(tmp_path, resumed.record))]
    assert any(key.startswith("teacher.encoder") for key in states[0])
    assert all(torch.equal(state[key], value) for state in states[1:] for key, value in states[0].items())
    start = make_method("byol", image_size=32).teacher.state_dict()
    assert any(not torch.equal(value, whole.method.teacher.state_dict()[key]) for key, value in start.items())

    longer = fit(
        make_method("byol", image_size=32), phantoms, grouped_split(phantoms), SMALL, out=tmp_path, progress=False,
        probes=(), epochs=4,
    )  # fmt: skip
    assert longer.record["continued_from"] == [], "its momentum was planned for the shorter length"


def test_a_trained_student_is_fine_tuned_like_any_encoder(phantoms: Corpus) -> None:
    split = grouped_split(phantoms)
    short = dataclasses.replace(SMALL, epochs=1)
    run = fit(make_method("byol", image_size=32), phantoms, split, short, progress=False, probes=("linear",))
    assert run.record["evaluations"]["linear"]["n"] == len(split.test)
    teacher = copy.deepcopy(run.method.teacher.state_dict())
    tuned = fine_tune(run.method.encoder, phantoms, split, split.train, FineTuning(steps=2, checks=1, batch_size=8))
    assert 0 <= tuned.report["accuracy"] <= 1
    assert all(torch.equal(value, teacher[key]) for key, value in run.method.teacher.state_dict().items())


def test_it_narrows_without_its_predictor_and_not_with_it() -> None:
    both = pretrained(make_method("byol", image_size=32, momentum=0.9), 25)
    without = pretrained(make_method("byol", image_size=32, momentum=0.9, predictor=False), 25)
    assert without["std"] < 0.5 * both["std"] and without["loss"] < both["loss"] - 0.1


@pytest.mark.parametrize("changes", [{"momentum": 1.1}, {"momentum": -0.1}, {"last_momentum": 2}, {"momentum": True}])
def test_a_momentum_outside_0_to_1_is_refused(changes: dict[str, float]) -> None:
    with pytest.raises(CourseError, match="momentum"):
        make_method("byol", image_size=32, **changes)
