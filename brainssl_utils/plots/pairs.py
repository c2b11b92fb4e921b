"""Figures of twin networks: pairs as pictures, what a pair costs, how far apart pairs lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from brainssl_utils.plots.base import image_panel, new_figure, tidy
from brainssl_utils.plots.colours import GREY, PALETTE, series_colour

POSITIVE, NEGATIVE = PALETTE[0], PALETTE[4]


def twin_diagram(first: Any, second: Any) -> Figure:
    """Draw a twin network: two images, one network used twice, two embeddings, one distance."""
    figure, [[axes]] = new_figure(1, 1, 8.4, 2.9)
    axes.set_xlim(0, 8.4)
    axes.set_ylim(0, 3)
    axes.axis("off")
    arrow = {"arrowstyle": "->", "color": GREY}
    box = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": PALETTE[0]}
    for number, (image, y) in enumerate(((first, 2.25), (second, 0.75)), 1):
        image_panel(axes.inset_axes((0.2, y - 0.6, 1.2, 1.2), transform=axes.transData), image, f"$x_{number}$")
        axes.annotate("", (2.25, y), (1.5, y), arrowprops=arrow)
        axes.text(3.0, y, "network $f$", ha="center", va="center", fontsize=10, bbox=box)
        axes.annotate("", (4.75, y), (3.75, y), arrowprops=arrow)
        axes.text(5.05, y, f"$z_{number}$", ha="center", va="center", fontsize=12)
        axes.annotate("", (6.0, 1.5 + 0.15 * np.sign(y - 1.5)), (5.3, y), arrowprops=arrow)
    axes.text(3.0, 1.5, "the same weights", ha="center", va="center", fontsize=9, style="italic")
    distance = r"distance $d = \Vert z_1 - z_2 \Vert$"
    axes.text(7.2, 1.5, distance, ha="center", va="center", fontsize=10, bbox={**box, "edgecolor": PALETTE[4]})
    return figure


def pair_sheet(rows: Mapping[str, tuple[Any, Any, Sequence[str]]], panel: float = 2.0) -> Figure:
    """Draw pairs of images side by side, one row of pairs an entry of `rows`.

    Args:
        rows: by row label: the first images and the second ones, each (n, 1, S, S) uint8 or float in 0..1, and a title
            for each pair. All rows hold the same number of pairs.
        panel: width of a pair, inches.
    """
    columns = len(next(iter(rows.values()))[0])
    figure, axes = new_figure(len(rows), columns, panel, 0.5 * panel + 0.28)
    # Inches beside a pair, so that pairs lie farther apart than the two pictures of a pair.
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.08)
    for axis_row, (label, (first, second, titles)) in zip(axes, rows.items()):
        for axis, one, other, title in zip(axis_row, np.asarray(first), np.asarray(second), titles):
            white = 255 if one.dtype == np.uint8 else 1.0
            gap = np.full((one.shape[-1], max(1, one.shape[-1] // 20)), white, one.dtype)
            image_panel(axis, np.hstack([one.squeeze(0), gap, other.squeeze(0)]), title)
        axis_row[0].set_ylabel(label, fontsize=8)
    return figure


def pair_costs(margin: float = 1.0) -> Figure:
    """Draw what a pair costs (left) and how hard the loss pulls (right) against its distance.

    Solid: the contrastive loss with `margin`. Dashed: the squared distance regressed on 0 for a positive pair and on 1
    for a negative one. A slope above 0 pulls the pair together, one below 0 pushes it apart.
    """
    d = np.linspace(0, 1.6, 200)
    inside = (margin - d).clip(min=0)
    lines = (
        ("positive, with margin", POSITIVE, "-", d**2, 2 * d),
        ("negative, with margin", NEGATIVE, "-", inside**2, -2 * inside),
        ("positive, squared distance", POSITIVE, "--", d**4, 4 * d**3),
        ("negative, squared distance", NEGATIVE, "--", (d**2 - 1) ** 2, 4 * d * (d**2 - 1)),
    )
    figure, [[left, right]] = new_figure(1, 2, 4.4, 3.2)
    for label, colour, style, cost, slope in lines:
        left.plot(d, cost, style, color=colour, label=label)
        right.plot(d, slope, style, color=colour)
    right.axhline(0, color=GREY, lw=0.8)
    left.set_ylim(0, 2.2)
    right.set_ylim(-3, 6)
    left.legend(fontsize=7, frameon=False)
    tidy(left, "distance of the pair", "cost", "what a pair costs")
    tidy(right, "distance of the pair", "slope of the cost", "how hard it pulls (+) or pushes (-)")
    return figure


def distance_histograms(
    panels: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]],
    thresholds: Mapping[str, float],
    columns: int = 4,
    bins: int = 40,
) -> Figure:
    """Draw the distances of positive and negative pairs, one panel an entry of `panels`, each in its own units.

    Args:
        panels: by title: distances of the positive pairs and of the negative ones.
        thresholds: by title: distance below which a pair counts as "together", drawn dotted.
        columns: panels in a row.
        bins: bars in a panel.
    """
    columns = min(columns, len(panels))
    figure, axes = new_figure(-(-len(panels) // columns), columns, 3.0, 2.5)
    for index, axis in enumerate(axes.flat):
        if index >= len(panels):
            axis.set_visible(False)
            continue
        title = list(panels)[index]
        sides = [np.asarray(side, float) for side in panels[title]]
        top = max(np.quantile(np.concatenate(sides), 0.995), 1.1 * thresholds[title])
        edges = np.linspace(0, top, bins + 1)
        # What lies beyond the last edge is counted in the last bar, so that the bars always add up to 100 %.
        shares = [100 * np.histogram(side.clip(max=top), edges)[0] / max(len(side), 1) for side in sides]
        axis.stairs(shares[0], edges, fill=True, color=POSITIVE, alpha=0.5, label="positive")
        axis.stairs(shares[1], edges, color=NEGATIVE, lw=1.6, label="negative")
        axis.axvline(thresholds[title], color="black", ls=":", lw=1.2, label="threshold")
        tidy(axis, "distance", "share of pairs (%)" if index % columns == 0 else "", title)
    axes.flat[0].legend(fontsize=7, frameon=False)
    return figure


def digit_map(points: Mapping[str, npt.ArrayLike], digits: npt.ArrayLike) -> Figure:
    """Draw embedded digits as digits: one panel an entry of `points` (each (N, 2)); `digits` (N,) holds 0..9."""
    digits = np.asarray(digits)
    figure, [axes] = new_figure(1, len(points), 3.9, 3.6)
    for axis, (title, given) in zip(axes, points.items()):
        xy = np.asarray(given)
        for digit in np.unique(digits):
            x, y = xy[digits == digit].T
            axis.scatter(x, y, marker=f"${digit}$", s=26, color=series_colour(digit), alpha=0.8, linewidths=0)
        tidy(axis, "first coordinate", "second coordinate", title)
        axis.set_aspect("equal", adjustable="datalim")
    return figure
