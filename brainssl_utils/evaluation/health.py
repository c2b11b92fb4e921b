"""Is a representation in good health? What is measured of the features of two views, the same for every method.

How well the classes can be read from the features is `probes.knn_accuracy_apart`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from brainssl_utils import metrics

MEASURES = ("feature_rank", "feature_deviation", "alignment", "uniformity", "dead_share")


def feature_measures(h1: Tensor, h2: Tensor) -> dict[str, float]:
    """Measure the features of two views of some images.

    Args:
        h1, h2: (B, D), any float dtype; row i of one belongs to row i of the other.

    Returns:
        a dict with the keys `MEASURES`; all NaN if the features hold a NaN or an infinity:

        - feature_rank: how many directions both views' features use, 1..min(2 B, D) (`metrics.feature_health`)
        - feature_deviation: how far they are spread, as a share of an even spread
        - alignment: mean squared distance of an image's two views, 0..4 (`metrics.alignment`)
        - uniformity: of the features of a view, mean of both (`metrics.uniformity`)
        - dead_share: share in 0..1 of the features that are the same for all images and views

    Raises:
        CourseError: shapes differ, are not (B, D), or B is below 2.
    """
    both = torch.cat([h1, h2])
    if not bool(both.isfinite().all()):
        return dict.fromkeys(MEASURES, math.nan)
    health = metrics.feature_health(both)
    return {
        "feature_rank": health["rank"],
        "feature_deviation": health["deviation"],
        "alignment": metrics.alignment(h1, h2),
        "uniformity": (metrics.uniformity(h1) + metrics.uniformity(h2)) / 2,
        "dead_share": health["dead"] / health["dim"],
    }
