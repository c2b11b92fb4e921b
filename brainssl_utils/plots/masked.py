"""Figures of the masked encoder: what is hidden, what is painted in, where the repair is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from brainssl_utils.plots.base import image_panel, new_figure, tidy
from brainssl_utils.plots.colours import PALETTE, class_colour

HIDDEN = PALETTE[5]


def repair_sheet(rows: Mapping[str, Any], titles: Sequence[str] | None = None, panel: float = 1.3) -> Figure:
    """Draw the same scans in several states, a row a state, a column a scan; hidden pixels are light blue.

    Args:
        rows: by row label: images (n, 1, S, S), or a pair of images and masks, bool (n, 1, S, S), True where hidden.
        titles: over the columns.
        panel: side of a picture, inches.
    """
    given = {label: row if isinstance(row, tuple) else (row, None) for label, row in rows.items()}
    columns = len(next(iter(given.values()))[0])
    figure, axes = new_figure(len(given), columns, panel, panel)
    for place, (axis_row, (label, (images, hidden))) in enumerate(zip(axes, given.items())):
        for column, axis in enumerate(axis_row):
            image_panel(axis, images[column], titles[column] if titles and place == 0 else "")
            if hidden is not None:
                mask = np.asarray(hidden[column]).squeeze()
                axis.imshow(np.dstack([*(np.full(mask.shape, part) for part in to_rgb(HIDDEN)), mask.astype(float)]))
        axis_row[0].set_ylabel(label, fontsize=8)
    return figure


def error_maps(images: Any, repairs: Any, errors: Any, titles: Sequence[str]) -> Figure:
    """Draw scans, their repairs and the squared error of each pixel, one scan a column; (n, 1, S, S) each, in 0..1."""
    figure, axes = new_figure(3, len(titles), 1.7, 1.65)
    errors = np.asarray(errors)
    top = max(float(np.quantile(errors, 0.995)), 1e-6)
    for column, title in enumerate(titles):
        image_panel(axes[0, column], images[column], title)
        image_panel(axes[1, column], repairs[column])
        shown = axes[2, column].imshow(errors[column].squeeze(), cmap="inferno", vmin=0, vmax=top)
        axes[2, column].set_xticks([])
        axes[2, column].set_yticks([])
    for axis, label in zip(axes[:, 0], ("scan", "repair", "squared error")):
        axis.set_ylabel(label, fontsize=8)
    figure.colorbar(shown, ax=list(axes[2]), shrink=0.9, label="squared error")
    return figure


def class_boxes(panels: Mapping[str, npt.ArrayLike], labels: npt.ArrayLike, classes: Sequence[str]) -> Figure:
    """Draw how a value of each image spreads in every class: a box from quartile to quartile, and every image a point.

    Args:
        panels: by label of the vertical axis: one value an image, (N,).
        labels: (N,) class codes.
        classes: their names.
    """
    labels = np.asarray(labels)
    figure, [axes] = new_figure(1, len(panels), 4.2, 3.0)
    rng = np.random.default_rng(0)
    for axis, (ylabel, given) in zip(axes, panels.items()):
        values = np.asarray(given, float)
        for place, name in enumerate(classes):
            own = values[labels == place]
            if not len(own):
                continue
            colour = class_colour(name, place)
            axis.scatter(place + rng.uniform(-0.18, 0.18, len(own)), own, s=7, color=colour, alpha=0.5, linewidths=0)
            axis.boxplot([own], positions=[place], widths=0.55, showfliers=False, medianprops={"color": "black"})
        axis.set_xticks(range(len(classes)), classes, fontsize=8)
        tidy(axis, "", ylabel)
    return figure
