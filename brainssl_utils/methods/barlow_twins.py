"""Barlow Twins: two views' features agree one by one and say nothing twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightly.loss import BarlowTwinsLoss
from torch import Tensor

from brainssl_utils.errors import CourseError
from brainssl_utils.methods.base import Method, project
from brainssl_utils.methods.simclr import HEAD
from brainssl_utils.networks import Encoder, ProjectionHead


class BarlowTwins(Method):
    """Barlow Twins (Zbontar et al. 2021, eq. 1): the cross-correlation matrix of two views is driven to the identity.

    Args:
        encoder: the encoder to train.
        off_diagonal_weight: lambda of the paper's eq. 1; 5e-3 there. The public reference averages its two terms and
            weighs the second by 10, about 10 / (D - 1) in this form.
        head_widths: layers of the projection head.
        head_relu: whether the head ends in ReLU; features that cannot be negative decorrelate less easily.
        **settings: see `Method`.

    Raises:
        CourseError: the weight is negative.
    """

    name, title = "barlow_twins", "Barlow Twins"
    SETTINGS = (
        ("off-diagonal weight", "lambda, not given", "10 in mean form, ~10/(D-1) in this one", "off_diagonal_weight"),
        HEAD,
        ("classifier", "dense 256-128-4", "one linear layer", "classifier_widths"),
        ("classifier's gradient reaches the encoder", "not said", "no", "joint"),
    )

    def __init__(
        self,
        encoder: Encoder,
        off_diagonal_weight: float = 5e-3,
        head_widths: Sequence[int] = (256, 128, 64),
        head_relu: bool = False,
        **settings: Any,
    ) -> None:
        if off_diagonal_weight < 0:
            raise CourseError(f"off_diagonal_weight is {off_diagonal_weight}, but must be 0 or more; 5e-3 is usual.")
        own = {
            "off_diagonal_weight": off_diagonal_weight,
            "head_widths": list(head_widths),
            "head_relu": head_relu,
        }
        super().__init__(encoder, own, **settings)
        self.projection_head = ProjectionHead(encoder.out_dim, head_widths, head_relu)
        self.loss = BarlowTwinsLoss(lambda_param=off_diagonal_weight)

    def pretext_loss(self, features: Sequence[Tensor]) -> Tensor:
        z1, z2 = project(self.projection_head, features)
        with self.in_float32():
            return self.loss(z1, z2)
