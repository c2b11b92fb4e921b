"""Figures that data at the edge must not break."""

from __future__ import annotations

import pandas as pd
import pytest

from brainssl_utils import plots
from brainssl_utils.plots.colours import GREY


def test_equal_scores_give_a_bar_of_no_length() -> None:
    scores = [9 / 52] * 3  # their mean, times 100, lies a rounding error off each of them
    means = 100 * pd.Series(scores).groupby([0, 0, 0]).mean()
    assert means[0] != 100 * scores[0]
    curve = pd.DataFrame({"method": "SimCLR", "kind": "linear", "labels": 12, "seed": range(3), "accuracy": scores})
    [axis] = plots.label_curve_plot(curve).axes
    [bars] = axis.containers
    low, high = bars.lines[2][0].get_segments()[0][:, 1]
    assert low == pytest.approx(high)


def test_a_label_curve_in_panels_shows_shared_rows_in_grey_everywhere() -> None:
    rows = [(method, labels) for method in ("SimCLR", "Supervised", "raw pixels") for labels in (12, 123)]
    curve = pd.DataFrame(rows, columns=["method", "labels"]).assign(kind="linear", seed=0, accuracy=0.5)
    panels = {"without labels": ["SimCLR", "raw pixels"], "with labels": ["Supervised", "raw pixels"]}
    left, right = plots.label_curve_plot(curve, panels=panels).axes
    for axes, own in ((left, "SimCLR"), (right, "Supervised")):
        colours = {container.get_label(): container.lines[0].get_color() for container in axes.containers}
        assert set(colours) == {own, "raw pixels"} and colours["raw pixels"] == GREY != colours[own]
    assert [left.get_title(), right.get_title()] == list(panels)
    curve.loc[curve["method"] == "Supervised", "accuracy"] = 0.9
    left, right = plots.label_curve_plot(curve, panels=panels).axes
    assert left.get_ylim() == right.get_ylim() and left.get_ylim()[1] > 90, (
        "no panel cuts off what another's scale lacks"
    )
