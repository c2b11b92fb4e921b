"""Fine-tuning: a new classification head on a copy of a pre-trained encoder, trained on the labels there are."""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brainssl_utils.checks import check_choice, check_number
from brainssl_utils.compute import hardware
from brainssl_utils.errors import CourseError
from brainssl_utils.evaluation.features import encoder_of, eval_mode, images_for
from brainssl_utils.evaluation.reports import check_rows, test_report
from brainssl_utils.networks import Classifier
from brainssl_utils.sampling import endless
from brainssl_utils.views import RECIPES, Views, make_views, to_float

if TYPE_CHECKING:
    from brainssl_utils.data.corpus import Corpus
    from brainssl_utils.data.splits.split import Split

Rows = npt.NDArray[np.int64]
FREEZES = ("none", "all", "then_unfreeze")
FEATURE_SUM = 100.0


@dataclass(frozen=True)
class FineTuning:
    """Settings of `fine_tune`; change some with `dataclasses.replace`.

    The optimiser is AdamW (Loshchilov and Hutter 2019) with a cosine schedule down to 0 (Loshchilov and Hutter 2017).

    Attributes:
        steps: optimiser steps, at least 1.
        batch_size: images a step, at least 1; of fewer labelled images, all.
        freeze: "none" trains everything, "all" the head alone, "then_unfreeze" the head first and then everything, so that
            a new head's large gradients do not distort good features (Kumar et al. 2022).
        unfreeze_at: share of the steps before "then_unfreeze" sets the encoder free, 0..1.
        learning_rate: of the head, 0 or more.
        encoder_lr_factor: the encoder's learning rate as a share of the head's, 0 or more: what was pre-trained moves less
            (Howard and Ruder 2018, section 3.2). From scratch, use 1.
        weight_decay: of AdamW, 0 or more.
        widths: hidden layers of the head, each at least 1 wide; () is linear, (256, 128) the published classifier.
        augmentation: preset of `views.make_views`; with "none" and a frozen encoder, images are encoded once.
        label_smoothing: share of a label that goes to all classes alike (Szegedy et al. 2016, section 7), 0 to below 1.
        checks: how often history gets a row and validation images are scored, at least 1.
        test_views: test-time augmentation (Krizhevsky et al. 2012, section 4.1): a test image's class probabilities are
            averaged over the image as it is and this many views of it, drawn as in training. 0 takes the image alone.
        seed: of the head's weights, batches and views, 0 or more.

    Raises:
        CourseError: a value outside its range, by name.
    """

    steps: int = 200
    batch_size: int = 64
    freeze: str = "none"
    unfreeze_at: float = 0.5
    learning_rate: float = 1e-3
    encoder_lr_factor: float = 0.1
    weight_decay: float = 1e-4
    widths: tuple[int, ...] = ()
    augmentation: str = "classification"
    label_smoothing: float = 0.0
    checks: int = 10
    test_views: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "checks"):
            check_number(name, getattr(self, name), at_least=1, whole=True)
        for name in ("test_views", "seed"):
            check_number(name, getattr(self, name), at_least=0, whole=True)
        for name in ("learning_rate", "encoder_lr_factor", "weight_decay"):
            check_number(name, getattr(self, name), at_least=0)
        check_number("unfreeze_at", self.unfreeze_at, at_least=0, at_most=1)
        check_number("label_smoothing", self.label_smoothing, at_least=0, below=1)
        check_choice("freeze", self.freeze, FREEZES)
        check_choice("augmentation", self.augmentation, RECIPES)
        if not isinstance(self.widths, (tuple, list)):
            raise CourseError(f"widths is {self.widths!r}: it must be a tuple of whole numbers, such as (256, 128).")
        for width in self.widths:
            check_number("widths", width, at_least=1, whole=True)
        if self.test_views and self.augmentation == "none":
            raise CourseError(f"test_views is {self.test_views} with augmentation 'none': there are no views to draw.")

    def changed(self, **changes: Any) -> FineTuning:
        """The same settings with some fields changed.

        Raises:
            CourseError: no field has that name, or a value cannot work.
        """
        names = [field.name for field in fields(self)]
        if unknown := sorted(set(changes) - set(names)):
            raise CourseError(f"fine-tuning has no setting {', '.join(unknown)}. It has: {', '.join(names)}.")
        return replace(self, **changes)

    @property
    def unfreeze_step(self) -> int:
        """Steps for which the encoder stays frozen; `steps` if for all."""
        return {"none": 0, "all": self.steps, "then_unfreeze": round(self.unfreeze_at * self.steps)}[self.freeze]


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
    labels: Rows,
    settings: FineTuning = FineTuning(),
    validation: Rows | None = None,
    image_size: int | None = None,
    **changes: Any,
) -> FineTuned:
    """Replace the head of a pre-trained model and train on the labelled rows; score the test images once.

    The encoder is copied: `model` never changes. Features are centred and scaled once, by numbers from the labelled images
    (see `FineTunedModel`).

    Args:
        model: a `Run`, a method, an encoder or an earlier `FineTuned`; an untrained encoder gives "from scratch".
        corpus, split: the images; the split says which are for testing.
        labels: rows to train on; no other label is read, except those of `validation` and, at the end, of the test.
        settings: how to train.
        validation: rows on which the best of the settings' `checks` is chosen; without them the last step is kept.
        image_size: as in `FeatureBank`.
        **changes: fields of `settings` to change, as in steps=300.

    Raises:
        CourseError: rows that overlap, are of one class alone or are test images; an encoder that has diverged; a setting
            that is none or cannot work.
    """
    settings = settings.changed(**changes)
    labels = np.asarray(labels, np.int64)
    held_out = np.asarray([] if validation is None else validation, np.int64)
    _check_labelled(corpus, split, labels, held_out)
    hardware.prepare()
    encoder = copy.deepcopy(encoder_of(model)).to(hardware.accelerator())
    stored = images_for(encoder, corpus, image_size)
    targets = np.asarray(corpus.labels, np.int64)
    images = torch.from_numpy(np.ascontiguousarray(stored[labels]))
    views = make_views(settings.augmentation, stored.shape[-1])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)  # for the head and any dropout; batches and views have their own generator
        tuned = _new_model(encoder, images, len(corpus.classes), settings.widths)
        checks = _Checks(tuned, stored[held_out], targets[held_out])
        _train(tuned, images, torch.from_numpy(targets[labels]), settings, views, checks)
    checks.restore_best()
    tested = torch.from_numpy(np.ascontiguousarray(stored[split.test]))
    predictions = _classes(tuned.eval(), tested, views, settings.test_views)
    tuned = tuned.cpu()
    about = {"kind": "fine_tune", "labels": len(labels), "validation_labels": len(held_out)}
    about |= {**asdict(settings), "widths": list(settings.widths), "kept_step": checks.kept_step}
    report = {**about, **test_report(targets[split.test], predictions, corpus.classes)}
    return FineTuned(tuned, report, pd.DataFrame(checks.history), stored.shape[-1], views, settings.test_views)


