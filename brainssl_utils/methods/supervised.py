"""Supervised: the same encoder trained on the labelled images alone, the baseline every other row is held to."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from brainssl_utils.methods.base import Method
from brainssl_utils.networks import Encoder


class Supervised(Method):
    """Cross-entropy on the labelled images; the unlabelled ones are not looked at.

    Args:
        encoder: the encoder to train.
        **settings: see `Method`; `joint` is True, since nothing else would train the encoder.
    """

    name, title = "supervised", "Supervised"
    two_views = False
    SETTINGS = (("classifier", "dense 256-128-4", "one linear layer", "classifier_widths"),)

    def __init__(self, encoder: Encoder, **settings: Any) -> None:
        super().__init__(encoder, **{**settings, "joint": True})

    def pretext_views(self, images: Tensor, generator: torch.Generator) -> list[Tensor]:
        return []
