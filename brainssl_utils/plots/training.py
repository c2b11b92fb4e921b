"""Figures of training: curves of a run, its health, the paper's Figures 7 to 9, confusion matrices, embeddings."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from brainssl_utils.plots.base import draw_levels, new_figure, tidy
from brainssl_utils.plots.colours import GREY, PALETTE, class_colour, method_colours
from brainssl_utils.results.health import LOSS, MEASURES, curves, find_band, no_band

ACCURACIES = {
    "c_acc": "c_acc: contrastive",
    "r_acc": "r_acc: correlation",
    "p_acc": "p_acc: labelled training images",
    "val_p_acc": "val_p_acc: test images",
}
MOST_COUNTS = 25  # classes up to which a confusion matrix has room for its counts
MARKS = ("o", "^", "s", "D", "v", "P")
LOSSES = {"c_loss": "pretext loss", "p_loss": "classification loss"}
# A loss has the colour of the accuracy that is measured with it.
CURVE_COLOURS = dict(zip(ACCURACIES, PALETTE)) | {"c_loss": PALETTE[0], "p_loss": PALETTE[2]}


def training_curves(history: pd.DataFrame, title: str = "") -> Figure:
    """Draw a run's accuracies (left, %) and losses (right) against the epoch, as the paper's Figures 7 and 9 do."""
    figure, [[left, right]] = new_figure(1, 2, 4.4, 3.2)
    for axes, names, scale in ((left, ACCURACIES, 100), (right, LOSSES, 1)):
        for name, label in names.items():
            if name in history and history[name].notna().any():
                look = {"color": CURVE_COLOURS[name], "marker": ".", "label": label}
                axes.plot(history["epoch"] + 1, history[name] * scale, **look)
        axes.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    tidy(left, "epoch", "accuracy (%)", title)
    left.set_ylim(0, 102)
    tidy(right, "epoch", "loss", title)
    return figure


def compare_curves(
    histories: dict[str, pd.DataFrame], names: Sequence[str], ylabel: str, titles: Sequence[str]
) -> Figure:
    """Draw one panel a column of the histories, one line a method (keys are method names); losses as they are, else %."""
    from brainssl_utils.methods import method_title  # loads torch, which no other figure needs

    colours = method_colours(histories)
    figure, [axes] = new_figure(1, len(names), 3.8, 3.0)
    for axis, name, title in zip(axes, names, titles):
        for method, history in histories.items():
            if name in history and history[name].notna().any():
                values = history[name].astype(float) * (1 if name.endswith("loss") else 100)
                label = method_title(method, method)
                axis.plot(history["epoch"] + 1, values, color=colours[method], marker=".", label=label)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        tidy(axis, "epoch", ylabel, title)
        axis.legend(fontsize=7, frameon=False)
    return figure


def confusion_matrices(reports: dict[str, dict[str, Any]], classes: Sequence[str]) -> Figure:
    """Draw one confusion matrix a report: rows are true classes, columns predictions, shades the share of the row.

    A panel grows with the number of classes; beyond `MOST_COUNTS` the counts are left out and the shades remain.
    """
    side = max(2.9, 1.3 + 0.26 * min(len(classes), MOST_COUNTS))
    figure, [axes] = new_figure(1, len(reports), side, side)
    for axis, (title, report) in zip(axes, reports.items()):
        counts = np.asarray(report["confusion"])
        axis.imshow(counts / counts.sum(1, keepdims=True).clip(min=1), cmap="Blues", vmin=0, vmax=1)
        for (i, j), count in np.ndenumerate(counts) if len(classes) <= MOST_COUNTS else ():
            dark = count > 0.6 * counts[i].sum()
            axis.text(j, i, str(count), ha="center", va="center", fontsize=8, color="white" if dark else "black")
        size = 7 if len(classes) <= MOST_COUNTS else 4
        axis.set_xticks(range(len(classes)), classes, rotation=40, ha="right", rotation_mode="anchor", fontsize=size)
        axis.set_yticks(range(len(classes)), classes, fontsize=size)
        tidy(axis, "predicted", "true", title)
    return figure


def embedding(points: dict[str, np.ndarray], labels: np.ndarray, classes: Sequence[str]) -> Figure:
    """Draw 2-D embeddings, one panel an entry of `points` (each (N, 2)), coloured by class.

    Colours repeat after twelve classes; the marks change there.
    """
    figure, [axes] = new_figure(1, len(points), 3.4, 3.3)
    for axis, (title, xy) in zip(axes, points.items()):
        for index, name in enumerate(classes):
            chosen = labels == index
            look = {"color": class_colour(name, index), "marker": MARKS[index // 12 % len(MARKS)], "linewidths": 0}
            axis.scatter(*xy[chosen].T, s=9, label=name, alpha=0.75, **look)
        tidy(axis, "first coordinate", "second coordinate", title)
        axis.set_xticks([])
        axis.set_yticks([])
    columns = 1 + (len(classes) - 1) // 16
    axes[-1].legend(fontsize=7, frameon=False, markerscale=2, loc="upper left", bbox_to_anchor=(1, 1), ncols=columns)
    return figure


def interval_bars(
    table: pd.DataFrame, value: str, low: str, high: str, xlabel: str, reference: float | None = None
) -> Figure:
    """Draw one horizontal interval a row of `table` (index: names), with a dotted line at `reference` (chance, say)."""
    figure, [[axes]] = new_figure(1, 1, 6.4, 0.7 + 0.34 * len(table))
    positions = np.arange(len(table))[::-1]
    axes.hlines(positions, table[low], table[high], color=PALETTE[0], lw=3, alpha=0.5)
    axes.plot(table[value], positions, "o", color=PALETTE[0])
    if reference is not None:
        axes.axvline(reference, color=PALETTE[4], ls=":", lw=1.5)
    axes.set_yticks(positions, [str(name) for name in table.index], fontsize=8)
    axes.set_ylim(-0.6, len(table) - 0.4)
    tidy(axes, xlabel, "")
    return figure


def health(run: Any, file: str | Path | None = None) -> Figure:
    """Draw a run's measures against the epoch, a panel each, over the band of the reference runs where there is one.

    Levels that need no reference are drawn in black: the loss of an answer that knows nothing of the image, the accuracy of
    guessing, an even spread. The last panel says whose band it is, and a panel whose numbers the record lacks says so.

    Args:
        run: a `Run`, or a record.
        file: of the bands; the course's own by default.

    Raises:
        CourseError: the file of bands is damaged.
    """
    record = run if isinstance(run, dict) else run.record
    found, band = curves(record), find_band(record, file)
    classes = record["config"].get("n_classes")
    chance = found["chance_loss"].iloc[-1] if "chance_loss" in found else None
    levels = {
        LOSS: {} if chance is None else {"knows nothing": chance},
        "knn_acc": {"guessing": 1 / classes} if classes else {},
    }
    figure, axes = new_figure(2, 4, 2.75, 2.35)
    for axis, (name, measure) in zip(axes.flat, MEASURES.items()):
        tidy(axis, "epoch", "", measure.title)
        axis.title.set_fontsize(9)
        if name in found:
            _measured(axis, found[name], band.limits.get(name) if band else None, levels.get(name))
        else:
            _say(axis, "not in this record")
    _say(axes.flat[-1], str(band) if band else no_band(record))
    axes.flat[-1].set_axis_off()
    return figure


def _measured(axis: Axes, values: pd.Series, limits: pd.DataFrame | None, levels: dict[str, float] | None) -> None:
    if limits is not None:
        axis.fill_between(limits.index + 1, limits["low"], limits["high"], color=GREY, alpha=0.25, lw=0, label="band")
    axis.plot(np.asarray(values.index) + 1, values, color=PALETTE[0], marker=".")
    draw_levels(axis, levels)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if levels:
        axis.legend(fontsize=7, frameon=False)


def _say(axis: Axes, words: str) -> None:
    text = "\n".join(textwrap.wrap(words, 30))
    axis.text(0.5, 0.5, text, ha="center", va="center", fontsize=8, color="#444444", transform=axis.transAxes)
    axis.set_xticks([])
    axis.set_yticks([])
