"""Two views of each image, sent through a projection head: what the joint-embedding methods share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from brainssl_utils.methods.base import Method, Setting
from brainssl_utils.networks import ProjectionHead

TEMPERATURE = Setting("temperature", "0.1", "0.1", "temperature")
HEAD = Setting("projection head", "dense 256-128-64, ReLU after each", "dense 128, ReLU, dense 128", "head_widths")
CLASSIFIER = (
    Setting("classifier", "dense 256-128-4", "one linear layer", "classifier_widths"),
    Setting("classifier's gradient reaches the encoder", "not said", "no", "joint"),
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
        **settings: see `Method`.
    """

    def __init__(
        self,
        encoder: nn.Module,
        head_widths: Sequence[int] = (256, 128, 64),
        head_relu: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(encoder, **settings)
        self.projection_head = ProjectionHead(self.encoder.out_dim, head_widths, head_relu)
