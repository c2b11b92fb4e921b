"""The README's picture, made from a benchmark's table: `python docs/make_readme_figure.py` draws it again."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from brainssl_utils.plots import PALETTE

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "benchmarks" / "results" / "few_labels.txt"
PICTURE = ROOT / "docs" / "images" / "few_labels.png"
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


def main() -> None:
    """Draw docs/images/few_labels.png."""
    figure = draw(gains(TABLE.read_text(encoding="utf-8")))
    figure.savefig(PICTURE, dpi=150, metadata={"Software": None})
    print(PICTURE)


if __name__ == "__main__":
    main()
