"""Fine-tuning: a new classification head on a copy of a pre-trained encoder, trained on the labels there are."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brainssl_utils.compute import hardware
from brainssl_utils.errors import CourseError
from brainssl_utils.evaluation.features import encoder_of, eval_mode
from brainssl_utils.evaluation.reports import check_rows, test_report
from brainssl_utils.networks import Classifier
from brainssl_utils.sampling import endless
from brainssl_utils.views import Views, make_views, to_float

if TYPE_CHECKING:
    from brainssl_utils.data.corpus import Corpus
    from brainssl_utils.data.splits.split import Split

FREEZES = ("none", "all", "then_unfreeze")
FEATURE_SUM = 100.0


class FineTunedModel(nn.Module):
    """Encoder, a fixed centre and scale, and a classification head: images (B, 1, S, S) in 0..1 -> scores (B, n_classes).

    Untrained and contrastive features are alike for all images up to a small part, which is the part that tells them
    apart. Centred and scaled by numbers from the labelled images, fixed before training, that part is what the head sees,
    and one learning rate suits encoders of any width and loss.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, encoder: nn.Module, head: nn.Module, centre: Tensor, scale: float) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head
        self.register_buffer("centre", centre)
        self.register_buffer("scale", torch.tensor(scale))

    def features(self, images: Tensor) -> Tensor:
        return self.encoder(images).flatten(1)

    def classify(self, features: Tensor) -> Tensor:
        return self.head((features.float() - self.centre) * self.scale).float()

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.features(images))


@dataclass
class FineTuned:
    """A fine-tuned model.

    Attributes:
        model: on the CPU, in evaluation mode; shares nothing with the model it came from.
        report: `test_report` on the test images, with kind, labels, settings and the step that was kept.
        history: one row a check: step, loss and accuracy over the batches since the last one, validation accuracy and
            loss where validation rows were given.
        image_size: of the images it takes, pixels.
        views: what a view of an image to classify changes.
        test_views: how many of them are classified beside the image itself.
    """

    model: FineTunedModel
    report: dict[str, Any]
    history: pd.DataFrame
    image_size: int
    views: Views
    test_views: int = 0

    @property
    def encoder(self) -> nn.Module:
        """The encoder as it is after fine-tuning."""
        return self.model.encoder

    def predict(self, images: npt.NDArray[np.uint8] | Tensor) -> npt.NDArray[np.int64]:
        """Return the classes, (N,) int64, of uint8 images (N, 1, S, S): those of the greatest mean probability.

        The mean is over the image as it is and `test_views` views of it, drawn anew but alike at each call.
        """
        return _classes(self.model, torch.as_tensor(images), self.views, self.test_views)


