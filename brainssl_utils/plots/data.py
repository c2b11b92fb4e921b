"""Figures of the data: sources side by side, copies with their evidence, who copies whom, what a leak is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from brainssl_utils.data.corpus import WITHOUT_CLASS, Corpus
from brainssl_utils.intervals import t_interval
from brainssl_utils.plots.base import image_panel, new_figure, tidy
from brainssl_utils.plots.colours import GREY, PALETTE, series_colour

Images = npt.NDArray[np.uint8]
MOST_ROWS = 12  # classes shown as pictures; a sheet of more is too long to look at
PARTS = {"train": "labelled part", "unlabeled": "unlabelled part", "either": "either"}


def source_sheet(corpus: Corpus, seed: int = 0, per_cell: int = 2) -> Figure:
    """Draw random images of each class (rows; the first twelve) from each source (columns), `per_cell` side by side.

    Images without a class have the last row.
    """
    rng = np.random.default_rng(seed)
    sources, classes = list(corpus.table["source"].unique()), list(corpus.classes[:MOST_ROWS])
    classes += [WITHOUT_CLASS] if (corpus.labels < 0).any() else []
    figure, axes = new_figure(len(classes), per_cell * len(sources), 1.15, 1.25)
    of_class, of_source = corpus.class_names, corpus.table["source"]
    for i, name in enumerate(classes):
        for j, source in enumerate(sources):
            rows = np.flatnonzero((of_class == name) & (of_source == source))
            rows = rng.permutation(rows)[:per_cell]
            cell = axes[i, per_cell * j : per_cell * (j + 1)]
            for axis, row in zip(cell, rows):
                image_panel(axis, corpus.images[row])
            for axis in cell[len(rows) :]:
                axis.axis("off")
            if i == 0:
                cell[0].set_title(source, fontsize=9, loc="left")
        axes[i, 0].set_ylabel(name, fontsize=9)
    return figure


def size_panels(corpus: Corpus) -> Figure:
    """Draw the width and height of the original pictures, one panel a source; the line is where they are square."""
    sources = list(corpus.table["source"].unique())
    figure, [axes] = new_figure(1, len(sources), 2.9, 2.9)
    top = 1.05 * float(corpus.table[["width", "height"]].to_numpy().max())
    for axis, source in zip(axes, sources):
        mine = corpus.table[corpus.table["source"] == source]
        many = mine.groupby(["width", "height"]).size().reset_index(name="n")
        axis.plot([0, top], [0, top], color=GREY, lw=0.8, ls=":")
        area = 12 + 300 * many["n"] / len(mine)
        axis.scatter(many["width"], many["height"], s=area, color=PALETTE[0], alpha=0.5, linewidths=0)
        title = f"{source}: {len(many)} {'size' if len(many) == 1 else 'sizes'}"
        tidy(axis, "width (px)", "height (px)" if axis is axes[0] else "", title)
        axis.set_xlim(0, top)
        axis.set_ylim(0, top)
        axis.set_aspect("equal")
    return figure


def picture_pairs(
    corpus: Corpus,
    a: Sequence[int] | npt.NDArray[np.int64],
    b: Sequence[int] | npt.NDArray[np.int64],
    evidence: Sequence[str],
    names: tuple[str, str] = ("one", "other"),
) -> Figure:
    """Draw pairs of rows of the corpus, one above the other, each with its source and class, and what links them below."""
    if not len(a):
        figure, [[empty]] = new_figure(1, 1, 4.0, 0.8)
        empty.text(0.5, 0.5, "no such pair in this corpus", ha="center", va="center")
        empty.axis("off")
        return figure
    figure, axes = new_figure(2, len(a), 1.5, 2.0)
    for column, (first, second, text) in enumerate(zip(a, b, evidence)):
        for axis, row in zip(axes[:, column], (first, second)):
            about = f"{corpus.table['source'].iloc[row]}\n{corpus.class_names.iloc[row]}"
            image_panel(axis, corpus.images[row], about)
        axes[1, column].set_xlabel(text, fontsize=8)
    for axis, name in zip(axes[:, 0], names):
        axis.set_ylabel(name, fontsize=9)
    return figure


def hash_steps(pictures: Mapping[str, tuple[Images, Images, npt.NDArray[np.bool_]]], distance: Sequence[str]) -> Figure:
    """Draw how a perceptual hash is made: picture, thumbnail, bits, one row a picture; `distance` stands beside each."""
    figure, axes = new_figure(len(pictures), 3, 1.9, 1.75)
    for row, (name, steps) in enumerate(pictures.items()):
        for column, (axis, step) in enumerate(zip(axes[row], steps)):
            shown = np.where(step, 255, 0).astype(np.uint8) if step.dtype == bool else step
            title = ("96 x 96 px", "32 x 32 px", "64 bits")[column] if row == 0 else ""
            image_panel(axis, shown, title)
        axes[row, 0].set_ylabel(name, fontsize=8)
        axes[row, 2].set_xlabel(distance[row], fontsize=8)
    return figure


def correlation_histogram(panels: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]], threshold: float = 0.98) -> Figure:
    """Draw, one panel a measure, the correlations of linked pairs and of random pairs, with the threshold of the groups."""
    figure, [axes] = new_figure(1, len(panels), 4.2, 2.9)
    bins = np.linspace(-0.3, 1.0, 53)
    for axis, (title, (links, strangers)) in zip(axes, panels.items()):
        for given, colour, label in ((strangers, GREY, "pairs at random"), (links, PALETTE[0], "links found")):
            values = np.clip(np.asarray(given, dtype=float), bins[0], bins[-1])
            share = np.full(len(values), 100 / max(len(values), 1))
            axis.hist(values, bins=bins, weights=share, color=colour, alpha=0.75, label=f"{label} ({len(values)})")
        axis.axvline(threshold, color=PALETTE[4], ls="--", lw=1.2, label=f"threshold {threshold:g}")
        axis.legend(fontsize=8, frameon=False, loc="upper left")
        tidy(axis, "correlation", "share of the pairs (%)" if axis is axes[0] else "", title)
    return figure


def overlap_map(shared: pd.DataFrame, sizes: pd.Series) -> Figure:
    """Draw `overlap_table` as a heat map: shades are the share of the row's images, figures that share and the count.

    Args:
        shared: counts, source (row) by source (column).
        sizes: number of images of each source.
    """
    import seaborn as sns

    share = 100 * shared.div(sizes.reindex(shared.index), axis=0)
    text = share.round(0).astype(int).astype(str) + " %\n" + shared.astype(str)
    figure, [[axes]] = new_figure(1, 1, 1.9 + 1.35 * len(shared), max(2.8, 1.3 + 0.9 * len(shared)))
    sns.heatmap(
        share, annot=text.to_numpy(), fmt="", cmap="Blues", vmin=0, vmax=100, ax=axes, linewidths=1.5,
        annot_kws={"fontsize": 9}, cbar_kws={"label": "share of the row (%)"},
    )  # fmt: skip
    axes.set_xlabel("have a copy in")
    axes.set_ylabel("images of")
    axes.tick_params(axis="y", rotation=0, length=0)
    axes.tick_params(axis="x", length=0)
    # Tilted, so that long names do not run into each other.
    axes.set_xticks(axes.get_xticks(), list(shared), rotation=25, ha="right", rotation_mode="anchor")
    return figure


def leakage_bars(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw `leakage` of several splits, one panel a split: share of test images with a copy, by part and threshold."""
    figure, [axes] = new_figure(1, len(tables), 3.7, 2.9)
    for axis, (name, table) in zip(axes, tables.items()):
        thresholds = list(dict.fromkeys(table["threshold"]))
        for shift, threshold in enumerate(thresholds):
            shares = table[table["threshold"] == threshold].set_index("part")["share"].reindex(list(PARTS)) * 100
            x = np.arange(len(PARTS)) + (shift - (len(thresholds) - 1) / 2) * 0.38
            bars = axis.bar(x, shares, 0.36, color=series_colour(shift), label=f"correlation from {threshold:.2f}")
            axis.bar_label(bars, [f"{share:.0f}" for share in shares], fontsize=8, padding=1)
        axis.set_xticks(range(len(PARTS)), list(PARTS.values()), fontsize=8)
        axis.set_ylim(0, 112)
        axis.set_yticks(range(0, 101, 25))
        tidy(
            axis,
            "a copy in the",
            "test images (%)" if axis is axes[0] else "",
            f"{name} ({_tested(table)} test images)",
        )
    axes[-1].legend(fontsize=8, frameon=False, loc="upper right")
    return figure


