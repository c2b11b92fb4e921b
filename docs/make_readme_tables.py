"""The README's tables of results, made from records: python docs/make_readme_tables.py rewrites them."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from brainssl_utils.errors import CourseError
from brainssl_utils.files import atomic_path
from brainssl_utils.results import records
from brainssl_utils.results.published import PUBLISHED, method_title

START, END = "<!-- {name}: made by `python docs/make_readme_tables.py` -->", "<!-- end of {name} -->"
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
        title = method_title(name)
        published = f"{PUBLISHED['val_p_acc'][title]:.1f}" if title in PUBLISHED.index else "-"
        cells = [records.select(made, name, "published", part)[0]["test"] for part in ("as published", "grouped")]
        cells.append(records.select(made, name, "fair", "grouped")[0]["evaluations"]["linear"])
        lines.append(f"| {title} | {published} | {' | '.join(map(_share, cells))} |")
    return "\n".join(lines)


def full_length_table(made: Sequence[dict[str, Any]], short: Sequence[dict[str, Any]]) -> str:
    """Return a Markdown table of the proposed model trained at full length, beside its published row, and the minutes.

    Columns are the published table's, in %, at the last epoch: c_acc, p_acc and r_acc over its steps, val_p_acc on the
    test images with its 95 % Wilson interval. The minutes of the other rows are estimated: those of the proposed model
    on the grouped split, times the ratio of the two methods' seconds an epoch there in `short`.

    Args:
        made: records of the full-length trainings.
        short: records of all methods at a shorter profile.

    Raises:
        CourseError: a record is missing.
    """
    title = method_title("proposed_model")
    metrics = ("c_acc", "p_acc", "r_acc")
    published = PUBLISHED.loc[title].astype(float)
    cells = [f"{published[name]:.2f}" for name in (*metrics, "val_p_acc")]
    lines = [
        "| proposed model, 100 epochs | c_acc | p_acc | r_acc | val_p_acc | linear probe | minutes |",
        "|---|---|---|---|---|---|---|",
        f"| published | {' | '.join(cells)} | - | - |",
    ]
    minutes = {}
    for split in ("as published", "grouped"):
        record = records.select(made, "proposed_model", "published", split)[0]
        last = record["history"][-1]
        minutes[split] = sum(row["seconds"] for row in record["history"]) / 60
        cells = [f"{100 * last[name]:.2f}" for name in metrics]
        cells += [_share(report) for report in (record["test"], record["evaluations"]["linear"])]
        lines.append(f"| ours, {split} | {' | '.join(cells)} | {minutes[split]:.0f} |")
    epoch = {name: _epoch(records.select(short, name, "published", "grouped")[0]) for name in ROWS}
    estimates = {name: minutes["grouped"] * seconds / epoch["proposed_model"] for name, seconds in epoch.items()}
    shown = ", ".join(f"{method_title(name)} {value:.0f}" for name, value in estimates.items())
    lines += ["", f"Minutes of each row of the study's table on one split, estimated from these: {shown};"]
    lines.append(f"together {sum(estimates.values()) / 60:.1f} hours.")
    return "\n".join(lines)


def _share(report: dict[str, Any]) -> str:
    low, high = report["ci95"]
    return f"{100 * report['accuracy']:.1f} ({100 * low:.0f}-{100 * high:.0f})"


def _epoch(record: dict[str, Any]) -> float:
    """Seconds of a training's typical epoch."""
    return statistics.median(row["seconds"] for row in record["history"])


def with_results(text: str, tables: Mapping[str, str]) -> str:
    """Return the README's text with each table replaced between its two marks.

    Args:
        text: of the README.
        tables: Markdown by the name that stands in the marks.

    Raises:
        CourseError: marks are missing.
    """
    for name, table in tables.items():
        start, end = START.format(name=name), END.format(name=name)
        if text.count(start) != 1 or text.count(end) != 1:
            raise CourseError(f"the README needs the marks {start} and {end}, once each.")
        before, rest = text.split(start)
        text = f"{before}{start}\n{table}\n{end}{rest.split(end)[1]}"
    return text


def tables(results: str | Path) -> dict[str, str]:
    """Return the README's tables by name, from the folder that holds the records of `quick` and `paper`."""
    read = {profile: records.read_records(Path(results) / profile) for profile in ("quick", "paper")}
    return {"results": results_table(read["quick"]), "full length": full_length_table(read["paper"], read["quick"])}


def main() -> None:
    """Rewrite README.md in the current folder from results/reference."""
    readme = Path("README.md")
    made = tables("results/reference")
    with atomic_path(readme) as temporary:
        temporary.write_text(with_results(readme.read_text(encoding="utf-8"), made), encoding="utf-8")
    print(*made.values(), sep="\n\n", file=sys.stdout)


if __name__ == "__main__":
    main()