def fine_tune(
    model: Any,
    corpus: Corpus,
    split: Split,
    labels: npt.NDArray[np.int64],
    validation: npt.NDArray[np.int64] | None = None,
    steps: int = 200,
    batch_size: int = 64,
    freeze: str = "none",
    unfreeze_at: float = 0.5,
    learning_rate: float = 1e-3,
    encoder_lr_factor: float = 0.1,
    weight_decay: float = 1e-4,
    widths: Sequence[int] = (),
    augmentation: str = "classification",
    label_smoothing: float = 0.0,
    checks: int = 10,
    test_views: int = 0,
    seed: int = 0,
    image_size: int | None = None,
) -> FineTuned:
    """Replace the head of a pre-trained model and train on the labelled rows; score the test images once.

    The encoder is copied: `model` never changes. AdamW with a cosine schedule; features are centred and scaled once, by
    numbers from the labelled images (see `FineTunedModel`).

    Args:
        model: a `Run`, a method, an encoder or an earlier `FineTuned`; an untrained encoder gives "from scratch".
        corpus, split: the images; the split says which are for testing.
        labels: rows to train on; no other label is read, except those of `validation` and, at the end, of the test.
        validation: rows on which the best of `checks` steps is chosen; without them the last step is kept.
        steps: optimiser steps.
        batch_size: images a step, at most all that are labelled.
        freeze: "none" trains everything, "all" the head alone, "then_unfreeze" the head first and then everything.
        unfreeze_at: share of the steps before "then_unfreeze" sets the encoder free, 0..1.
        learning_rate: of the head.
        encoder_lr_factor: the encoder's learning rate as a share of the head's; from scratch, use 1.
        weight_decay: of AdamW.
        widths: hidden layers of the head; () is linear, (256, 128) the published classifier.
        augmentation: preset of `views.make_views`; with "none" and a frozen encoder, images are encoded once.
        label_smoothing: share of a label that goes to all classes alike (Szegedy et al. 2016, section 7), 0 to below 1.
        checks: how often history gets a row and validation images are scored.
        test_views: test-time augmentation: a test image's class probabilities are averaged over the image as it is and
            this many views of it, drawn as in training.
        seed: of the head's weights, batches and views.
        image_size: as in `FeatureBank`.

    Raises:
        CourseError: an unknown freeze or preset, a number out of range, or rows that overlap or are test images.
    """
    labels = np.asarray(labels, np.int64)
    held_out = np.empty(0, np.int64) if validation is None else np.asarray(validation, np.int64)
    _check(corpus, split, labels, held_out, steps, batch_size, freeze, unfreeze_at, checks)
    if not 0 <= label_smoothing < 1:
        raise CourseError(f"label_smoothing={label_smoothing}: give a share from 0 to below 1.")
    if test_views < 0 or (test_views and augmentation == "none"):
        raise CourseError(
            f"test_views={test_views} with augmentation='{augmentation}': give 0 or more, and an augmentation to draw from."
        )
    hardware.prepare()
    encoder = copy.deepcopy(encoder_of(model)).to(hardware.accelerator())
    size = image_size or getattr(encoder, "image_size", None) or corpus.images.shape[-1]
    stored = corpus.images if size == corpus.images.shape[-1] else corpus.resized(size)
    targets = np.asarray(corpus.labels, np.int64)
    images = torch.from_numpy(np.ascontiguousarray(stored[labels]))
    plan = _Plan(
        steps=steps,
        batch_size=min(batch_size, len(labels)),
        thaw={"none": 0, "all": steps, "then_unfreeze": round(unfreeze_at * steps)}[freeze],
        every=math.ceil(steps / checks),
        rates=(learning_rate, learning_rate * encoder_lr_factor),
        weight_decay=weight_decay,
        views=make_views(augmentation, size),
        augments=augmentation != "none",
        label_smoothing=label_smoothing,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # for the head's weights and any dropout; batches and views have their own generator
        tuned = _new_model(encoder, images, len(corpus.classes), widths)
        keeper = _Keeper(tuned, stored[held_out], targets[held_out])
        _train(tuned, images, torch.from_numpy(targets[labels]), plan, torch.Generator().manual_seed(seed), keeper)
    tuned = keeper.best().cpu().eval().requires_grad_(True)

    tested = torch.from_numpy(np.ascontiguousarray(stored[split.test]))
    predictions = _classes(tuned, tested, plan.views, test_views)
    about = {"kind": "fine_tune", "labels": len(labels), "validation_labels": len(held_out), "seed": seed}
    about |= {"freeze": freeze, "steps": steps, "kept_step": keeper.step, "augmentation": augmentation}
    about |= {"learning_rate": learning_rate, "encoder_lr_factor": encoder_lr_factor, "widths": list(widths)}
    about |= {"label_smoothing": label_smoothing, "test_views": test_views}
    report = {**about, **test_report(targets[split.test], predictions, corpus.classes)}
    return FineTuned(tuned, report, pd.DataFrame(keeper.history), size, plan.views, test_views)


@dataclass(frozen=True)
class _Plan:
    steps: int
    batch_size: int
    thaw: int  # the encoder learns from the step after this one
    every: int  # steps from check to check
    rates: tuple[float, float]  # learning rates of head and encoder
    weight_decay: float
    views: Views
    augments: bool
    label_smoothing: float


def _train(
    model: FineTunedModel, images: Tensor, targets: Tensor, plan: _Plan, generator: torch.Generator, keeper: _Keeper
) -> None:
    encoder, device = model.encoder, model.scale.device
    learns = plan.thaw < plan.steps
    encoder.requires_grad_(learns)
    groups: list[dict[str, Any]] = [{"params": list(model.head.parameters()), "lr": plan.rates[0]}]
    if learns:
        groups.append({"params": list(encoder.parameters()), "lr": plan.rates[1]})
    optimizer = torch.optim.AdamW(groups, weight_decay=plan.weight_decay)
    cosine = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / plan.steps))
    )
    # Frozen and not augmented, an image has the same features at every step.
    fixed = None if learns or plan.augments else _features(model, images)
    since: list[tuple[float, float]] = []
    for step, rows in zip(range(1, plan.steps + 1), endless(torch.arange(len(images)), plan.batch_size, generator)):
        frozen = step <= plan.thaw
        model.train()
        encoder.train(not frozen)
        with hardware.autocast():
            if fixed is not None:
                features = fixed[rows]
            else:
                with torch.set_grad_enabled(not frozen):
                    features = model.features(plan.views(images[rows], generator).to(device))
            scores = model.classify(features)
        target = targets[rows].to(device)
        loss = F.cross_entropy(scores, target, label_smoothing=plan.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        cosine.step()
        since.append((loss.item(), (scores.argmax(1) == target).float().mean().item()))
        if step == plan.steps or step % plan.every == 0:
            keeper.check(step, *np.mean(since, axis=0))
            since = []


class _Keeper:
    """Writes the history and keeps the weights of the best check, or of the last one without validation images."""

    def __init__(self, model: FineTunedModel, images: npt.NDArray[np.uint8], targets: npt.NDArray[np.int64]) -> None:
        self.model, self.targets = model, torch.from_numpy(targets)
        self.images = torch.from_numpy(np.ascontiguousarray(images))
        self.history: list[dict[str, float]] = []
        self.step = 0
        self._score = (-math.inf, -math.inf)
        self._weights: dict[str, Tensor] | None = None

    def check(self, step: int, loss: float, accuracy: float) -> None:
        row: dict[str, float] = {"step": step, "loss": float(loss), "accuracy": float(accuracy)}
        if len(self.targets):
            with hardware.autocast():
                scores = _scores(self.model, self.images)
            row["validation_accuracy"] = (scores.argmax(1) == self.targets).float().mean().item()
            row["validation_loss"] = F.cross_entropy(scores, self.targets).item()
            score = row["validation_accuracy"], -row["validation_loss"]
            if self._weights is None or score > self._score:
                self._score, self.step = score, step
                self._weights = {name: value.clone() for name, value in self.model.state_dict().items()}
        else:
            self.step = step
        self.history.append(row)

    def best(self) -> FineTunedModel:
        if self._weights is not None:
            self.model.load_state_dict(self._weights)
        return self.model


def _new_model(encoder: nn.Module, images: Tensor, n_classes: int, widths: Sequence[int]) -> FineTunedModel:
    encoder.to(memory_format=torch.channels_last)
    bare = FineTunedModel(encoder, nn.Identity(), torch.zeros(1), 1.0).to(hardware.accelerator())
    features = _features(bare, images[:512])
    if not features.isfinite().all():
        raise CourseError("the encoder's features hold NaN or infinity: it has diverged, nothing can be built on it.")
    head = Classifier(features.shape[1], n_classes, widths)
    # A step of Adam moves a linear score by about learning rate * sum of |features|: this sum is what must be alike.
    centre = features.mean(0)
    spread, size = ((features - part).abs().sum(1).mean().item() for part in (centre, 0))
    scale = FEATURE_SUM / max(spread, 1e-6 * size, 1e-12)  # of a collapsed encoder there is only rounding to magnify
    return FineTunedModel(encoder, head, centre, scale).to(hardware.accelerator())


def _features(model: FineTunedModel, images: Tensor) -> Tensor:
    device = model.scale.device
    with eval_mode(model), torch.no_grad():
        return torch.cat([model.features(to_float(part).to(device)).float() for part in images.split(256)])


def _scores(model: FineTunedModel, images: Tensor) -> Tensor:
    with eval_mode(model), torch.no_grad():
        return model.classify(_features(model, images)).cpu()


def _classes(model: FineTunedModel, images: Tensor, views: Views, test_views: int) -> npt.NDArray[np.int64]:
    generator = torch.Generator().manual_seed(0)
    classes = []
    for part in images.split(256):
        probability = _scores(model, part).softmax(1)
        for _ in range(test_views):
            probability += _scores(model, views(part, generator)).softmax(1)
        classes.append(probability.argmax(1))
    return torch.cat(classes).numpy()


def _check(
    corpus: Corpus,
    split: Split,
    labels: npt.NDArray[np.int64],
    validation: npt.NDArray[np.int64],
    steps: int,
    batch_size: int,
    freeze: str,
    unfreeze_at: float,
    checks: int,
) -> None:
    check_rows(corpus, split, labels)
    if len(validation):
        check_rows(corpus, split, validation, "validation")
    if len(np.unique(corpus.labels[labels])) < 2:
        raise CourseError(
            "`labels` holds images of one class alone: nothing can be told apart. Give at least two classes."
        )
    if np.isin(labels, validation).any():
        raise CourseError("`labels` and `validation` share rows: what is chosen on must not be trained on.")
    if freeze not in FREEZES:
        raise CourseError(f"freeze='{freeze}': choose one of {', '.join(FREEZES)}.")
    if min(steps, batch_size, checks) < 1 or not 0 <= unfreeze_at <= 1:
        raise CourseError("fine_tune: steps, batch_size and checks must be at least 1, and unfreeze_at in 0..1.")
