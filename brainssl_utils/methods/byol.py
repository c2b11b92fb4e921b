"""BYOL: a student predicts what its teacher, the moving average of itself, says of the other view."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from lightly.models.modules import BYOLPredictionHead, BYOLProjectionHead
from lightly.models.utils import deactivate_requires_grad, update_momentum
from lightly.utils.scheduler import cosine_schedule
from torch import Tensor, nn

from brainssl_utils.checks import check_number
from brainssl_utils.compute.processes import shared_out
from brainssl_utils.methods.base import Batch, Pretext, Setting
from brainssl_utils.methods.without_negatives import PREDICTOR, PredictingMethod


class BYOL(PredictingMethod):
    """BYOL (Grill et al. 2020, eq. 2): the student predicts the teacher's projection of the other view.

    The paper's loss, 2 - 2 cos, has the minimum of the negative cosine used here and twice its gradient, on which Adam's
    steps do not depend.

    Args:
        encoder: the encoder to train, the student's. The teacher's is a copy that no gradient reaches.
        momentum: share of the teacher's weights that stays after the first step, 0..1. 0 makes the teacher the student of
            the step before, 1 leaves it as it was drawn. The paper's 0.996 belongs to a training of far more steps.
        last_momentum: the share after the last step, 0..1; in between it follows half a cosine. The paper's is 1.
        **settings: see `PredictingMethod` and `Method`.

    Raises:
        CourseError: a setting that cannot work.
    """

    name, title, colour, lesson = "byol", "BYOL", "#332288", "09_without_negatives"
    HEADS = (BYOLProjectionHead, BYOLPredictionHead)
    plans_length = True  # the momentum rises from the first step to the last
    SETTINGS = (
        Setting("optimiser's rate", "LARS, 0.2 a 256 images, cosine", "SGD, 0.06", "learning_rate"),
        Setting("teacher's momentum, first", "0.996", "0.996", "momentum"),
        Setting("teacher's momentum, last", "1", "1", "last_momentum"),
        PREDICTOR,
        Setting("projection head: hidden, output", "4096-256", "1024-256", "head_widths"),
        Setting("prediction head: hidden", "4096", "1024", "predictor_width"),
    )

    def __init__(
        self,
        encoder: nn.Module,
        momentum: float = 0.99,
        last_momentum: float = 1.0,
        predictor_width: int = 256,
        **settings: Any,
    ) -> None:
        check_number("momentum", momentum, at_least=0, at_most=1)
        check_number("last_momentum", last_momentum, at_least=0, at_most=1)
        super().__init__(encoder, predictor_width=predictor_width, **settings)
        self.momentum, self.last_momentum = momentum, last_momentum
        self.teacher = nn.ModuleDict({name: copy.deepcopy(part) for name, part in self.taught().items()})
        deactivate_requires_grad(self.teacher)

    def taught(self) -> dict[str, nn.Module]:
        """The student's parts that the teacher has too, by their names there."""
        return {"encoder": self.encoder, "projection_head": self.projection_head}

    def pretext_views(self, batch: Batch, generator: torch.Generator) -> Pretext:
        """Draw two views of each image; they are the context too, for the teacher looks at them as well."""
        views = super().pretext_views(batch, generator).views
        return Pretext(views, views)

    @torch.no_grad()
    def targets(self, projections: Sequence[Tensor], context: Any) -> Sequence[Tensor]:
        """Return the teacher's projections, float32 (B, width) each, of the views in `context`, float (B, 1, S, S)."""
        encoded = shared_out(self.teacher["encoder"], torch.cat(list(context))).split([len(view) for view in context])
        return [self.teacher["projection_head"](view).float() for view in encoded]

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        steps = int(self.trainer.estimated_stepping_batches)
        self.move_teacher(cosine_schedule(self.global_step - 1, steps, self.momentum, self.last_momentum))

    def move_teacher(self, momentum: float) -> None:
        """Bring the teacher one step towards the student: momentum x teacher + (1 - momentum) x student, each weight."""
        for name, part in self.taught().items():
            update_momentum(part, self.teacher[name], momentum)
