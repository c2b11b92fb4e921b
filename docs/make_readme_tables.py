"""The README's tables of results, made from records: `python docs/make_readme_tables.py` rewrites them."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from brainssl_utils.errors import CourseError
from brainssl_utils.files import atomic_path
from brainssl_utils.methods import METHODS, method_title
from brainssl_utils.results import records
from brainssl_utils.results.published import PUBLISHED
from brainssl_utils.studies.plan import read_study
from brainssl_utils.studies.show import as_markdown, printed_trainings, study_tables

STUDY = Path(__file__).parents[1] / "studies" / "table2.toml"
COLUMNS = ("c_acc", "p_acc", "r_acc", "val_p_acc")
START, END = "<!-- {name}: made by `python docs/make_readme_tables.py` -->", "<!-- end of {name} -->"


def rows() -> list[str]:
    """Return the names of the methods in the tables: those of the published table in its order, then the supervised ones."""
    names = {method_title(name): name for name in METHODS}
    baselines = [name for name, method in METHODS.items() if not method.uses_unlabeled]
    return [*(names[title] for title in PUBLISHED.index), *baselines]


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
    for name in rows():
        title = method_title(name)
        published = f"{PUBLISHED['val_p_acc'][title]:.1f}" if title in PUBLISHED.index else "-"
        cells = [records.select(made, name, "published", part)[0]["test"] for part in ("as published", "grouped")]
        cells.append(records.select(made, name, "fair", "grouped")[0]["evaluations"]["linear"])
        lines.append(f"| {title} | {published} | {' | '.join(map(_share, cells))} |")
    return "\n".join(lines)


def study_table(results: Path, study: str | Path = STUDY) -> str:
    """Return the study at full length as a Markdown table in %, from the records that travel with the course.

    Each method's published figures stand before ours on both splits: means over the seeds that are in, with 95 % t
    intervals where these are two or more. Rows of which no training is recorded are counted below it.

    Args:
        results: the folder that holds `archives`.
        study: the study's file.
    """
    read = read_study(study)
    place = results / read.data
    if not (place / "records").is_dir():
        return f"None of its {len(read.recipes) * len(read.seeds)} trainings is recorded here so far."
    made = study_tables(read, place).trainings
    known = made[made["seeds"] != 0]  # NaN in the published rows
    shown = printed_trainings(known)
    shown["split"] = [split or "published" for split in shown["split"]]
    table = as_markdown(shown[["method", "split", "seeds", *COLUMNS, "linear probe", "fitted"]])
    done, planned = int(made["seeds"].sum()), int(made["planned"].sum())
    return f"{table}\n\nTrainings recorded: {done} of {planned}."


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
    epoch = {name: _epoch(records.select(short, name, "published", "grouped")[0]) for name in rows()}
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
    """Return the README's tables by name, from the folder that holds the records of `quick`, `paper` and `archives`."""
    read = {profile: records.read_records(Path(results) / profile) for profile in ("quick", "paper")}
    return {
        "study": study_table(Path(results)),
        "results": results_table(read["quick"]),
        "full length": full_length_table(read["paper"], read["quick"]),
    }


def main() -> None:
    """Rewrite README.md in the current folder from results/reference."""
    readme = Path("README.md")
    made = tables("results/reference")
    with atomic_path(readme) as temporary:
        temporary.write_text(with_results(readme.read_text(encoding="utf-8"), made), encoding="utf-8")
    print(*made.values(), sep="\n\n", file=sys.stdout)


if __name__ == "__main__":
    main()
