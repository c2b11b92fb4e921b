"""SimCLR: two views of one image attract, all others in the batch repel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightly.loss import NTXentLoss
from torch import Tensor, nn

from brainssl_utils.checks import check_choice, check_number
from brainssl_utils.methods.base import Setting, project
from brainssl_utils.methods.losses import NEGATIVES, CrossViewLoss, guessing_loss
from brainssl_utils.methods.two_views import CLASSIFIER, HEAD, REFERENCE, TEMPERATURE, TwoViewMethod


class SimCLR(TwoViewMethod):
    """SimCLR (Chen et al. 2020, eq. 1): NT-Xent on the projections of two views.

    Args:
        encoder: the encoder to train.
        temperature: divides the cosine similarities; above 0.
        negatives: "all" is NT-Xent (2N - 2 negatives); "cross" the reference's form (the other view's N - 1).
        **settings: see `TwoViewMethod` and `Method`.

    Raises:
        CourseError: a setting that cannot work.
    """

    name, title, colour, lesson = "simclr", "SimCLR", "#0072B2", "04_simclr"
    published = {**REFERENCE, "negatives": "cross"}
    SETTINGS = (
        TEMPERATURE,
        HEAD,
        Setting("negatives", "all 2N (eq. 1, with z_k for z_j)", "the other view's", "negatives"),
        *CLASSIFIER,
    )

    def __init__(self, encoder: nn.Module, temperature: float = 0.1, negatives: str = "all", **settings: Any) -> None:
        check_number("temperature", temperature, above=0)
        check_choice("negatives", negatives, NEGATIVES)
        super().__init__(encoder, **settings)
        self.loss = NTXentLoss(temperature) if negatives == "all" else CrossViewLoss(temperature)

    def chance_loss(self, images: Tensor, n: int) -> float:
        """Return ln(2 n - 1) for negatives "all", ln(n) for "cross": all candidates look alike."""
        return guessing_loss(self.config["negatives"], n)

    def pretext_loss(self, features: Sequence[Tensor], context: Any = None) -> Tensor:
        z1, z2 = project(self.projection_head, features)
        with self.in_float32():
            return self.loss(z1, z2)
