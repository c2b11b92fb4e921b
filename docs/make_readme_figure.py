"""The README's pictures, made from records and a benchmark's table: `python docs/make_readme_figure.py` draws them again."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from brainssl_utils.methods import method_title
from brainssl_utils.plots import PALETTE
from brainssl_utils.results.published import PUBLISHED
from brainssl_utils.results.records import read_records
from brainssl_utils.studies.plan import read_study
from brainssl_utils.studies.show import by_recipe
from brainssl_utils.validity import digest

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "benchmarks" / "results" / "few_labels.txt"
IMAGES = ROOT / "docs" / "images"
RECORDS = ROOT / "results" / "reference" / "archives"
PANELS = {
    "c_acc": "c_acc (%)\nthe other view found, in training",
    "p_acc": "p_acc (%)\nclasses right, in training",
    "val_p_acc": "val_p_acc (%)\nclasses right, 308 test images",
}
SOURCES = {"the study": ("D", PALETTE[4]), "as published": ("o", PALETTE[0]), "grouped": ("s", PALETTE[2])}
LABELS = (12, 123, 1235)
NUMBER = r"(-?\d+\.\d) \[(-?\d+\.\d), (-?\d+\.\d)\]"
SHOWN = {"SimCLR": 0, "masked encoder + contrast": 1, "masked encoder": 4}


def gains(text: str) -> pd.DataFrame:
    """Return the points above the network from scratch after 3000 steps: a row a method and number of labels.

    Those of 12 labels are over 24 draws of them.

    Args:
        text: of `benchmarks/results/few_labels.txt`.
    """
    long = text.split("== pre-training for 3000 steps")[1].split("\n== ")[0]
    by_seed, by_draw = long.split("points above the network from scratch:")[1:3]
    rows = []
    for method in SHOWN:
        found = [
            re.search(rf"^{re.escape(method)} +{NUMBER}(?: +{NUMBER} +{NUMBER})?", part, re.M)
            for part in (by_draw, by_seed)
        ]
        values = [*found[0].groups()[:3], *found[1].groups()[3:]]  # type: ignore[union-attr]
        rows += [(method, n, *map(float, values[3 * i : 3 * i + 3])) for i, n in enumerate(LABELS)]
    return pd.DataFrame(rows, columns=["method", "labels", "points", "lo", "hi"])


def draw(table: pd.DataFrame) -> Figure:
    """Draw points with their intervals against the number of labels, methods side by side."""
    figure, axes = plt.subplots(figsize=(7.2, 3.6), layout="constrained")
    for place, (method, part) in enumerate(table.groupby("method", sort=False)):
        x = [i + 0.16 * (place - 1) for i in range(len(part))]
        bars = [part["points"] - part["lo"], part["hi"] - part["points"]]
        colour = PALETTE[SHOWN[str(method)]]
        axes.errorbar(x, part["points"], bars, fmt="o", color=colour, capsize=4, lw=2, ms=7, label=method)
    axes.axhline(0, color="black", lw=1)
    axes.text(-0.42, -0.12, "network from scratch", va="top", fontsize=8)
    axes.set_xticks(range(len(LABELS)), [f"{n} labels" for n in LABELS])
    axes.set_xlim(-0.45, 2.45)
    axes.set_ylabel("test accuracy, points above\nthe network from scratch")
    axes.legend(frameon=False, loc="upper left", title="pre-trained without labels by")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def study_points(records: Path = RECORDS) -> pd.DataFrame:
    """Return the published figures and ours of every seed that is in: method, source, seed, and the columns in %.

    Args:
        records: the folder of records.
    """
    rows = [{"method": name, "source": "the study", **figures} for name, figures in PUBLISHED.iterrows()]
    study = read_study("table2")
    for recipe, found in zip(study.recipes, by_recipe(study, read_records(records))):
        for record in found:
            last = record["history"][-1]
            values = {name: 100 * last[name] for name in PANELS if last[name] is not None}
            rows.append(
                {"method": method_title(recipe.method), "source": recipe.split, "seed": record["seed"], **values}
            )
    return pd.DataFrame(rows)[["method", "source", "seed", *PANELS]]


def draw_study(points: pd.DataFrame) -> Figure:
    """Draw a panel a column and a row a method: the published figure above, below it ours, a mark a seed and split."""
    methods = list(dict.fromkeys(points["method"]))
    figure, panels = plt.subplots(1, len(PANELS), figsize=(9.6, 3.4), sharey=True, layout="constrained")
    for axes, (column, label) in zip(panels, PANELS.items()):
        for shift, (source, (marker, colour)) in zip((-0.25, 0, 0.25), SOURCES.items()):
            part = points[points["source"] == source].dropna(subset=column)
            y = [methods.index(method) + shift for method in part["method"]]
            title = source if source == "the study" else f"ours, {source}"
            axes.plot(part[column], y, marker, color=colour, ms=7, alpha=0.8, mec="white", label=title)
        axes.set_xlabel(label)
        axes.set_xlim(20, 102)
        axes.grid(axis="x", color="#DDDDDD", lw=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(methods)), methods)
    panels[0].invert_yaxis()
    panels[0].legend(frameon=False, loc="center left")
    return figure


def save(figure: Figure, table: pd.DataFrame, name: str) -> Path:
    """Write a picture, with the digest of what it shows in its comment, by which a test tells whether it is up to date."""
    path = IMAGES / name
    figure.savefig(path, dpi=150, metadata={"Software": None, "Comment": digest(table.to_csv(index=False))})
    return path


def main() -> None:
    """Draw docs/images/table2.png and few_labels.png."""
    points, gained = study_points(), gains(TABLE.read_text(encoding="utf-8"))
    print(save(draw_study(points), points, "table2.png"), save(draw(gained), gained, "few_labels.png"), sep="\n")


if __name__ == "__main__":
    main()
