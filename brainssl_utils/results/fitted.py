"""Has a training's classifier fitted? Below this, its accuracies tell of the training's length, not of the method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

FITTED_BELOW = 0.9
"""Share of chance, ln K, below which a classifier's loss must have come."""


def has_fitted(record: dict[str, Any]) -> bool | None:
    """Whether the classifier has begun to tell its training images apart.

    A classifier that gives each of K classes the same probability has a loss of ln K (1.386 with four). It has fitted where
    the last epoch's p_loss, the mean over its labelled training batches, is below `FITTED_BELOW` of that. It says
    nothing of test images.

    Args:
        record: from `read_records`.

    Returns:
        None where the record has no p_loss, or no number of classes.
    """
    loss = record["history"][-1].get("p_loss") if record["history"] else None
    classes = record["config"].get("n_classes")
    return None if loss is None or classes is None else loss < FITTED_BELOW * math.log(classes)


def fitted(records: Sequence[dict[str, Any]]) -> str:
    """Whether the classifiers of several trainings have fitted: "yes", "no", or how many of them; "-" where none tells."""
    found = [answer for answer in map(has_fitted, records) if answer is not None]
    if not found:
        return "-"
    if len(set(found)) == 1:
        return "yes" if found[0] else "no"
    return f"{sum(found)} of {len(found)}"
