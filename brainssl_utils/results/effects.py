"""What a lesson promises to show, measured: saved with its run, and listed over the runs of several seeds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pandas as pd

from brainssl_utils.errors import CourseError
from brainssl_utils.evaluation.comparison import paired_table, verdicts
from brainssl_utils.files import atomic_path

Report = Mapping[str, Any]


def save_effect(
    run_dir: str | Path,
    lesson: str,
    pairs: Mapping[tuple[str, str], tuple[Report, Report]],
    groups: npt.ArrayLike | Mapping[tuple[str, str], npt.ArrayLike] | None = None,
) -> str:
    """Compare what a lesson trained with what it is set against, and keep the rows in `run_dir`/tables/LESSON_effect.csv.

    The promise is one comparison that was named before the run, so its p-value stands as it is; Holm's correction goes over
    the others, among themselves.

    Args:
        run_dir: the lesson's.
        lesson: the number that its notebook's name starts with: two digits, or a capital and a digit for an appendix.
        pairs, groups: as in `evaluation.comparison.paired_table`. The first pair is the lesson's promise; the others
            stand beside it.

    Returns:
        a Markdown list with the verdict of each pair, the promise first.

    Raises:
        CourseError: as `paired_table`, or a lesson that is no such number.
    """
    if not re.fullmatch("[0-9A-Z][0-9]", lesson):
        raise CourseError(f"lesson={lesson!r}: give what its notebook's name starts with, such as '04' or 'A1'.")
    keys = list(pairs)
    parts = [keys[:1], keys[1:]] if keys[1:] else [keys]
    table = pd.concat([paired_table({key: pairs[key] for key in part}, groups) for part in parts], ignore_index=True)
    path = Path(run_dir) / "tables" / f"{lesson}_effect.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)
    return verdicts(table).replace("- ", "- The promise: ", 1)


def effects_table(runs: Sequence[str | Path]) -> pd.DataFrame:
    """List the promised effects of runs of the course that differ in their seed.

    Returns:
        one row a lesson: lesson, model, against, a column a run ("+6.7 [2.4, 11.0]", points of the test images with 95 %
        interval; empty where the run lacks the lesson), and clear: in how many runs the interval lies above 0.

    Raises:
        CourseError: a run without any effect.
    """
    rows: dict[str, dict[str, Any]] = {}
    for run in map(Path, runs):
        found = sorted((run / "tables").glob("[0-9A-Z][0-9]_effect.csv"))
        if not found:
            raise CourseError(f"{run}: no lesson has saved its effect there. Give the folder of a run of the course.")
        for path in found:
            lesson, first = path.name[:2], pd.read_csv(path).iloc[0]
            row = rows.setdefault(
                lesson, {"lesson": lesson, "model": first.model, "against": first.against, "clear": 0}
            )
            row[run.name] = f"{first.difference:+.1f} [{first.lo:.1f}, {first.hi:.1f}]"
            row["clear"] += int(first.lo > 0)
    table = pd.DataFrame([rows[lesson] for lesson in sorted(rows)]).fillna("")
    return table[["lesson", "model", "against", *(Path(run).name for run in runs), "clear"]]
