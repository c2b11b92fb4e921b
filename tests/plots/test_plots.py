"""Figures that data at the edge must not break."""

from __future__ import annotations

import pandas as pd
import pytest

from brainssl_utils import plots


def test_equal_scores_give_a_bar_of_no_length() -> None:
    scores = [9 / 52] * 3  # their mean, times 100, lies a rounding error off each of them
    means = 100 * pd.Series(scores).groupby([0, 0, 0]).mean()
    assert means[0] != 100 * scores[0]
    curve = pd.DataFrame({"method": "SimCLR", "kind": "linear", "labels": 12, "seed": range(3), "accuracy": scores})
    [axis] = plots.label_curve_plot(curve).axes
    [bars] = axis.containers
    low, high = bars.lines[2][0].get_segments()[0][:, 1]
    assert low == pytest.approx(high)
