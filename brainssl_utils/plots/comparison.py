"""Figures of the proposed model and of the comparison of all methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.ticker import MaxNLocator

from brainssl_utils.plots.base import new_figure, tidy
from brainssl_utils.plots.colours import GREY, PALETTE, method_colours


def model_diagram(joint: bool = True) -> Figure:
    """Draw the proposed model: images, encoder, projection head and classifier, losses, and where gradients flow back."""
    figure, [[axes]] = new_figure(1, 1, 9.0, 3.0)
    boxes = {
        "unlabelled and\nlabelled images,\ntwo views each": (0.2, 1.25, PALETTE[5]),
        "labelled images,\none view": (0.2, 0.1, PALETTE[5]),
        "encoder\n3 x [2 conv + pool]": (2.6, 0.7, PALETTE[0]),
        "projection head\n256-128-64": (5.0, 1.25, PALETTE[1]),
        "classifier\n256-128-4": (5.0, 0.1, PALETTE[2]),
        "NT-Xent\n(eq. 1)": (7.4, 1.25, PALETTE[4]),
        "cross-entropy\n(eq. 5)": (7.4, 0.1, PALETTE[4]),
    }
    for text, (x, y, colour) in boxes.items():
        style = FancyBboxPatch((x, y), 1.6, 0.75, boxstyle="round,pad=0.06", fc=colour, ec="none", alpha=0.35)
        axes.add_patch(style)
        axes.text(x + 0.8, y + 0.375, text, ha="center", va="center", fontsize=9)
    forward = [((1.9, 1.6), (2.5, 1.2)), ((1.9, 0.5), (2.5, 0.95)), ((4.3, 1.2), (4.9, 1.6)), ((4.3, 0.95), (4.9, 0.5))]
    for start, end in [*forward, ((6.7, 1.62), (7.3, 1.62)), ((6.7, 0.47), (7.3, 0.47))]:
        axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=14, color="#444444"))
    axes.add_patch(
        FancyArrowPatch(
            (5.0, 0.05), (3.5, 0.62), connectionstyle="arc3,rad=-0.35", arrowstyle="-|>", mutation_scale=14,
            color=PALETTE[4], ls="-" if joint else ":",
        )
    )  # fmt: skip
    note = "gradient reaches the encoder" if joint else "gradient stopped here"
    axes.text(3.9, -0.12, note, color=PALETTE[4], fontsize=9, ha="center", va="top")
    axes.set_xlim(0, 9.2)
    axes.set_ylim(-0.45, 2.2)
    axes.axis("off")
    return figure


def gap_curves(histories: dict[str, pd.DataFrame]) -> Figure:
    """Draw p_acc and val_p_acc (%), one panel a training, with the gap between them shaded."""
    figure, [axes] = new_figure(1, len(histories), 3.8, 3.0)
    for axis, (title, history) in zip(axes, histories.items()):
        epoch = history["epoch"] + 1
        training, test = history["p_acc"].astype(float) * 100, history["val_p_acc"].astype(float) * 100
        axis.plot(epoch, training, color=PALETTE[0], marker=".", label="p_acc: images it trains on")
        axis.plot(epoch, test, color=PALETTE[4], marker=".", label="val_p_acc: test images")
        axis.fill_between(epoch, test, training, color=PALETTE[4], alpha=0.12, lw=0)
        tidy(axis, "epoch", "accuracy (%)", title)
        axis.set_ylim(0, 103)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.legend(fontsize=7, frameon=False, loc="lower right")
    return figure


def two_by_two(
    values: np.ndarray, intervals: Sequence[Sequence[tuple[float, float]]], rows: Sequence[str], columns: Sequence[str]
) -> Figure:
    """Draw a 2 x 2 table of accuracies as shades with their intervals; shares in 0..1, shown in %."""
    figure, [[axes]] = new_figure(1, 1, 5.2, 3.4)
    shown = axes.imshow(np.asarray(values) * 100, cmap="YlGnBu", vmin=0, vmax=100)
    for (i, j), value in np.ndenumerate(np.asarray(values)):
        low, high = intervals[i][j]
        colour = "white" if value > 0.55 else "black"
        axes.text(j, i - 0.08, f"{value:.1%}", ha="center", va="center", fontsize=13, color=colour)
        axes.text(j, i + 0.2, f"{low:.0%} to {high:.0%}", ha="center", va="center", fontsize=9, color=colour)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    figure.colorbar(shown, ax=axes, label="test accuracy (%)")
    return figure


def label_curve_plot(
    curve: pd.DataFrame,
    value: str = "accuracy",
    beside: Sequence[str] = (),
    panels: Mapping[str, Sequence[str]] | None = None,
) -> Figure:
    """Draw accuracy (%) against the number of labels, one line a method: mean over seeds, bars from least to greatest.

    Args:
        curve: what `evaluation.label_curve` returns.
        value: the column that is drawn.
        beside: methods that a later figure draws beside these; their colours are left free.
        panels: methods to draw, by the title of their panel; those that several panels show, to be compared with, are
            grey. Default: all methods, a panel a kind of reading.
    """
    titles = {
        f"read by: {kind.replace('_', '-')}": curve[curve["kind"] == kind] for kind in dict.fromkeys(curve["kind"])
    }
    shared: set[str] = set()
    if panels is not None:
        titles = {title: curve[curve["method"].isin(list(names))] for title, names in panels.items()}
        shared = {name for name in curve["method"] if sum(name in names for names in panels.values()) > 1}
    colours = method_colours(dict.fromkeys(name for name in [*curve["method"], *beside] if name not in shared))
    figure, [axes] = new_figure(1, len(titles), 4.6, 4.1 if panels else 3.5)
    for axis in axes[1:]:  # before anything is drawn, so that the scale holds what all panels show
        axis.sharey(axes[0])
    for axis, (title, part) in zip(axes, titles.items()):
        marks = iter("Ds^v")
        for method in dict.fromkeys(part["method"]):
            scores = part[part["method"] == method].groupby("labels")[value].agg(["mean", "min", "max"]) * 100
            # Of equal scores the mean can lie a rounding error outside them, and matplotlib refuses bars below 0.
            spread = np.stack([scores["mean"] - scores["min"], scores["max"] - scores["mean"]]).clip(min=0)
            look = {"color": colours.get(method, GREY), "marker": "o", "ms": 4, "capsize": 2}
            if method in shared:
                look |= {"marker": next(marks), "ls": "--"}
            axis.errorbar(scores.index, scores["mean"], spread, **look, label=method)
        axis.set_xscale("log")
        ticks = sorted(set(part["labels"]))
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        axis.minorticks_off()
        tidy(axis, "labelled images", f"test {value.replace('_', ' ')} (%)", title)
        if panels is not None:
            axis.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    if panels is None:
        axes[-1].legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def acquaintance_panels(table: pd.DataFrame) -> Figure:
    """Draw test accuracy on patients whom the labelled images show and on others: a panel a model, a row a split.

    Args:
        table: one row a result: model, split, patients ("seen", "unseen" or "all"), accuracy, lo, hi in %.
    """
    models, splits = (list(dict.fromkeys(table[name])) for name in ("model", "split"))
    looks = {"seen": (0.2, PALETTE[0], "o"), "unseen": (0, PALETTE[1], "D"), "all": (-0.2, "#000000", "|")}
    figure, [row] = new_figure(1, len(models), 3.4, 0.9 + 0.62 * len(splits))
    for axes, model in zip(row, models):
        for patients, (shift, colour, mark) in looks.items():
            mine = table[(table["model"] == model) & (table["patients"] == patients)]
            y = [len(splits) - 1 - splits.index(split) + shift for split in mine["split"]]
            axes.hlines(y, mine["lo"], mine["hi"], color=colour, lw=2.5, alpha=0.5)
            axes.plot(mine["accuracy"], y, mark, color=colour, ms=6, label=patients)
        axes.set_yticks(range(len(splits)), splits[::-1] if axes is row[0] else [""] * len(splits), fontsize=8)
        axes.set_ylim(-0.6, len(splits) - 0.4)
        tidy(axes, "test accuracy (%)", "", model)
    row[-1].legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), title="patients")
    return figure
