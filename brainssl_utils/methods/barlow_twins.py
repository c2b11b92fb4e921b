"""Barlow Twins: two views' features agree one by one and say nothing twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightly.loss import BarlowTwinsLoss
from torch import Tensor, nn

from brainssl_utils.checks import check_number
from brainssl_utils.methods.base import Setting, project
from brainssl_utils.methods.two_views import CLASSIFIER, HEAD, REFERENCE, TwoViewMethod


class BarlowTwins(TwoViewMethod):
    """Barlow Twins (Zbontar et al. 2021, eq. 1): the cross-correlation matrix of two views is driven to the identity.

    Args:
        encoder: the encoder to train.
        off_diagonal_weight: lambda of the paper's eq. 1, 0 or more; 5e-3 there. The public reference averages its two
            terms and weighs the second by 10, about 10 / (D - 1) in this form.
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

    def __init__(self, encoder: nn.Module, off_diagonal_weight: float = 5e-3, **settings: Any) -> None:
        check_number("off_diagonal_weight", off_diagonal_weight, at_least=0)
        super().__init__(encoder, **settings)
        self.loss = BarlowTwinsLoss(lambda_param=off_diagonal_weight)

    def pretext_loss(self, features: Sequence[Tensor], context: Any = None) -> Tensor:
        z1, z2 = project(self.projection_head, features)
        with self.in_float32():
            return self.loss(z1, z2)
