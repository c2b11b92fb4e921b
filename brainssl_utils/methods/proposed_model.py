"""The study's proposed model: SimCLR whose encoder also learns from the labels, through a three-layer classifier."""

from __future__ import annotations

from typing import Any

from torch import nn

from brainssl_utils.methods.simclr import SimCLR


class ProposedModel(SimCLR):
    """SimCLR and classification trained together (the study's section 2.2.4, eq. 1 and 5).

    `joint=False` and `classifier_widths=()` give the other corners of the 2 x 2 that takes the model apart:
    {gradient stopped, joint} x {linear, three layers}.

    Args:
        encoder: the encoder to train.
        **settings: see `SimCLR`, `TwoViewMethod` and `Method`; the defaults here are the study's.
    """

    name, title, colour, lesson = "proposed_model", "Proposed model", "#D55E00", "07_proposed_model"
    # Section 2.2.4 has three dense layers in the encoder and gives no widths: the projection head's are taken.
    published = {"encoder": "paper+256-128-64", "views": "paper", "classifier_views": "paper"}

    def __init__(self, encoder: nn.Module, **settings: Any) -> None:
        super().__init__(encoder, **{"joint": True, "classifier_widths": (256, 128), "head_relu": True, **settings})
