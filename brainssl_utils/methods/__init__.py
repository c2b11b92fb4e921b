"""The methods, one file each. A new method is one file, one line here and one notebook."""

from __future__ import annotations

from typing import Any

import torch

from brainssl_utils.errors import CourseError
from brainssl_utils.methods.barlow_twins import BarlowTwins
from brainssl_utils.methods.base import Method
from brainssl_utils.methods.masked_encoder import MaskedEncoder
from brainssl_utils.methods.nnclr import NNCLR
from brainssl_utils.methods.proposed_model import ProposedModel
from brainssl_utils.methods.simclr import SimCLR
from brainssl_utils.methods.supervised import Supervised
from brainssl_utils.methods.twin_network import TwinNetwork
from brainssl_utils.networks import make_encoder

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (Supervised, TwinNetwork, MaskedEncoder, SimCLR, BarlowTwins, NNCLR, ProposedModel)
}

# "As published": each row of Table 2 with its own architecture. The baselines are the public reference with the one
# augmentation that the study names; the proposed model is the study's own description.
_REFERENCE = {
    "encoder": "reference",
    "views": "paper",
    "classifier_views": "paper",
    "head_widths": (128, 128),
    "head_relu": False,
}
PUBLISHED: dict[str, dict[str, Any]] = {
    "simclr": {**_REFERENCE, "negatives": "cross"},
    "barlow_twins": {**_REFERENCE, "off_diagonal_weight": 10 / 127},
    "nnclr": {**_REFERENCE, "queue_size": 10_000, "predictor": False, "straight_through": True},
    "proposed_model": {"encoder": "paper", "views": "paper", "classifier_views": "paper"},
    "supervised": {"encoder": "paper", "classifier_views": "paper", "classifier_widths": (256, 128)},
    "twin_network": {"encoder": "paper", "views": "none", "pairs": "labels", "margin": None, "normalize": False},
    "masked_encoder": {"encoder": "paper", "views": "none", "mask": "rectangle", "loss_on": "whole", "redraw": False},
}
# "Fair": one encoder, one set of views, one head for every row; a linear probe on frozen features reads them all alike.
FAIR: dict[str, Any] = {"encoder": "paper"}
PROTOCOLS = ("published", "fair")


def make_method(
    name: str, protocol: str = "fair", image_size: int = 96, seed: int = 0, n_classes: int = 4, **changes: Any
) -> Method:
    """Build a method with freshly drawn weights.

    Args:
        name: a key of `METHODS`.
        protocol: "published" (each method with the architecture of its row in the study) or "fair" (one for all).
        image_size: side of the images, pixels; the profile's.
        seed: fixes the weights.
        n_classes: classes of the labelled images.
        **changes: settings that replace the protocol's, for instance temperature=0.5.

    Raises:
        CourseError: no such method, protocol or setting.
    """
    if name not in METHODS:
        raise CourseError(f"unknown method '{name}'. Choose one of: {', '.join(METHODS)}.")
    if protocol not in PROTOCOLS:
        raise CourseError(f"unknown protocol '{protocol}'. Choose one of: {', '.join(PROTOCOLS)}.")
    settings = {**(PUBLISHED[name] if protocol == "published" else FAIR), **changes}
    encoder = settings.pop("encoder")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return METHODS[name](make_encoder(encoder, image_size), n_classes=n_classes, protocol=protocol, **settings)
        except TypeError as error:
            raise CourseError(
                f"{name} does not take one of the settings {', '.join(sorted(changes))}: {error}."
            ) from error


__all__ = [
    "METHODS",
    "NNCLR",
    "PROTOCOLS",
    "BarlowTwins",
    "MaskedEncoder",
    "Method",
    "ProposedModel",
    "SimCLR",
    "Supervised",
    "TwinNetwork",
    "make_method",
]
