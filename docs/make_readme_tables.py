"""The README's tables of results, made from records: `python docs/make_readme_tables.py` rewrites them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from brainssl_utils.errors import CourseError
from brainssl_utils.files import atomic_path
from brainssl_utils.studies.plan import read_study
from brainssl_utils.studies.show import as_markdown, printed_trainings, study_tables

STUDY = Path(__file__).parents[1] / "studies" / "table2.toml"
COLUMNS = ("c_acc", "p_acc", "r_acc", "val_p_acc")
START, END = "<!-- {name}: made by `python docs/make_readme_tables.py` -->", "<!-- end of {name} -->"


def study_table(results: Path, study: str | Path = STUDY) -> str:
    """Return the study at full length as a Markdown table in %, from the records that travel with the course.

    Each method's published figures stand before ours on both splits: means over the seeds that are in, with 95 % t
    intervals where these are three. Rows of which no training is recorded are counted below it.

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
    """Return the README's tables by name, from the folder that holds the records of `archives`."""
    return {"study": study_table(Path(results))}


def main() -> None:
    """Rewrite README.md in the current folder from results/reference."""
    readme = Path("README.md")
    made = tables("results/reference")
    with atomic_path(readme) as temporary:
        temporary.write_text(with_results(readme.read_text(encoding="utf-8"), made), encoding="utf-8")
    print(*made.values(), sep="\n\n", file=sys.stdout)


if __name__ == "__main__":
    main()
