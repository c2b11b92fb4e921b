"""Supervised: the same encoder trained on the labelled images alone, the baseline every other row is held to."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from brainssl_utils.errors import CourseError
from brainssl_utils.methods.base import Batch, Method, Pretext, Setting


class Supervised(Method):
    """Cross-entropy on the labelled images; the unlabelled ones are not looked at.

    Args:
        encoder: the encoder to train.
        **settings: see `Method`; `joint` is True, since nothing else would train the encoder.

    Raises:
        CourseError: a setting that cannot work, `joint=False` among them.
    """

    name, title, colour, lesson = "supervised", "Supervised", "#000000", "07_proposed_model"
    published = {"encoder": "paper+256-128-64", "classifier_views": "paper", "classifier_widths": (256, 128)}
    uses_unlabeled = False
    two_views = False
    SETTINGS = (Setting("classifier", "dense 256-128-4", "one linear layer", "classifier_widths"),)

    def __init__(self, encoder: nn.Module, **settings: Any) -> None:
        if not settings.get("joint", True):
            raise CourseError("joint is False: a supervised encoder learns from its classifier alone. Leave joint out.")
        super().__init__(encoder, **{"joint": True, **settings})

    @classmethod
    def made_by(cls, protocol: str) -> str:
        return "01_data_merging" if protocol == "fair" else cls.lesson

    def chance_loss(self, images: Tensor, n: int) -> float:
        """Return ln(classes), the classifier's loss where all classes look equally likely: there is no pretext task."""
        return math.log(self.config["n_classes"])

    def pretext_views(self, batch: Batch, generator: torch.Generator) -> Pretext:
        return Pretext([])
