"""What every method shares: drawing views, one pass through the encoder, the classifier, metrics, history, checkpoints.

A method file adds what makes it that method: its pretext loss, and, where it needs one, another way to draw its views.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brainssl_utils import metrics
from brainssl_utils.compute import hardware
from brainssl_utils.networks import Classifier, Encoder
from brainssl_utils.views import make_views, to_float

R_ACC_CASES = 512


class Batch(NamedTuple):
    """One training step's images, as the corpus keeps them."""

    images: Tensor  # uint8 (B, 1, S, S): unlabelled images, then the labelled ones
    labeled: Tensor  # uint8 (L, 1, S, S): the labelled ones again
    labels: Tensor  # int64 (L,)
    rows: Tensor  # int64 (B,): the corpus rows of `images`


@dataclass
class TrainingData:
    """All a method may look at while it trains.

    Attributes:
        images: uint8 (N, 1, S, S), the whole corpus at the training size.
        labels: int64 (N,); only those of `labeled` rows may be read by a self-supervised method.
        group: int64 (N,), the group of copies of each row.
        patient: (N,) integer codes of patients, -1 where unknown.
        pool: rows whose images may be seen (unlabelled and labelled).
        labeled: rows whose labels may be seen.
        test: rows for the curve of val_p_acc and the final report.
        validation: rows for choices; may be empty.
        seed: seeds batches and views.
    """

    images: Tensor
    labels: Tensor
    group: Tensor
    patient: Tensor
    pool: Tensor
    labeled: Tensor
    test: Tensor
    validation: Tensor
    seed: int


