"""The published figures, as data: what the course sets its own results beside."""

from __future__ import annotations

import pandas as pd

from brainssl_utils.intervals import wilson_interval

TEST_IMAGES = 308
"""Test images of the published study, the denominator of every published `val_p_acc`."""

PUBLISHED = pd.DataFrame(
    {
        "c_acc": [98.65, 98.36, 99.28, 99.35],
        "p_acc": [56.63, 62.36, 58.86, 96.31],
        "r_acc": [35.94, 36.26, 0.78, 57.76],
        "val_p_acc": [53.25, 58.12, 54.87, 72.40],
    },
    index=pd.Index(["Barlow Twins", "NNCLR", "SimCLR", "Proposed model"], name="method"),
)
"""Table 2 of the published study, in %. `val_p_acc` is on its 308 test images, `p_acc` on training batches."""
PUBLISHED.attrs["source"] = (
    "Table 2 of the published study (Table 1 is its SimCLR and Proposed rows), in %; 1235 labelled, 6128 unlabelled "
    "and 308 test images of 96 x 96 pixels, 100 epochs. One seed."
)

PUBLISHED_SECOND = pd.DataFrame(
    {"accuracy": [74.08, 46.53], "labels": [123, 123], "test_images": [490, 490]},
    index=pd.Index(["Masked encoder", "Twin network"], name="method"),
)
"""The second study: test accuracy in % after fine-tuning, three tumour classes, split by slice."""
PUBLISHED_SECOND.attrs["source"] = (
    "The second study's readme, in %; its readme says 12 fine-tuning images, its code uses 123. One seed."
)


def published_intervals(level: float = 0.95) -> pd.DataFrame:
    """How sure the published test accuracies are: right answers of 308 and Wilson intervals.

    Every published `val_p_acc` is a whole number of 308 images, which is how the counts are recovered.

    Returns:
        one row a method: correct, n, accuracy, lo, hi; the last three in %.
    """
    rows = []
    for accuracy in PUBLISHED["val_p_acc"]:
        correct = round(accuracy / 100 * TEST_IMAGES)
        low, high = wilson_interval(correct, TEST_IMAGES, level)
        share = correct / TEST_IMAGES
        rows.append({"correct": correct, "n": TEST_IMAGES, "accuracy": 100 * share, "lo": 100 * low, "hi": 100 * high})
    return pd.DataFrame(rows, index=PUBLISHED.index)
