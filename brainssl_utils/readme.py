"""The README's table of results, made from records: python -m brainssl_utils.readme rewrites it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from brainssl_utils import records
from brainssl_utils.errors import CourseError
from brainssl_utils.files import atomic_path

START, END = "<!-- results: made by `python -m brainssl_utils.readme` -->", "<!-- end of results -->"
ROWS = ("barlow_twins", "nnclr", "simclr", "proposed_model", "supervised")


def results_table(made: Sequence[dict[str, Any]]) -> str:
    """Return a Markdown table of test accuracies in %, with 95 % intervals, from one run's records.

    Columns: the published figure; ours as published, on the random split and on the grouped one; the linear probe on
    frozen features under the fair protocol. The lowest seed of each training is shown.

    Raises:
        CourseError: a record is missing.
    """
    lines = [
        "| method | published | ours, random split | ours, grouped split | fair protocol, linear probe |",
        "|---|---|---|---|---|",
    ]
    for name in ROWS:
        title = records.method_title(name)
        published = f"{records.PUBLISHED['val_p_acc'][title]:.1f}" if title in records.PUBLISHED.index else "-"
        cells = [records.select(made, name, "published", part)[0]["test"] for part in ("as published", "grouped")]
        cells.append(records.select(made, name, "fair", "grouped")[0]["evaluations"]["linear"])
        shown = [f"{100 * c['accuracy']:.1f} ({100 * c['ci95'][0]:.0f}-{100 * c['ci95'][1]:.0f})" for c in cells]
        lines.append(f"| {title} | {published} | {' | '.join(shown)} |")
    return "\n".join(lines)


def with_results(text: str, table: str) -> str:
    """Return the README's text with the table between its two marks replaced.

    Raises:
        CourseError: the marks are missing.
    """
    if text.count(START) != 1 or text.count(END) != 1:
        raise CourseError(f"the README needs the marks {START} and {END}, once each.")
    before, rest = text.split(START)
    return f"{before}{START}\n{table}\n{END}{rest.split(END)[1]}"


def main() -> None:
    """Rewrite README.md in the current folder from results/reference/quick."""
    readme = Path("README.md")
    table = results_table(records.read_records("results/reference/quick"))
    with atomic_path(readme) as temporary:
        temporary.write_text(with_results(readme.read_text(encoding="utf-8"), table), encoding="utf-8")
    print(table, file=sys.stdout)


if __name__ == "__main__":
    main()
