"""Two views of each image, sent through a projection head: what the joint-embedding methods share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from brainssl_utils.checks import check_choice
from brainssl_utils.errors import CourseError
from brainssl_utils.methods.base import Method, Setting, project
from brainssl_utils.networks import Classifier, ProjectionHead

READS = ("features", "projections", "maps")
"""What a classifier can read: the encoder's features, the projections, or the flattened maps before its dense layers."""
MEASURED = ("features", "projections")
"""What c_acc and r_acc can be taken on."""

TEMPERATURE = Setting("temperature", "0.1", "0.1", "temperature")
HEAD = Setting("projection head", "dense 256-128-64, ReLU after each", "dense 128, ReLU, dense 128", "head_widths")
CLASSIFIER = (
    Setting("classifier", "dense 256-128-4", "one linear layer", "classifier_widths"),
    Setting("classifier's gradient reaches the encoder", "not said", "no", "joint"),
    Setting(
        "classifier reads", '"the similarity matrices obtained in the Projection Head"', "features", "classifier_reads"
    ),
    Setting("c_acc and r_acc are taken on", "not said", "features", "metrics_on"),
)
# The three baselines of Table 2 are, most likely, the public reference with the one augmentation that the study names.
REFERENCE: dict[str, Any] = {
    "encoder": "reference",
    "views": "paper",
    "classifier_views": "paper",
    "head_widths": (128, 128),
    "head_relu": False,
}


class TwoViewMethod(Method):
    """A method whose loss is computed on projections of two views.

    Args:
        encoder: the encoder to train.
        head_widths: layers of the projection head.
        head_relu: whether the head's last layer ends in ReLU, as the study's does.
        classifier_reads: "features" of the encoder; "projections"; or "maps", the flattened convolutional maps before the
            encoder's dense layers, which then serve the pretext task alone.
        metrics_on: "features" or "projections", on which c_acc and r_acc are taken.
        **settings: see `Method`.

    Raises:
        CourseError: a setting that cannot work; "maps" of an encoder that has none.
    """

    def __init__(
        self,
        encoder: nn.Module,
        head_widths: Sequence[int] = (256, 128, 64),
        head_relu: bool = False,
        classifier_reads: str = "features",
        metrics_on: str = "features",
        **settings: Any,
    ) -> None:
        check_choice("classifier_reads", classifier_reads, READS)
        check_choice("metrics_on", metrics_on, MEASURED)
        super().__init__(encoder, **settings)
        self.projection_head = ProjectionHead(self.encoder.out_dim, head_widths, head_relu)
        self.classifier_reads, self.metrics_on = classifier_reads, metrics_on
        if classifier_reads != "features":
            # Drawn after everything else: the first weights of the usual classifier stay what they have always been.
            self.classifier = Classifier(self._read_width(), self.config["n_classes"], self.config["classifier_widths"])

    def _read_width(self) -> int:
        """Width of what the classifier reads, where that is not the features."""
        if self.classifier_reads == "projections":
            return self.projection_head.out_dim
        if self.encoder.map_shape is None:
            raise CourseError(
                f"classifier_reads is 'maps', but encoder {self.encoder.name} has no maps: choose 'features' or 'projections'."
            )
        return math.prod(self.encoder.map_shape)

    def for_classifier(self, images: Tensor) -> Tensor:
        """Return what the classifier reads of float images (B, 1, S, S): (B, width), as `classifier_reads` has it."""
        if self.classifier_reads == "maps":
            return self.encoder.maps(images).flatten(1)
        features = self.encoder(images)
        return self.projection_head(features) if self.classifier_reads == "projections" else features

    @torch.no_grad()
    def compared(self, features: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return what c_acc and r_acc are taken on, as `metrics_on` has it: one (B, width) a view."""
        return project(self.projection_head, features) if self.metrics_on == "projections" else features
