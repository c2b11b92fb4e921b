"""Figures of the NNCLR lesson: a support set on a circle, which pairs a loss counts, queries and their neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from brainssl_utils.plots.base import image_panel, new_figure, tidy
from brainssl_utils.plots.colours import GREY, PALETTE, series_colour

AGREES, DIFFERS = PALETTE[0], PALETTE[4]


def support_circle(queue: npt.ArrayLike, queries: npt.ArrayLike, chosen: Mapping[str, Sequence[int]]) -> Figure:
    """Draw 2-D embeddings and the unit circle: queue entries, queries, an arrow to the entry each query is given.

    Args:
        queue: (M, 2).
        queries: (N, 2).
        chosen: by panel title, the N row numbers of the entries given to the queries.
    """
    queue, queries = np.asarray(queue, dtype=float), np.asarray(queries, dtype=float)
    figure, [row] = new_figure(1, len(chosen), 3.7, 3.7)
    angle = np.linspace(0, 2 * np.pi, 200)
    reach = 1.12 * max(1.0, float(np.abs(np.concatenate([queue, queries])).max()))
    for axes, (title, rows) in zip(row, chosen.items()):
        axes.plot(np.cos(angle), np.sin(angle), color=GREY, lw=0.8, ls=":")
        for point in queue:
            axes.plot([0, point[0]], [0, point[1]], color=GREY, lw=0.6, alpha=0.6)
        axes.scatter(*queue.T, s=60, color=PALETTE[1], zorder=3, label="queue entry")
        axes.scatter(*queries.T, s=60, marker="s", color=PALETTE[0], zorder=3, label="query")
        for number, point in enumerate(queue):
            axes.annotate(f"q{number}", point, textcoords="offset points", xytext=(7, 4), fontsize=9)
        for number, (point, entry) in enumerate(zip(queries, rows)):
            axes.annotate(f"z{number}", point, textcoords="offset points", xytext=(-15, -11), fontsize=9)
            line = {"arrowstyle": "->", "color": PALETTE[0], "lw": 1.6, "shrinkA": 5, "shrinkB": 5}
            axes.annotate("", queue[entry], point, arrowprops=line)
        axes.set_xlim(-reach, reach)
        axes.set_ylim(-reach, reach)
        axes.set_aspect("equal")
        tidy(axes, "first coordinate", "second coordinate" if axes is row[0] else "", title)
    row[0].legend(fontsize=8, frameon=False, loc="lower left")
    return figure


def counted_pairs(n: int = 3) -> Figure:
    """Draw which pairs of `n` neighbours and `n` predictions enter the cross-view loss and NT-Xent.

    Rows are what is compared, columns with what; + marks a positive, - a negative, an empty cell is left out.
    """
    names = [f"n{i}" for i in range(n)] + [f"p{i}" for i in range(n)]
    figure, [row] = new_figure(1, 2, 3.7, 3.7)
    side = np.arange(2 * n)
    crossing = (side[:, None] < n) != (side[None] < n)
    same_image = side[:, None] % n == side[None] % n
    for axes, (title, counted) in zip(row, (("cross-view", crossing), ("NT-Xent", crossing | ~same_image))):
        kind = np.where(counted, np.where(crossing & same_image, 1.0, -1.0), 0.0)
        for (i, j), value in np.ndenumerate(kind):
            inside = value < 0 and not crossing[i, j]
            colour = "white" if value == 0 else PALETTE[2] if value > 0 else PALETTE[4] if inside else PALETTE[5]
            axes.fill([j - 0.48, j + 0.48, j + 0.48, j - 0.48], [i - 0.48, i - 0.48, i + 0.48, i + 0.48], color=colour)
            axes.text(j, i, {1.0: "+", -1.0: "-", 0.0: ""}[float(value)], ha="center", va="center", fontsize=13)
        axes.set_xticks(side, names)
        axes.set_yticks(side, names)
        axes.set_xlim(-0.5, 2 * n - 0.5)
        axes.set_ylim(2 * n - 0.5, -0.5)
        axes.set_aspect("equal")
        tidy(axes, "compared with", "one of the pair" if axes is row[0] else "", title)
        axes.tick_params(length=0)
    return figure


def neighbour_sheet(
    queries: Any, rows: Mapping[str, tuple[Any, Sequence[str], Sequence[bool]]], query_titles: Sequence[str]
) -> Figure:
    """Draw queries in the first row and, below, what each search found; the frame says whether the classes agree.

    Args:
        queries: images (n, 1, S, S).
        rows: by row label: images found (n, 1, S, S), a title for each, and whether its class is the query's (a solid
            blue frame; a dashed orange-red one where not).
        query_titles: a title for each query.
    """
    queries = np.asarray(queries)
    figure, axes = new_figure(1 + len(rows), len(queries), 1.3, 1.55)
    for axis, image, title in zip(axes[0], queries, query_titles):
        image_panel(axis, image, title)
    axes[0, 0].set_ylabel("query", fontsize=8)
    for panels, (label, (found, titles, agrees)) in zip(axes[1:], rows.items()):
        for axis, image, title, good in zip(panels, np.asarray(found), titles, agrees):
            image_panel(axis, image, title)
            axis.spines[:].set_visible(True)
            axis.spines[:].set(color=AGREES if good else DIFFERS, linewidth=2.2, linestyle="-" if good else "--")
        panels[0].set_ylabel(label, fontsize=8)
    return figure


def queue_shares(table: pd.DataFrame, marks: Mapping[str, float], chance: float | None = None) -> Figure:
    """Draw shares (0..1, the columns of `table`) against queue length (its index, on a log axis), in %.

    Args:
        table: index: queue length; a column a line.
        marks: up to three lengths to mark with a vertical line, by label.
        chance: level of label agreement by chance, drawn dotted.
    """
    figure, [[axes]] = new_figure(1, 1, 7.4, 3.4)
    styles = ("-", "--", "-.", ":")
    for index, name in enumerate(table.columns):
        look = {"color": series_colour(index), "ls": styles[index % 4], "marker": "o", "ms": 4}
        axes.plot(table.index, 100 * table[name], **look, label=str(name))
    if chance is not None:
        axes.axhline(100 * chance, color=GREY, ls=":", lw=1.2, label="same class, by chance")
    for style, (label, length) in zip(("--", ":", "-."), marks.items()):
        axes.axvline(length, color="black", lw=1, ls=style, label=label)
    axes.set_xscale("log")
    axes.set_xticks(list(table.index), [f"{length:,}" for length in table.index], fontsize=7, rotation=35)
    axes.minorticks_off()
    axes.set_ylim(0, 102)
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    tidy(axes, "queue length (embeddings)", "share of the queries (%)")
    return figure