def _train(
    model: FineTunedModel, images: Tensor, targets: Tensor, settings: FineTuning, views: Views, checks: _Checks
) -> None:
    """Take the optimiser steps; a check comes after every so many, and after the last."""
    encoder, device = model.encoder, model.scale.device
    steps, unfreeze_step = settings.steps, settings.unfreeze_step
    head_rate, encoder_rate = settings.learning_rate, settings.learning_rate * settings.encoder_lr_factor
    groups = [
        {"params": list(model.head.parameters()), "lr": head_rate},
        {"params": list(encoder.parameters()), "lr": encoder_rate},  # left alone while they have no gradient
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    cosine = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps)))
    # Frozen and not augmented, an image has the same features at every step.
    fixed = _features(model, images) if unfreeze_step == steps and settings.augmentation == "none" else None
    generator = torch.Generator().manual_seed(settings.seed)
    batches = endless(torch.arange(len(images)), min(settings.batch_size, len(images)), generator)
    check_every = math.ceil(steps / settings.checks)
    since_check: list[tuple[float, float]] = []
    for step, rows in zip(range(1, steps + 1), batches):
        frozen = step <= unfreeze_step
        model.train()
        encoder.train(not frozen)
        with hardware.autocast():
            if fixed is not None:
                features = fixed[rows]
            else:
                with torch.set_grad_enabled(not frozen):
                    features = model.features(views(images[rows].to(device), generator))
            scores = model.classify(features)
        target = targets[rows].to(device)
        loss = F.cross_entropy(scores, target, label_smoothing=settings.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        cosine.step()
        since_check.append((loss.item(), (scores.argmax(1) == target).float().mean().item()))
        if step == steps or step % check_every == 0:
            checks.add(step, *np.mean(since_check, axis=0))
            since_check = []


class _Checks:
    """The checks of a training: their history, and the weights of the best by validation accuracy, then loss.

    Without validation images the last step is the one kept.
    """

    def __init__(self, model: FineTunedModel, images: npt.NDArray[np.uint8], targets: Rows) -> None:
        self.model, self.targets = model, torch.from_numpy(targets)
        self.images = torch.from_numpy(np.ascontiguousarray(images))
        self.history: list[dict[str, float]] = []
        self.kept_step = 0
        self._best_score = (-math.inf, -math.inf)
        self._best_weights: dict[str, Tensor] | None = None

    def add(self, step: int, loss: float, accuracy: float) -> None:
        row: dict[str, float] = {"step": step, "loss": float(loss), "accuracy": float(accuracy)}
        if len(self.targets):
            with hardware.autocast():
                scores = _scores(self.model, self.images)
            row["validation_accuracy"] = (scores.argmax(1) == self.targets).float().mean().item()
            row["validation_loss"] = F.cross_entropy(scores, self.targets).item()
            score = row["validation_accuracy"], -row["validation_loss"]
            if self._best_weights is None or score > self._best_score:
                self._best_score, self.kept_step = score, step
                self._best_weights = {name: value.clone() for name, value in self.model.state_dict().items()}
        else:
            self.kept_step = step
        self.history.append(row)

    def restore_best(self) -> None:
        if self._best_weights is not None:
            self.model.load_state_dict(self._best_weights)


def _new_model(encoder: nn.Module, images: Tensor, n_classes: int, widths: tuple[int, ...]) -> FineTunedModel:
    encoder.to(memory_format=torch.channels_last)
    bare = FineTunedModel(encoder, nn.Identity(), torch.zeros(1), 1.0).to(hardware.accelerator())
    features = _features(bare, images[:512])
    if not features.isfinite().all():
        raise CourseError("the encoder's features hold NaN or infinity: it has diverged, nothing can be built on it.")
    head = Classifier(features.shape[1], n_classes, widths)
    # A step of Adam moves a linear score by about learning rate * sum of |features|: this sum is what must be alike.
    centre = features.mean(0)
    spread, size = ((features - part).abs().sum(1).mean().item() for part in (centre, 0))
    if (
        spread <= 1e-6 * size
    ):  # a collapsed encoder: there is only rounding to magnify, so its features stay as large as
        spread = size or FEATURE_SUM  # they are, and training starts at chance
    scale = FEATURE_SUM / spread
    # A copy of a frozen encoder is free to learn; how long it stays frozen is up to the settings.
    return FineTunedModel(encoder, head, centre, scale).to(hardware.accelerator()).requires_grad_(True)


def _features(model: FineTunedModel, images: Tensor) -> Tensor:
    device = model.scale.device
    with eval_mode(model), torch.no_grad():
        return torch.cat([model.features(to_float(part.to(device))).float() for part in images.split(256)])


def _scores(model: FineTunedModel, images: Tensor) -> Tensor:
    with eval_mode(model), torch.no_grad():
        return model.classify(_features(model, images)).cpu()


def _classes(model: FineTunedModel, images: Tensor, views: Views, test_views: int) -> npt.NDArray[np.int64]:
    generator = torch.Generator().manual_seed(0)
    classes = []
    for part in images.split(256):
        probability = _scores(model, part).softmax(1)
        for _ in range(test_views):
            probability += _scores(model, views(part.to(model.scale.device), generator)).softmax(1)
        classes.append(probability.argmax(1))
    return torch.cat(classes).numpy()


def _check_labelled(corpus: Corpus, split: Split, labels: Rows, validation: Rows) -> None:
    check_rows(corpus, split, labels)
    if len(validation):
        check_rows(corpus, split, validation, "validation")
    if len(np.unique(corpus.labels[labels])) < 2:
        raise CourseError(
            "`labels` holds images of one class alone: nothing can be told apart. Give at least two classes."
        )
    if np.isin(labels, validation).any():
        raise CourseError("`labels` and `validation` share rows: what is chosen on must not be trained on.")
