"""Figures of the contrastive lessons: two views on their way to the loss, matrices, weights, neighbours, invariance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from brainssl_utils.plots.base import draw_levels, image_panel, new_figure, tidy
from brainssl_utils.plots.colours import GREY, PALETTE, series_colour


def two_view_diagram(
    image: Any, views: Sequence[Any], steps: Sequence[str], loss: str, marks: Sequence[str] = ("h", "z")
) -> Figure:
    """Draw one image, its two views, the boxes both pass through and the loss they meet in.

    Args:
        image, views: grey images (H, W) or (1, H, W); two views.
        steps: a label a box, such as ("encoder f", "projection head g").
        loss: label of the last box.
        marks: what leaves each box; view numbers are added as subscripts.
    """
    figure, [[axes]] = new_figure(1, 1, 9.0, 2.9)
    axes.set_xlim(0, 9)
    axes.set_ylim(0, 3)
    axes.axis("off")
    image_panel(axes.inset_axes((0.1, 0.9, 1.2, 1.2), transform=axes.transData), image, "one scan")
    arrow = {"arrowstyle": "->", "color": GREY}
    box = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": PALETTE[0]}
    centres = np.linspace(4.3, 6.6, len(steps)) if len(steps) > 1 else np.array([5.4])
    for number, (view, y) in enumerate(zip(views, (2.3, 0.7)), 1):
        image_panel(axes.inset_axes((2.1, y - 0.6, 1.2, 1.2), transform=axes.transData), view, f"view {number}")
        axes.annotate("", (2.05, y), (1.35, 1.5), arrowprops=arrow)
        edge = 3.35
        for index, (x, step) in enumerate(zip(centres, steps)):
            axes.annotate("", (x - 0.5, y), (edge, y), arrowprops=arrow)
            axes.text(x, y, step, ha="center", va="center", fontsize=9, bbox=box)
            edge = x + 0.5
            last = index == len(steps) - 1
            axes.text(edge + 0.55 if last else edge + 0.35, y + (0.1 if not last or y > 1.5 else -0.35),
                      f"${marks[index]}_{number}$", ha="center", fontsize=12)  # fmt: skip
        axes.annotate("", (7.95, 1.5 + 0.14 * np.sign(y - 1.5)), (edge, y), arrowprops=arrow)
    axes.text(8.35, 1.5, loss, ha="center", va="center", fontsize=9, bbox={**box, "edgecolor": PALETTE[4]})
    for x in centres:
        axes.text(x, 1.5, "the same\nweights", ha="center", va="center", fontsize=8, color=GREY, style="italic")
    return figure


def matrices(
    panels: Mapping[str, Any],
    names: Sequence[str] | None = None,
    marked: Sequence[tuple[int, int]] = (),
    limits: tuple[float, float] = (-1, 1),
    numbers: bool = True,
    columns: Sequence[str] | None = None,
) -> Figure:
    """Draw matrices as heat maps, one panel each, blue below the middle of `limits` and orange above it.

    Args:
        panels: title -> matrix.
        names: labels of the rows, and of the columns unless `columns` is given.
        marked: cells (row, column) to frame, the positives for instance.
        numbers: write each value into its cell (NaN cells stay empty).
    """
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.patches import Rectangle

    colours = LinearSegmentedColormap.from_list("blue-white-orange", [PALETTE[0], "#FFFFFF", PALETTE[1]])
    figure, [row] = new_figure(1, len(panels), 3.3, 3.0)
    for axes, (title, values) in zip(row, panels.items()):
        values = np.asarray(values, dtype=float)
        shown = axes.imshow(values, cmap=colours, vmin=limits[0], vmax=limits[1])
        if numbers:
            for (i, j), value in np.ndenumerate(values):
                axes.text(
                    j,
                    i,
                    "" if np.isnan(value) else f"{round(value, 2) + 0.0:.2f}",
                    ha="center",
                    va="center",
                    fontsize=9,
                )
        for i, j in marked:
            axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, edgecolor="black", linewidth=2))
        if names is not None:
            across = names if columns is None else columns
            axes.set_xticks(range(len(across)), across, fontsize=8)
            axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.set_title(title, fontsize=10)
    figure.colorbar(shown, ax=list(row), shrink=0.75, label="value of the cell")
    return figure


def maps_over_image(image: Any, maps: Mapping[str, Any], label: str, limits: tuple[float, float] = (0, 1)) -> Figure:
    """Draw the image, then each map laid over it with contour lines; maps are (h, w) and cover the whole image."""
    figure, [row] = new_figure(1, len(maps) + 1, 2.5, 2.6)
    image_panel(row[0], image, "the scan")
    side = np.asarray(image).squeeze().shape[0]
    for axes, (title, values) in zip(row[1:], maps.items()):
        values = np.asarray(values, dtype=float)
        image_panel(axes, image, title)
        extent = (-0.5, side - 0.5, side - 0.5, -0.5)
        shown = axes.imshow(
            values, cmap="viridis", alpha=0.45, extent=extent, vmin=limits[0], vmax=limits[1], interpolation="bilinear"
        )
        centres = (np.arange(len(values)) + 0.5) * side / len(values) - 0.5
        if values.max() > values.min():
            lines = axes.contour(
                centres, centres, values, levels=[0.25, 0.5, 0.75, 0.95], colors="white", linewidths=0.8
            )
            axes.clabel(lines, fontsize=7, fmt=lambda level: f"{level:.0%}")
    figure.colorbar(shown, ax=list(row), shrink=0.9, label=label)
    return figure


def line_plot(
    lines: Mapping[str, tuple[Any, Any]],
    xlabel: str,
    ylabel: str,
    levels: Mapping[str, float] | None = None,
) -> Figure:
    """Draw one line an entry of `lines`, name -> (x, y), and black horizontal `levels`, name -> y."""
    figure, [[axes]] = new_figure(1, 1, 5.6, 3.2)
    for index, (name, (x, y)) in enumerate(lines.items()):
        marker = "." if len(np.asarray(x)) <= 60 else None
        axes.plot(x, y, color=series_colour(index), marker=marker, label=name)
    draw_levels(axes, levels)
    if all(np.issubdtype(np.asarray(x).dtype, np.integer) for x, _ in lines.values()):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    tidy(axes, xlabel, ylabel)
    if len(lines) + len(levels or {}) > 1:
        axes.legend(fontsize=8, frameon=False)
    return figure


def grouped_bars(table: pd.DataFrame, ylabel: str, levels: Mapping[str, float] | None = None) -> Figure:
    """Draw one group of bars a row of `table`, one colour a column, values in 0..1 shown in %; black `levels` likewise."""
    figure, [[axes]] = new_figure(1, 1, 1.6 + 0.95 * len(table), 3.2)
    width = 0.8 / table.shape[1]
    places = np.arange(len(table))
    for index, name in enumerate(table.columns):
        left = places - 0.4 + width * (index + 0.5)
        axes.bar(left, 100 * table[name], width, color=series_colour(index), label=str(name))
    draw_levels(axes, {name: 100 * level for name, level in (levels or {}).items()})
    axes.set_xticks(places, [str(name) for name in table.index], fontsize=8)
    tidy(axes, "", ylabel)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def neighbour_grid(
    queries: Any, neighbours: Any, titles: Sequence[Sequence[str]], good: Sequence[Sequence[bool]] | None = None
) -> Figure:
    """Draw each query beside its neighbours.

    Args:
        queries: (Q, 1, H, W) images.
        neighbours: (Q, K, 1, H, W) images, nearest first.
        titles: Q lists of K + 1 titles, the query's first.
        good: Q lists of K flags: a blue frame for True, a dashed orange one for False; None draws no frames.
    """
    queries, neighbours = np.asarray(queries), np.asarray(neighbours)
    count, k = neighbours.shape[:2]
    lines = max(title.count("\n") for row_titles in titles for title in row_titles) + 1
    figure, axes = new_figure(count, k + 1, 1.3, 1.3 + 0.16 * lines + 0.3 / count)
    for row in range(count):
        image_panel(axes[row, 0], queries[row], titles[row][0])
        for column in range(k):
            panel = image_panel(axes[row, column + 1], neighbours[row, column], titles[row][column + 1])
            if good is not None:
                right = good[row][column]
                panel.spines[:].set(
                    visible=True, color=PALETTE[0 if right else 1], linewidth=2.5, linestyle="-" if right else "--"
                )
    return figure


def looking_sheet(images: Any, masks: Any, maps: Mapping[str, Any], titles: Sequence[str]) -> Figure:
    """Draw slices with the outline of their lesion, and below them where encoders look; a column a slice.

    Args:
        images: (n, 1, S, S) grey images.
        masks: (n, S, S), True on the lesion.
        maps: row label -> (n, S, S), 0 and above; each is shown as a share of its own largest value.
        titles: over the columns.
    """
    figure, axes = new_figure(len(maps) + 1, len(titles), 1.45, 1.45)
    for column, (image, mask, title) in enumerate(zip(np.asarray(images), np.asarray(masks), titles)):
        for row, values in enumerate((None, *maps.values())):
            axis = image_panel(axes[row, column], image, title if row == 0 else "")
            if values is not None:
                share = np.asarray(values[column]) / max(float(np.max(values[column])), 1e-12)
                shown = axis.imshow(share, cmap="viridis", alpha=0.65, vmin=0, vmax=1)
            if mask.any():
                axis.contour(mask, levels=[0.5], colors=PALETTE[1], linewidths=1.4)
    for axis, label in zip(axes[:, 0], ("slice", *maps)):
        axis.set_ylabel(label, fontsize=8)
    figure.colorbar(shown, ax=list(axes[1:].flat), shrink=0.9, label="share of the map's\nlargest value")
    return figure
