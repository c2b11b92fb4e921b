"""What `brainssl report` prints: one row a trained model, or one row a setting with its mean over seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from brainssl_utils.results.records import WHAT_A_SEED_REPEATS, records_table, summarise

VALUES = ("accuracy", "linear", "knn", "balanced_accuracy")
SAME_IMAGES = "data.fingerprint"  # two corpora may have one name; their accuracies have no common mean


def overview(
    records: Sequence[dict[str, Any]], each: bool = False, say: Callable[[str], object] = print
) -> pd.DataFrame:
    """Return the table of a report.

    Args:
        records: from `read_records`, of any number of runs.
        each: one row a training, whatever its seed.
        say: told of what the table leaves out and how it is to be read.

    Returns:
        one row a setting, with the mean over its seeds and `_lo`, `_hi` (95 % t interval, NaN for fewer than three seeds),
        where a setting was trained with several seeds. Else, or with `each`, one row a training, as in `records_table`.
    """
    records = _once(records, say)
    rows = records_table(records)
    if each:
        return rows
    setting = (*WHAT_A_SEED_REPEATS, SAME_IMAGES)
    seeds = records_table(records, [*setting, "seed"])
    if (twice := seeds.duplicated()).any():
        first = rows[twice].iloc[0]
        say(f"{first['method']} was trained with seed {first['seed']} more than once, with other settings: no means.")
        return rows
    means = summarise(records, setting, VALUES).drop(columns=SAME_IMAGES)
    return rows if len(means) == len(rows) else means


def with_intervals(table: pd.DataFrame) -> pd.DataFrame:
    """Write each value and its interval into one cell, as "0.512 [0.440, 0.584]"; a value without one stays alone."""
    shown = table.copy()
    for name in [name for name in table.columns if f"{name}_lo" in table.columns]:
        columns = (table[f"{name}{end}"] for end in ("", "_lo", "_hi"))
        shown[name] = [_cell(*numbers) for numbers in zip(*columns)]
        shown = shown.drop(columns=[f"{name}_lo", f"{name}_hi"])
    return shown


def _cell(value: float, low: float, high: float) -> str:
    if pd.isna(value):
        return "-"
    return f"{value:.3f}" if pd.isna(low) else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _once(records: Sequence[dict[str, Any]], say: Callable[[str], object]) -> list[dict[str, Any]]:
    """Without repetitions of one training, as they lie in folders that were copied: a mean would count them twice."""
    found: dict[Any, dict[str, Any]] = {}
    for number, record in enumerate(records):
        found.setdefault(record.get("key") or number, record)
    if len(found) < len(records):
        say(f"{len(records) - len(found)} of {len(records)} records tell of a training that another one tells of too.")
    return list(found.values())
