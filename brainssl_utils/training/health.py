"""Watching over a training: at the end of each epoch the features of a few fixed images are measured, and nothing changes.

Every method is measured in the same way, whatever views it trains with, so that lessons can be read beside each other:

- two views, drawn once by the preset "contrastive", of up to `IMAGES` images that training may see
- up to twice as many labelled images as they are, for the vote of nearest neighbours: on the validation images where there
  are any, else of each labelled image by those of other patients (other groups of copies where patients are not known)

The test images play no part. Encoding all of them once costs about as much as half a training step.
"""

from __future__ import annotations

import math

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor

from brainssl_utils.compute import hardware
from brainssl_utils.errors import CourseError
from brainssl_utils.evaluation.features import Features, encode
from brainssl_utils.evaluation.health import feature_measures
from brainssl_utils.evaluation.probes import knn_accuracy_apart
from brainssl_utils.methods.base import Method, TrainingData
from brainssl_utils.training.batches import Batches
from brainssl_utils.views import make_views

IMAGES = 128
"""Images of which two views are measured; fewer where a step has fewer, so that measuring stays cheap beside training."""


class HealthWatch(Callback):
    """Notes `knn_acc`, the measures of `evaluation.health` and `chance_loss` for each epoch's row of the history.

    It must stand before the callback that closes epochs. Neither the random numbers that training draws nor the method's
    weights, buffers and modes are touched.

    Args:
        batches: what the training reads.
    """

    def __init__(self, batches: Batches) -> None:
        self.data, self.size = batches.data, min(IMAGES, batches.size)
        self.n = batches.size + batches.labeled_size
        generator = torch.Generator().manual_seed(0)
        self.viewed = _some(self.data.pool, self.size, generator)
        self.voters = _some(self.data.labeled, 2 * self.size, generator)
        validation = _some(self.data.validation, self.size, generator)
        self.asked = validation if len(validation) else self.voters
        self.images: Tensor | None = None
        self.chance: float | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        images = self.data.images
        with isolate_rng(include_cuda=False):
            generator = torch.Generator().manual_seed(0)
            draw = make_views("contrastive", images.shape[-1])
            views = [draw(images[self.viewed], generator) for _ in range(2)]
            if isinstance(pl_module, Method):
                self.chance = pl_module.chance_loss(images[self.viewed], self.n)
        asked = [images[self.asked]] if self.asked is not self.voters else []
        # As bytes, like all images that are encoded: a quarter of the memory.
        self.images = torch.cat([*(view.mul(255).round().byte() for view in views), images[self.voters], *asked])

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not isinstance(pl_module, Method) or self.images is None:
            raise TypeError(f"HealthWatch watches the training of a Method, not of a {type(pl_module).__name__}.")
        with isolate_rng(include_cuda=False):
            precision = "bfloat16" if hardware.precision() == "bf16-mixed" else "float32"
            features = encode(pl_module.encoder, self.images, precision=precision)
        measures = feature_measures(
            *map(torch.from_numpy, (features[: self.size], features[self.size : 2 * self.size]))
        )
        pl_module.note("knn_acc", self._knn_accuracy(features[2 * self.size :]))
        for name, value in measures.items():
            pl_module.note(name, value)
        if self.chance is not None:
            pl_module.note("chance_loss", self.chance)

    def _knn_accuracy(self, features: Features) -> float:
        """The vote's accuracy; NaN where nothing can be read."""
        labels = self.data.labels.numpy()
        x = features[: len(self.voters)]
        asked = x if self.asked is self.voters else features[len(self.voters) :]
        related = _related(self.data, self.asked, self.voters)
        try:
            return knn_accuracy_apart(x, labels[self.voters], asked, labels[self.asked], related)
        except CourseError:  # features that are not finite, or labels that happen to be of one class
            return math.nan


def _some(rows: Tensor, n: int, generator: torch.Generator) -> Tensor:
    return rows[torch.randperm(len(rows), generator=generator)[:n]]


def _related(data: TrainingData, rows: Tensor, others: Tensor) -> np.ndarray:
    """(len(rows), len(others)) bool: whether two images are of one group of copies, or of one patient who is known."""
    group, patient = data.group, data.patient
    same_patient = (patient[rows][:, None] == patient[others]) & (patient[rows] >= 0)[:, None]
    return ((group[rows][:, None] == group[others]) | same_patient).numpy()
