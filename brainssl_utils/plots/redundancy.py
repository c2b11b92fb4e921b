"""Figures of the Barlow Twins lesson: cross-correlation matrices, the shape of the loss, readings beside random features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from brainssl_utils.plots.base import draw_levels, new_figure, tidy
from brainssl_utils.plots.colours import GREY, PALETTE, series_colour

READERS = {
    "shipped": ("shipped encoder, full length", PALETTE[2], "s", 0.24),
    "trained": ("trained encoder", PALETTE[0], "o", 0.0),
    "random": ("random encoder", PALETTE[1], "D", -0.24),
}
"""Models of `reading_panels`: what the legend says, colour, marker, and how far from the reading's line."""


def correlation_panels(panels: Mapping[str, Any], numbers: bool | None = None, width: float = 2.7) -> Figure:
    """Draw cross-correlation matrices (D, D), one panel a title: blue is -1, white 0, red 1.

    Args:
        panels: by title; a row is a feature of view A, a column a feature of view B.
        numbers: write each value into its cell; by default for D of at most 6.
        width: of a panel, inches.
    """
    lines = max(title.count("\n") for title in panels)
    figure, [row] = new_figure(1, len(panels), width, width + 0.35 + 0.25 * lines)
    for axes, (title, given) in zip(row, panels.items()):
        matrix = np.asarray(given, dtype=float)
        shown = axes.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
        few = len(matrix) <= 6
        if few if numbers is None else numbers:
            for (i, j), value in np.ndenumerate(matrix):
                colour = "white" if abs(value) > 0.65 else "black"
                axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=9, color=colour)
        ticks = range(len(matrix)) if few else (0, len(matrix) - 1)
        axes.set_xticks(ticks, [str(tick + 1) for tick in ticks], fontsize=8)
        axes.set_yticks(ticks, [str(tick + 1) for tick in ticks], fontsize=8)
        axes.set_xlabel("feature in view B", fontsize=8)
        axes.set_ylabel("feature in view A" if axes is row[0] else "", fontsize=8)
        axes.set_title(title, fontsize=9)
    figure.colorbar(shown, ax=list(row), shrink=0.7, label="correlation")
    return figure


def step_curves(
    panels: Mapping[str, pd.DataFrame],
    ylabel: str,
    levels: Mapping[str, float] | None = None,
    xlabel: str = "training step",
) -> Figure:
    """Draw one panel a title and one line a column against the index (steps); black `levels` in every panel."""
    figure, [row] = new_figure(1, len(panels), 3.6 + 2.2 / len(panels), 3.0)  # the legend stands on the right
    for axes, (title, table) in zip(row, panels.items()):
        for index, name in enumerate(table.columns):
            axes.plot(table.index, table[name], color=series_colour(index), marker=".", label=str(name))
        draw_levels(axes, levels)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        tidy(axes, xlabel, ylabel if axes is row[0] else "", title)
    row[-1].legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def unit_histograms(panels: Mapping[str, Any], share: float = 0.999) -> Figure:
    """Draw how the projections' values (N, D) are spread, one panel a title, all units of a head together."""
    figure, [row] = new_figure(1, len(panels), 3.9, 2.7)
    values = {title: np.asarray(given, dtype=float).ravel() for title, given in panels.items()}
    top = max(float(np.quantile(np.abs(one), share)) for one in values.values())
    edges = np.linspace(-top, top, 60)
    for axes, (title, one) in zip(row, values.items()):
        weights = np.full(len(one), 100 / max(len(one), 1))
        axes.hist(one.clip(-top, top), edges, weights=weights, color=PALETTE[0], alpha=0.8)
        tidy(axes, "value of a unit", "share of values (%)" if axes is row[0] else "", title)
        axes.axvline(0, color="black", ls=":", lw=1)
        axes.locator_params(axis="x", nbins=5)
    return figure


def reading_panels(table: pd.DataFrame, chance: Mapping[str, float] | None = None) -> Figure:
    """Draw test accuracies with their intervals: a panel a setting, a line a reading, the models side by side.

    Args:
        table: one row a result: setting, reading, model (a key of `READERS`), accuracy, lo, hi (shares in 0..1).
        chance: accuracy of always answering the commonest class, drawn dotted, by setting.
    """
    settings, readings = (list(dict.fromkeys(table[name])) for name in ("setting", "reading"))
    figure, [row] = new_figure(1, len(settings), 2.7 + 1.5 / len(settings), 1.2 + 0.55 * len(readings))
    for axes, setting in zip(row, settings):
        for model, (label, colour, marker, shift) in READERS.items():
            if not (table["model"] == model).any():
                continue
            mine = table[(table["setting"] == setting) & (table["model"] == model)]
            y = [len(readings) - 1 - readings.index(reading) + shift for reading in mine["reading"]]
            axes.hlines(y, 100 * mine["lo"], 100 * mine["hi"], color=colour, lw=2.5, alpha=0.55)
            axes.plot(100 * mine["accuracy"], y, marker, color=colour, ms=5, label=label)
        if chance is not None:
            axes.axvline(100 * chance[setting], color=GREY, ls=":", lw=1.3)
        names = readings[::-1] if axes is row[0] else [""] * len(readings)
        axes.set_yticks(range(len(readings)), names, fontsize=8)
        axes.set_ylim(-0.6, len(readings) - 0.4)
        axes.set_xlim(0, 101)
        tidy(axes, "test accuracy (%)", "", setting)
    row[-1].legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
