"""Fine-tuning: what is frozen stays, what is the caller's stays, and only the given labels are read."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict, replace
from typing import Any

import numpy as np
import pytest
import torch
from tiny import Holder, TinyCorpus, TinyEncoder, tiny_split
from torch import nn

from brainssl_utils.errors import CourseError
from brainssl_utils.evaluation.baselines import Pixels
from brainssl_utils.evaluation.features import encode
from brainssl_utils.evaluation.fine_tuning import FineTuned, FineTuning, fine_tune

LABELS = np.arange(0, 60)


def tune(
    model: nn.Module | None = None,
    corpus: TinyCorpus | None = None,
    labels: np.ndarray = LABELS,
    validation: np.ndarray | None = None,
    **changes: Any,
) -> FineTuned:
    corpus = corpus or TinyCorpus()
    settings = FineTuning(**{"steps": 12, "batch_size": 16, "learning_rate": 0.01, **changes})
    return fine_tune(model or TinyEncoder(), corpus, tiny_split(corpus), labels, settings, validation)


def weights(module: nn.Module) -> list[torch.Tensor]:
    return [value.clone() for value in module.state_dict().values()]


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return len(first) == len(second) and all(torch.equal(a, b) for a, b in zip(first, second))


@pytest.mark.parametrize("augmentation", ["none", "classification"])
def test_a_frozen_encoder_keeps_its_weights_bit_for_bit(augmentation: str) -> None:
    model = TinyEncoder()
    before = weights(model)
    tuned = tune(model, freeze="all", augmentation=augmentation)
    assert same(weights(tuned.encoder), before)  # batch normalisation's running averages among them
    assert tuned.history["loss"].iloc[-1] < tuned.history["loss"].iloc[0]
    with pytest.raises(AssertionError):
        assert same(weights(tune(model, freeze="none", augmentation=augmentation).encoder), before)


@pytest.mark.parametrize("freeze", ["none", "all", "then_unfreeze"])
def test_the_callers_model_never_changes(freeze: str) -> None:
    model = Holder().train()
    before = weights(model)
    modes = [part.training for part in model.modules()]
    gradients = [parameter.requires_grad for parameter in model.parameters()]
    tuned = tune(model, freeze=freeze)
    assert same(weights(model), before)
    assert [part.training for part in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == gradients
    assert all(parameter.grad is None for parameter in model.parameters())
    owned = {parameter.data_ptr() for parameter in tuned.model.parameters()}
    assert owned.isdisjoint(parameter.data_ptr() for parameter in model.parameters())


def test_unfreezing_starts_where_it_is_told_to() -> None:
    before = weights(TinyEncoder())
    assert same(weights(tune(freeze="then_unfreeze", unfreeze_at=1.0).encoder), before)
    assert not same(weights(tune(freeze="then_unfreeze", unfreeze_at=0.9).encoder), before)
    assert same(weights(tune(freeze="then_unfreeze", unfreeze_at=0.0).model), weights(tune(freeze="none").model))
    assert same(weights(tune(freeze="then_unfreeze", unfreeze_at=1.0).model), weights(tune(freeze="all").model))


def test_the_encoder_learns_at_its_own_rate() -> None:
    start = TinyEncoder().conv.weight

    def moved(factor: float) -> float:
        return (tune(encoder_lr_factor=factor, weight_decay=0.0).encoder.conv.weight - start).abs().max().item()

    assert moved(0.0) == 0.0
    assert 0 < moved(0.01) < 0.1 * moved(1.0)


@pytest.mark.parametrize("validation", [None, np.arange(60, 80)])
def test_no_other_label_is_read(validation: np.ndarray | None) -> None:
    labels = np.arange(5, 45)
    tuned = tune(labels=labels, validation=validation)
    other = TinyCorpus()
    read = np.concatenate([labels, np.arange(100, 160)] + ([] if validation is None else [validation]))
    hidden = np.setdiff1d(np.arange(other.n), read)
    other.labels[hidden] = (other.labels[hidden] + 1) % 4
    other.images[hidden] = 255 - other.images[hidden]
    again = tune(corpus=other, labels=labels, validation=validation)
    assert again.report == tuned.report and same(weights(again.model), weights(tuned.model))
    # The test labels decide the score, never the weights.
    other.labels[100:] = np.roll(other.labels[100:], 1)
    assert same(weights(tune(corpus=other, labels=labels, validation=validation).model), weights(tuned.model))


def test_the_best_validation_check_is_kept() -> None:
    validation = np.arange(60, 80)
    tuned = tune(validation=validation, steps=40, learning_rate=0.3, checks=20)
    history = tuned.history.set_index("step")
    assert len(history) == 20
    best = history[["validation_accuracy"]].assign(loss=-history["validation_loss"])
    kept = best.sort_values(["validation_accuracy", "loss"]).index[-1]
    assert tuned.report["kept_step"] == kept
    corpus = TinyCorpus()
    accuracy = (tuned.predict(corpus.images[validation]) == corpus.labels[validation]).mean()
    assert accuracy == pytest.approx(history.loc[kept, "validation_accuracy"], abs=0.051)  # checks run in bfloat16
    assert tune().report["kept_step"] == 12


def test_the_report_is_the_models_own_and_repeats_with_the_seed() -> None:
    corpus, split = TinyCorpus(), tiny_split(TinyCorpus())
    tuned = tune(widths=(16, 8), steps=60)
    correct = (tuned.predict(corpus.images[split.test]) == corpus.labels[split.test]).sum()
    assert tuned.report["correct"] == correct and tuned.report["n"] == 60 and tuned.report["labels"] == 60
    torch.manual_seed(123)
    state = torch.random.get_rng_state()
    assert same(weights(tune(widths=(16, 8), steps=60).model), weights(tuned.model))
    assert torch.equal(state, torch.random.get_rng_state())
    assert not same(weights(tune(widths=(16, 8), steps=60, seed=1).model), weights(tuned.model))
    assert not tuned.model.training and encode(tuned, corpus.images[:2]).shape == (2, 32)


def test_a_test_image_is_classified_with_views_of_it() -> None:
    corpus = TinyCorpus()
    alone, averaged = (tune(corpus=corpus, steps=3, augmentation="contrastive", test_views=n) for n in (0, 5))
    assert same(weights(alone.model), weights(averaged.model))  # training is the same
    images = torch.from_numpy(corpus.images)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        probability = averaged.model(images / 255).softmax(1)
        assert (alone.predict(corpus.images) == probability.argmax(1).numpy()).all()
        for _ in range(5):
            probability += averaged.model(averaged.views(images, generator)).softmax(1)
    by_hand = probability.argmax(1).numpy()
    assert (averaged.predict(corpus.images) == by_hand).all() and (by_hand != alone.predict(corpus.images)).any()
    tested = tiny_split(corpus).test
    right = averaged.predict(corpus.images[tested]) == corpus.labels[tested]
    assert (averaged.report["accuracy"], averaged.report["test_views"]) == (right.mean(), 5)


@pytest.mark.parametrize("smoothing", [0.0, 0.4])
def test_a_smoothed_label_asks_for_a_little_of_every_class(smoothing: float) -> None:
    # At rate 0 the head stays as it was drawn, so that the loss of the only step can be had by hand.
    options = {"batch_size": len(LABELS), "steps": 1, "learning_rate": 0.0, "augmentation": "none", "freeze": "all"}
    tuned = tune(label_smoothing=smoothing, **options)
    corpus = TinyCorpus()
    with torch.no_grad():
        chance = tuned.model(torch.from_numpy(corpus.images[LABELS]) / 255).log_softmax(1)
    own = chance[np.arange(len(LABELS)), corpus.labels[LABELS]]
    by_hand = -((1 - smoothing) * own + smoothing * chance.mean(1)).mean().item()
    assert tuned.history["loss"].item() == pytest.approx(by_hand, rel=1e-2)  # training runs in bfloat16
    assert tuned.report["label_smoothing"] == smoothing


def test_it_learns_at_any_scale_of_the_features_and_beside_a_large_common_part() -> None:
    class Loud(TinyEncoder):
        factor, common = 1.0, 0.0

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return (super().forward(images) + self.common) * self.factor

    for factor, common in ((1e-4, 0.0), (1.0, 0.0), (1e4, 0.0), (1.0, 20.0)):
        model = Loud()
        model.factor, model.common = factor, common
        assert tune(model, freeze="all", augmentation="none", steps=150).report["accuracy"] > 0.7


def test_pixels_without_weights_can_be_classified() -> None:
    assert tune(Pixels(), steps=60, augmentation="none").report["accuracy"] > 0.5


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"labels": np.array([1, 130])}, "`labels` names test images"),
        ({"validation": np.array([130])}, "`validation` names test images"),
        ({"validation": np.array([3])}, "share rows"),
        ({"labels": np.array([], np.int64)}, "empty"),
        ({"labels": np.array([5])}, "one class"),
    ],
)
def test_rows_that_cannot_be_learned_from_are_refused_with_a_reason(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(CourseError, match=reason):
        tune(**options)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"freeze": "some"}, "freeze is 'some'. Choose one of: none, all, then_unfreeze"),
        ({"augmentation": "loud"}, "augmentation is 'loud'. Choose one of: "),
        ({"steps": 0}, "steps is 0: it must be a whole number at least 1"),
        ({"steps": 2.0}, "steps is 2.0: it must be a whole number at least 1"),
        ({"batch_size": 0}, "batch_size is 0: it must be a whole number at least 1"),
        ({"checks": 0}, "checks is 0: it must be a whole number at least 1"),
        ({"seed": -1}, "seed is -1: it must be a whole number at least 0"),
        ({"unfreeze_at": 2.0}, "unfreeze_at is 2.0: it must be a number at least 0 and at most 1"),
        ({"learning_rate": -0.1}, "learning_rate is -0.1: it must be a number at least 0"),
        ({"encoder_lr_factor": float("inf")}, "encoder_lr_factor is inf: it must be a number at least 0"),
        ({"weight_decay": "0.1"}, "weight_decay is '0.1': it must be a number at least 0"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0: it must be a number at least 0 and below 1"),
        ({"widths": (16, 0)}, "widths is 0: it must be a whole number at least 1"),
        ({"widths": 16}, r"widths is 16: it must be a tuple of whole numbers"),
        ({"test_views": -1}, "test_views is -1: it must be a whole number at least 0"),
        ({"test_views": 4, "augmentation": "none"}, "test_views is 4 with augmentation 'none'"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_anything_is_trained(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(CourseError, match=reason):
        FineTuning(**change)
    with pytest.raises(CourseError, match=reason):
        replace(FineTuning(), **change)


def test_settings_are_frozen_and_the_report_tells_all_of_them() -> None:
    settings = FineTuning(steps=3, widths=(8,), seed=4)
    with pytest.raises(FrozenInstanceError):
        settings.steps = 5  # type: ignore[misc]
    corpus = TinyCorpus()
    report = fine_tune(TinyEncoder(), corpus, tiny_split(corpus), LABELS, settings).report
    assert {name: report[name] for name in asdict(settings)} == {**asdict(settings), "widths": [8]}


def test_a_diverged_encoder_is_refused() -> None:
    model = TinyEncoder()
    nn.init.constant_(model.conv.weight, float("nan"))
    with pytest.raises(CourseError, match="diverged"):
        tune(model)


def test_single_settings_can_be_given_by_name() -> None:
    corpus = TinyCorpus()
    split = tiny_split(corpus)
    by_name = fine_tune(TinyEncoder(), corpus, split, split.train, steps=3, seed=2)
    by_settings = fine_tune(TinyEncoder(), corpus, split, split.train, FineTuning(steps=3, seed=2))
    assert by_name.report == by_settings.report
    with pytest.raises(CourseError, match=r"no setting step\. It has: steps"):
        fine_tune(TinyEncoder(), corpus, split, split.train, step=3)