def _tested(table: pd.DataFrame) -> int:
    return int(table["test_images"].iloc[0])


def share_bars(shares: pd.DataFrame, ylabel: str) -> Figure:
    """Draw a table of shares (0..1) as percent: a group of bars a row, a colour a column, the number above each bar."""
    figure, [[axes]] = new_figure(1, 1, 7.2, 3.0)
    width = 0.8 / len(shares.columns)
    for place, name in enumerate(shares):
        x = np.arange(len(shares)) + (place - (len(shares.columns) - 1) / 2) * width
        bars = axes.bar(x, 100 * shares[name], 0.92 * width, color=series_colour(place), label=name)
        axes.bar_label(bars, [f"{100 * share:.0f}" for share in shares[name]], fontsize=8, padding=1)
    axes.set_xticks(range(len(shares)), list(shares.index))
    axes.set_ylim(0, 112)
    axes.set_yticks(range(0, 101, 25))
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    tidy(axes, "", ylabel)
    return figure


def split_comparison(scores: pd.DataFrame, chance: float | None = None) -> Figure:
    """Draw test accuracies by learner and split: a dot a seed with its Wilson interval, the mean with its t interval.

    Args:
        scores: one row a result: learner, split, seed, accuracy, lo, hi (shares in 0..1).
        chance: accuracy of always answering the commonest class, drawn as a dotted line.
    """
    figure, [[axes]] = new_figure(1, 1, 7.2, 3.5)
    learners, splits = (list(dict.fromkeys(scores[name])) for name in ("learner", "split"))
    ticks = []
    for i, learner in enumerate(learners):
        for j, split in enumerate(splits):
            mine = scores[(scores["learner"] == learner) & (scores["split"] == split)]
            centre = i * (len(splits) + 0.6) + j
            x = centre + np.linspace(-0.22, 0.10, len(mine)) if len(mine) > 1 else np.array([centre - 0.1])
            axes.vlines(x, 100 * mine["lo"], 100 * mine["hi"], color=series_colour(j), lw=1.2, alpha=0.6)
            axes.plot(x, 100 * mine["accuracy"], "o", color=series_colour(j), ms=4)
            mean, low, high = (100 * value for value in t_interval(mine["accuracy"]))
            if len(mine) > 1:
                axes.vlines(centre + 0.28, max(low, 0), min(high, 100), color="black", lw=2)
            axes.plot(centre + 0.28, mean, "D", color="black", ms=5)
            axes.text(centre + 0.34, mean, f"{mean:.0f} %", fontsize=8, va="center", ha="left")
            ticks.append((centre, split))
        middle = i * (len(splits) + 0.6) + (len(splits) - 1) / 2
        axes.text(middle, 1.02, learner, transform=axes.get_xaxis_transform(), fontsize=9, ha="center")
    if chance is not None:
        axes.axhline(100 * chance, color=GREY, ls=":", lw=1.2)
    axes.set_xticks(*map(list, zip(*ticks)), fontsize=8)
    axes.set_ylim(0, 102)
    tidy(axes, "", "test accuracy (%)")
    return figure


def to_size(image: Images, side: int) -> Images:
    """Enlarge a small (S, S) image to (side, side) by repeating pixels, so that pictures of several sizes fit one grid."""
    rows = np.arange(side) * image.shape[0] // side
    return image[np.ix_(rows, rows)]
