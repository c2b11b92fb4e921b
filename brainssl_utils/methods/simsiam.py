"""SimSiam: one view predicts the other, through which no gradient flows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from lightly.models.modules import SimSiamPredictionHead, SimSiamProjectionHead
from torch import Tensor, nn

from brainssl_utils.methods.base import Setting
from brainssl_utils.methods.without_negatives import PREDICTOR, PredictingMethod


class SimSiam(PredictingMethod):
    """SimSiam (Chen and He 2021, eq. 1-4): negative cosine of a prediction and the other view's projection, held still.

    Args:
        encoder: the encoder to train.
        stop_gradient: whether the projection that is predicted is held still (eq. 3 and 4; without, eq. 1 and 2). Without
            it, as without the predictor, the model collapses.
        output_norm: whether the projections end in a batch norm, as the paper's do. It keeps each number's deviation over
            the batch up, so that a collapse shows in the rank alone; the paper's Table 3 trains without it too.
        **settings: see `PredictingMethod` (the predictor is narrow in its middle: a quarter of the projections) and `Method`.

    Raises:
        CourseError: a setting that cannot work.
    """

    name, title, colour, lesson = "simsiam", "SimSiam", "#8B0000", "09_without_negatives"
    HEADS = (SimSiamProjectionHead, SimSiamPredictionHead)
    SETTINGS = (
        Setting("optimiser's rate", "SGD, 0.05 a 256 images, cosine", "SGD, 0.06", "learning_rate"),
        Setting("gradient stops at the target", "yes", "yes", "stop_gradient"),
        PREDICTOR,
        Setting("projection head: hidden, output", "2048-2048", "512-128", "head_widths"),
        Setting("batch norm at the projections' end", "yes", "yes", "output_norm"),
        Setting("prediction head: hidden", "512", "64", "predictor_width"),
    )

    def __init__(
        self, encoder: nn.Module, stop_gradient: bool = True, output_norm: bool = True, **settings: Any
    ) -> None:
        super().__init__(encoder, **settings)
        self.stop_gradient = stop_gradient
        if not output_norm:
            cast(nn.Sequential, self.projection_head.layers)[-1] = nn.Identity()

    def targets(self, projections: Sequence[Tensor], context: Any) -> Sequence[Tensor]:
        return [z.detach() for z in projections] if self.stop_gradient else projections
