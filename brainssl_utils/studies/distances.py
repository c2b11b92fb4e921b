"""How far trainings as published are from the study's own figures: which reading of it comes nearest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import pandas as pd

from brainssl_utils.methods import method_title
from brainssl_utils.results.fitted import fitted
from brainssl_utils.results.published import PUBLISHED
from brainssl_utils.studies.plan import Recipe, Study

SPLIT = "as published"
COLUMNS = {
    "c_acc": "c_acc",
    "p_acc": "p_acc",
    "p_acc since the start": "p_acc",
    "r_acc, reference's formula": "r_acc",
    "r_acc, ours": "r_acc",
    "val_p_acc": "val_p_acc",
}
"""What is compared, and which published column with."""
NEAR = ("c_acc", "p_acc", "r_acc, reference's formula")
"""What says how near a reading comes: not the test accuracy, on which nothing is chosen."""
OVERALL = "mean distance, test aside"
NOT_YET = "not trained yet"

Record = dict[str, Any]


def distances(study: Study, found: Sequence[Sequence[Record]]) -> pd.DataFrame:
    """Set trainings as published beside the study's figures.

    Args:
        study: whose recipes they are.
        found: the records of each recipe, one a seed.

    Returns:
        one row a recipe of a method in the published table, under its protocol and on its split: method, tag, seeds,
        `COLUMNS` (shares in 0..1, means over seeds), for each "... distance" in points (ours less published), `OVERALL`
        (the mean of the absolute distances of `NEAR`), and whether the classifiers have fitted. NaN where it is not known.
    """
    rows = []
    for recipe, records in zip(study.recipes, found):
        title = method_title(recipe.method)
        if recipe.protocol == "published" and recipe.split == SPLIT and title in PUBLISHED.index:
            rows.append(_row(recipe, title, records))
    return pd.DataFrame(rows)


def _row(recipe: Recipe, title: str, records: Sequence[Record]) -> dict[str, Any]:
    seeds = [columns(record["history"]) for record in records]
    ours = {name: fmean(seed[name] for seed in seeds) if seeds else math.nan for name in COLUMNS}
    apart = {name: 100 * ours[name] - float(PUBLISHED[its][title]) for name, its in COLUMNS.items()}
    return {
        "method": title,
        "tag": recipe.tag,
        "seeds": len(records),
        **ours,
        **{f"{name} distance": value for name, value in apart.items()},
        OVERALL: fmean(abs(apart[name]) for name in NEAR),
        "fitted": fitted(records),
    }


def columns(history: Sequence[Record]) -> dict[str, float]:
    """Return `COLUMNS` of one training's history, shares in 0..1; NaN where the history does not tell.

    The last epoch's values; p_acc also as a Keras metric that nobody resets has it, the mean over all epochs since the
    start. Without a dead feature both formulas of r_acc are one.
    """
    last = history[-1]
    reference = last.get("r_acc_reference")
    if reference is None and last.get("dead_features") == 0:
        reference = last.get("r_acc")
    running = [epoch["p_acc"] for epoch in history if epoch.get("p_acc") is not None]
    found = {
        "c_acc": last.get("c_acc"),
        "p_acc": last.get("p_acc"),
        "p_acc since the start": fmean(running) if running else None,
        "r_acc, reference's formula": reference,
        "r_acc, ours": last.get("r_acc"),
        "val_p_acc": last.get("val_p_acc"),
    }
    return {name: math.nan if value is None else float(value) for name, value in found.items()}


def printed(table: pd.DataFrame) -> pd.DataFrame:
    """The table as a person reads it: in %, the distance in points behind each figure, the study's figures first."""
    rows: list[dict[str, Any]] = []
    for title, part in table.groupby("method", sort=False):
        figures = {name: f"{PUBLISHED[its][str(title)]:.2f}" for name, its in COLUMNS.items()}
        rows.append({"method": title, "reading": "the study's figures", "seeds": "", **figures})
        for _, row in part.iterrows():
            about = {"method": title, "reading": row["tag"] or "our choice", "seeds": str(row["seeds"])}
            if not row["seeds"]:
                rows.append({**about, "c_acc": NOT_YET})
                continue
            cells = {name: _cell(row[name], row[f"{name} distance"]) for name in COLUMNS}
            overall = "-" if pd.isna(row[OVERALL]) else f"{row[OVERALL]:.1f}"
            rows.append({**about, **cells, OVERALL: overall, "fitted": row["fitted"]})
    return pd.DataFrame(rows, columns=["method", "reading", "seeds", *COLUMNS, OVERALL, "fitted"]).fillna("")


def _cell(share: float, apart: float) -> str:
    return "-" if pd.isna(share) else f"{100 * share:.1f} ({apart:+.1f})"
