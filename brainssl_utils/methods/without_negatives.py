"""Two views that predict each other, and nothing that repels: what SimSiam and BYOL share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from lightly.loss import NegativeCosineSimilarity
from torch import Tensor, nn

from brainssl_utils import metrics
from brainssl_utils.checks import check_number
from brainssl_utils.errors import CourseError
from brainssl_utils.methods.base import Method, Setting
from brainssl_utils.networks import check_widths

PREDICTOR = Setting("prediction head", "yes", "yes", "predictor")


class PredictingMethod(Method):
    """A method that predicts one view's projection from the other's, with the negative cosine as its loss.

    A constant answer is a perfect one for such a loss, so each epoch's row of `history` also tells of the student's
    projections (means over its steps): `std`, their deviation at length 1 (0 when collapsed, about 1/sqrt(width) when
    spread evenly), and `rank`, how many directions they use (1 when collapsed); see `metrics.feature_health`.

    Args:
        encoder: the encoder to train.
        predictor: whether a prediction head stands between a view's projection and its target.
        head_widths: hidden and output width of the projection head.
        predictor_width: hidden width of the prediction head, whose output is as wide as the projections.
        **settings: see `Method`.

    Raises:
        CourseError: a setting that cannot work.
    """

    HEADS: ClassVar[tuple[type[nn.Module], type[nn.Module]]]
    """Lightly's projection and prediction head, each made from its input's, hidden and output width."""
    COMMON_SETTINGS: ClassVar[Sequence[Setting]] = (
        Setting("image size", "224 x 224", "32 x 32", "image_size"),
        Setting("views", "crop, flip, colour, grey, blur", "Lightly's for each method", "views"),
        Setting("encoder", "ResNet-50", "ResNet-18", "encoder"),
        Setting("classifier's gradient reaches the encoder", "no", "no classifier", "joint"),
        Setting("one image a group of copies in pre-training", "not said", "no", "one_per_group"),
    )
    """The settings table's rows on which both papers ("paper says") and Lightly's examples ("reference does") agree."""

    def __init__(
        self,
        encoder: nn.Module,
        predictor: bool = True,
        head_widths: Sequence[int] = (256, 64),
        predictor_width: int = 16,
        **settings: Any,
    ) -> None:
        check_widths(head_widths, least=2)
        if len(head_widths) != 2:
            raise CourseError(f"head_widths is {head_widths!r}: expected two, of the hidden layers and of the output.")
        check_number("predictor_width", predictor_width, at_least=1, whole=True)
        super().__init__(encoder, **settings)
        hidden, width = head_widths
        projection, prediction = self.HEADS
        self.projection_head = projection(self.encoder.out_dim, hidden, width)
        self.prediction_head = prediction(width, predictor_width, width) if predictor else nn.Identity()
        self.loss = NegativeCosineSimilarity()

    def targets(self, projections: Sequence[Tensor], context: Any) -> Sequence[Tensor]:
        """Return what is to be predicted of each view, (B, width) each, from the student's own projections or `context`."""
        raise NotImplementedError

    def chance_loss(self, images: Tensor, n: int) -> float:
        """Return 0, the mean cosine of directions at random: an answer that is the same for every image is the best, -1."""
        return 0.0

    def pretext_loss(self, features: Sequence[Tensor], context: Any = None) -> Tensor:
        # One view after the other: the heads' batch norms see a view's images, and never both views of one.
        z1, z2 = projections = [self.projection_head(view).float() for view in features]
        p1, p2 = (self.prediction_head(z).float() for z in projections)
        t1, t2 = self.targets(projections, context)
        health = metrics.feature_health(torch.cat([z1, z2]))
        self.note("std", health["std"])
        self.note("rank", health["rank"])
        with self.in_float32():
            return (self.loss(p1, t2) + self.loss(p2, t1)) / 2
