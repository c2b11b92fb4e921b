"""SimCLR: two views of one image attract, all others in the batch repel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightly.loss import NTXentLoss
from torch import Tensor

from brainssl_utils.errors import CourseError
from brainssl_utils.methods.base import Method, project
from brainssl_utils.methods.losses import CrossViewLoss
from brainssl_utils.networks import Encoder, ProjectionHead

TEMPERATURE = ("temperature", "0.1", "0.1", "temperature")
HEAD = ("projection head", "dense 256-128-64, ReLU after each", "dense 128, ReLU, dense 128", "head_widths")


class SimCLR(Method):
    """SimCLR (Chen et al. 2020, eq. 1): NT-Xent on the projections of two views.

    Args:
        encoder: the encoder to train.
        temperature: divides the cosine similarities.
        head_widths: layers of the projection head.
        head_relu: whether the head's last layer ends in ReLU, as the study's does.
        negatives: "all" is NT-Xent (2N - 2 negatives); "cross" the reference's form (the other view's N - 1).
        **settings: see `Method`.

    Raises:
        CourseError: `negatives` is neither.
    """

    name, title = "simclr", "SimCLR"
    SETTINGS = (
        TEMPERATURE,
        HEAD,
        ("negatives", "all 2N (eq. 1, with z_k for z_j)", "the other view's", "negatives"),
        ("classifier", "dense 256-128-4", "one linear layer", "classifier_widths"),
        ("classifier's gradient reaches the encoder", "not said", "no", "joint"),
    )

    def __init__(
        self,
        encoder: Encoder,
        temperature: float = 0.1,
        head_widths: Sequence[int] = (256, 128, 64),
        head_relu: bool = False,
        negatives: str = "all",
        **settings: Any,
    ) -> None:
        if negatives not in ("all", "cross"):
            raise CourseError(f"negatives is '{negatives}': choose 'all' (NT-Xent) or 'cross' (the other view's only).")
        own = {
            "temperature": temperature,
            "head_widths": list(head_widths),
            "head_relu": head_relu,
            "negatives": negatives,
        }
        super().__init__(encoder, own, **settings)
        self.projection_head = ProjectionHead(encoder.out_dim, head_widths, head_relu)
        self.loss = NTXentLoss(temperature) if negatives == "all" else CrossViewLoss(temperature)

    def pretext_loss(self, features: Sequence[Tensor]) -> Tensor:
        z1, z2 = project(self.projection_head, features)
        with self.in_float32():
            return self.loss(z1, z2)
