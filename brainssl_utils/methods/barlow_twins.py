"""Barlow Twins: two views' features agree one by one and say nothing twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightly.loss import BarlowTwinsLoss
from torch import Tensor, nn

from brainssl_utils.checks import check_number
from brainssl_utils.methods.base import Setting, project
from brainssl_utils.methods.two_views import CLASSIFIER, HEAD, REFERENCE, TwoViewMethod

MEAN_FORM_WEIGHT = 10
"""Weight of the second term in the public reference, which takes the mean of each term's entries."""


class BarlowTwins(TwoViewMethod):
    """Barlow Twins (Zbontar et al. 2021, eq. 1): the cross-correlation matrix of two views is driven to the identity.

    Args:
        encoder: the encoder to train.
        off_diagonal_weight: lambda of the paper's eq. 1, 0 or more. It belongs to the width D of the projections: 5e-3 there,
            at 8192. The public reference averages its two terms and weighs the second by 10, which is 10 / (D - 1) in
            this form, and what None stands for.
        **settings: see `TwoViewMethod` (of a head that ends in ReLU, features decorrelate less easily) and `Method`.

    Raises:
        CourseError: a setting that cannot work.
    """

    name, title, colour, lesson = "barlow_twins", "Barlow Twins", "#E69F00", "05_barlow_twins"
    published = {**REFERENCE, "off_diagonal_weight": 10 / 127}
    SETTINGS = (
        Setting(
            "off-diagonal weight", "lambda, not given", "10 in mean form, ~10/(D-1) in this one", "off_diagonal_weight"
        ),
        HEAD,
        *CLASSIFIER,
    )

    def __init__(self, encoder: nn.Module, off_diagonal_weight: float | None = None, **settings: Any) -> None:
        if off_diagonal_weight is not None:
            check_number("off_diagonal_weight", off_diagonal_weight, at_least=0)
        super().__init__(encoder, **settings)
        if off_diagonal_weight is None:
            off_diagonal_weight = MEAN_FORM_WEIGHT / max(1, self.projection_head.out_dim - 1)
            self.config["off_diagonal_weight"] = off_diagonal_weight
        self.loss = BarlowTwinsLoss(lambda_param=off_diagonal_weight)

    def chance_loss(self, images: Tensor, n: int) -> float:
        """Return D, the width of the projections: without variance there is no correlation, and each diagonal entry costs 1."""
        return float(self.projection_head.out_dim)

    def pretext_loss(self, features: Sequence[Tensor], context: Any = None) -> Tensor:
        z1, z2 = project(self.projection_head, features)
        with self.in_float32():
            return self.loss(z1, z2)