def step_generator(seed: int, step: int) -> torch.Generator:
    """Return the random generator of one training step: a resumed run draws what an uninterrupted one would have."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


class Method(pl.LightningModule):
    """A way to train an encoder: self-supervised on all images, with a classifier on the labelled ones beside it.

    Args:
        encoder: maps images (B, 1, S, S) in 0..1 to features (B, D).
        own: the method's own settings, for `config`.
        n_classes: classes of the labelled images.
        views: preset of the views that the pretext task compares ("paper" flips only).
        classifier_views: preset of the labelled images' views.
        classifier_widths: hidden layers of the classifier; () is a linear probe.
        joint: True lets the classification loss train the encoder too; False stops its gradient at the features.
        learning_rate: of Adam.
        protocol: the name under which the result is filed ("published", "fair", or your own).

    Attributes:
        config: everything chosen, as plain values; the record keeps it.
        history: one dict an epoch.
    """

    name: str = "method"
    title: str = "Method"
    two_views = True
    # (setting, what the paper says, what the public reference does, key of `config`)
    SETTINGS: Sequence[tuple[str, str, str, str]] = ()
    COMMON_SETTINGS: Sequence[tuple[str, str, str, str]] = (
        ("image size", "96 x 96", "96 x 96", "image_size"),
        ("optimiser", "Adam, rate not given", "Adam, 1e-3", "learning_rate"),
        ("contrastive views", "section 2.2.1: crop and blur; section 3: flip", "flip, crop, jitter 0.5", "views"),
        ("classifier's views", "not given", "flip, crop, jitter 0.2", "classifier_views"),
        ("encoder", "3 x [2 conv 3x3 + pool], 16-32-64", "4 conv 3x3 stride 2, 128, dense 128", "encoder"),
    )

    def __init__(
        self,
        encoder: Encoder,
        own: dict[str, Any] | None = None,
        n_classes: int = 4,
        views: str = "contrastive",
        classifier_views: str = "classification",
        classifier_widths: Sequence[int] = (),
        joint: bool = False,
        learning_rate: float = 1e-3,
        protocol: str = "custom",
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.joint = joint
        self.classifier = Classifier(encoder.out_dim, n_classes, classifier_widths)
        self.views = make_views(views, encoder.image_size)
        self.classifier_views = make_views(classifier_views, encoder.image_size)
        self.config: dict[str, Any] = {
            "encoder": encoder.name,
            "features": encoder.out_dim,
            "image_size": encoder.image_size,
            "n_classes": n_classes,
            "views": views,
            "classifier_views": classifier_views,
            "classifier_widths": list(classifier_widths),
            "joint": joint,
            "learning_rate": learning_rate,
            **(own or {}),
        }
        self.protocol = protocol
        self.history: list[dict[str, float | int | None]] = []
        self.data: TrainingData | None = None
        self._sums: dict[str, list[float]] = {}
        self.views_seen = 0
        self.rows = torch.empty(0, dtype=torch.int64)

    # What a method fills in ---------------------------------------------------------------------------------------

    def pretext_views(self, images: Tensor, generator: torch.Generator) -> list[Tensor]:
        """Return the batches of views to encode, each float (B, 1, S, S): two independent draws unless overridden."""
        return [self.views(images, generator), self.views(images, generator)]

    def pretext_loss(self, features: Sequence[Tensor]) -> Tensor:
        """Return the pretext loss, a scalar, of the encoded views, each (B, D)."""
        raise NotImplementedError

    def setup_data(self, data: TrainingData) -> None:
        """Receive the data before training starts."""
        self.data = data

    # The step -----------------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        assert self.data is not None
        generator = step_generator(self.data.seed, self.global_step)
        self.rows = batch.rows
        views = self.pretext_views(batch.images, generator)
        labeled = self.classifier_views(batch.labeled, generator)
        sizes = [len(view) for view in views]
        if self.joint:
            # One pass through the encoder for all views: large batches keep both cores busy.
            features = self.encoder(torch.cat([*views, labeled]))
            *pretext, probe = features.split([*sizes, len(labeled)])
        else:
            # The gradient stops at the classifier's features: none need be carried back through the encoder.
            pretext = self.encoder(torch.cat(views)).split(sizes) if views else ()
            with torch.no_grad():
                probe = self.encoder(labeled)
        self.views_seen += sum(sizes) + len(labeled)

        scores = self.classifier(probe).float()
        p_loss = F.cross_entropy(scores, batch.labels)
        self.note("p_loss", p_loss)
        self.note("p_acc", (scores.argmax(1) == batch.labels).float().mean())
        if not pretext:
            return p_loss
        c_loss = self.pretext_loss(pretext)
        self.note("c_loss", c_loss)
        if self.two_views:
            h1, h2 = (view.detach().float() for view in pretext)
            self.note_agreement(h1, h2, batch_idx)
        return c_loss + p_loss

    def in_float32(self) -> torch.autocast:
        """A context without autocast: losses divide by a small temperature, which magnifies bfloat16's rounding."""
        return torch.autocast(self.device.type, enabled=False)

    def note(self, name: str, value: Tensor | float) -> None:
        """Add a step's value to the epoch's mean."""
        self._sums.setdefault(name, []).append(value.detach() if isinstance(value, Tensor) else value)  # type: ignore[arg-type]

    def note_agreement(self, h1: Tensor, h2: Tensor, step: int) -> None:
        """Note c_acc at every step, and r_acc too unless features are so wide (D x D) that a sample must stand for all.

        The sample is `R_ACC_CASES` of the features at the first, middle and last step of an epoch, each compared with all.
        """
        steps = int(self.trainer.num_training_batches)
        self.note("c_acc", metrics.contrastive_accuracy(h1, h2))
        if h1.shape[1] <= R_ACC_CASES or step in {0, steps // 2, steps - 1}:
            self.note("r_acc", metrics.correlation_accuracy(h1, h2, cases=R_ACC_CASES))
            self.note("dead_features", metrics.dead_features(h1, h2))

    def close_epoch(self, seconds: float) -> dict[str, float | int | None]:
        """Average the epoch's notes, add the accuracies on test and validation images, and append the row to `history`."""
        assert self.data is not None
        row: dict[str, float | int | None] = {"epoch": self.current_epoch}
        columns = ("c_loss", "c_acc", "r_acc", "p_loss", "p_acc", "dead_features")
        for name in (*columns, *(extra for extra in self._sums if extra not in columns)):
            values = self._sums.get(name)
            row[name] = float(sum(float(value) for value in values) / len(values)) if values else None
        # The published curves follow the test images through training; nothing is ever chosen on this column.
        row["val_p_acc"] = self.accuracy_on(self.data.test)
        if len(self.data.validation):
            row["validation_acc"] = self.accuracy_on(self.data.validation)
        row["seconds"] = seconds
        self.history.append(row)
        self._sums = {}
        return row

    # Prediction ---------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def predict(self, images: Tensor, batch_size: int = 512) -> Tensor:
        """Return the predicted class, int64 (B,), of images uint8 or float in 0..1, (B, 1, S, S), not augmented."""
        was_training = self.training
        self.eval()
        predicted = []
        with hardware.autocast():
            for part in images.split(batch_size):
                views = to_float(part).to(self.device)
                predicted.append(self.classifier(self.encoder(views)).argmax(1))
        self.train(was_training)
        return torch.cat(predicted).cpu()

    def accuracy_on(self, rows: Tensor) -> float | None:
        """Accuracy of the classifier on rows of the training data's corpus; None without rows."""
        assert self.data is not None
        if not len(rows):
            return None
        return float((self.predict(self.data.images[rows]) == self.data.labels[rows]).float().mean())

    # Lightning ----------------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> torch.optim.Optimizer:
        # Adam keeps its moments a parameter, so one optimiser equals the reference's two as long as gradients are stopped.
        return torch.optim.Adam(self.parameters(), lr=self.config["learning_rate"], fused=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["course"] = {"history": self.history, "views_seen": self.views_seen}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = checkpoint["course"]["history"]
        self.views_seen = checkpoint["course"]["views_seen"]

    # Telling ------------------------------------------------------------------------------------------------------

    def settings_table(self) -> pd.DataFrame:
        """Return a table: setting, "paper says", "reference does", "we chose", the last taken from `config`."""
        rows = [
            {
                "setting": setting,
                "paper says": paper,
                "reference does": reference,
                "we chose": describe(self.config[key]),
            }
            for setting, paper, reference, key in (*self.COMMON_SETTINGS, *self.SETTINGS)
        ]
        return pd.DataFrame(rows).set_index("setting")


def describe(value: Any) -> str:
    """A setting as a person writes it: lists with dashes, yes and no, short numbers."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return "-".join(str(item) for item in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def project(head: nn.Module, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Send every batch of views through a head in one pass, and return the projections in float32."""
    return head(torch.cat(list(features))).float().split([len(view) for view in features])
