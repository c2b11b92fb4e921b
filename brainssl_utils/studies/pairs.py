"""A study's trainings compared by pairs, image by image and seed by seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from brainssl_utils.evaluation.comparison import comparison_table
from brainssl_utils.studies.plan import TEST, Comparison, Study

TELLING_APART = ("method", "tag", "protocol", "split")

Record = dict[str, Any]


def pairs(study: Study, found: Sequence[Sequence[Record]]) -> pd.DataFrame:
    """Make the comparisons that a study asks for, as far as its records go.

    Args:
        study: whose `comparisons` are made.
        found: the records of each recipe, one a seed.

    Returns:
        the rows of `comparison_table` (Holm's correction over each comparison's own), after the column `answers`; empty
        where nothing can be paired yet. Records from before answers were kept are passed over.

    Raises:
        CourseError: two trainings with one seed were tested on different images.
    """
    tables = [_table(comparison, study, found) for comparison in study.comparisons]
    return pd.concat([table for table in tables if len(table)] or [pd.DataFrame()], ignore_index=True)


def _table(comparison: Comparison, study: Study, found: Sequence[Sequence[Record]]) -> pd.DataFrame:
    known: dict[str, list[Record]] = {
        recipe.title: [record for record in records if "test_rows" in record and _is_read(record, comparison.answers)]
        for recipe, records in zip(study.recipes, found)
        if recipe.split in comparison.splits
    }
    base = known.get(comparison.against, [])
    seeds = {record["seed"] for record in base}
    used = [record for records in known.values() for record in records if record["seed"] in seeds]
    if len(used) == len(base):
        return pd.DataFrame()
    table = comparison_table(used, comparison.against, comparison.answers, TELLING_APART)
    table.insert(0, "answers", comparison.answers)
    return table


def _is_read(record: Record, answers: str) -> bool:
    return answers == TEST or answers in record["evaluations"]


def printed(table: pd.DataFrame) -> pd.DataFrame:
    """`pairs` as a person reads it: points with their intervals."""
    rows = table.itertuples()
    return pd.DataFrame(
        {
            "model": table["model"],
            "against": table["against"],
            "answers": table["answers"],
            "points": [f"{row.difference:+.1f} [{row.lo:.1f}, {row.hi:.1f}]" for row in rows],
            "p, Holm": [f"{p:.2g}" for p in table["p_holm"]],
            "finding": table["finding"],
            "seeds": table["seeds"],
        }
    )
