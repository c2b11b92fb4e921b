"""The README's figures are those of the records."""

from __future__ import annotations

import re
from pathlib import Path

import make_readme_tables as readme
import nbformat
import pytest

from brainssl_utils.errors import CourseError
from brainssl_utils.results import records

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results" / "reference"
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_shows_the_records_figures() -> None:
    assert readme.with_results(TEXT, readme.tables(RESULTS)) == TEXT, "run: python docs/make_readme_tables.py"


def test_readme_shows_a_changed_figure_as_a_difference() -> None:
    made = records.read_records(RESULTS / "quick")
    record = records.select(made, "simclr", "published", "grouped")[0]
    record["test"]["accuracy"] += 0.01
    assert readme.with_results(TEXT, {"results": readme.results_table(made)}) != TEXT
    made = records.read_records(RESULTS / "paper")
    record = records.select(made, "proposed_model", "published", "grouped")[0]
    record["history"][-1]["p_acc"] -= 0.01
    assert (
        readme.with_results(
            TEXT, {"full length": readme.full_length_table(made, records.read_records(RESULTS / "quick"))}
        )
        != TEXT
    )


def test_the_full_length_records_are_of_the_whole_study_and_were_interrupted() -> None:
    for record in records.read_records(RESULTS / "paper"):
        counts = record["data"]["counts"]
        assert (counts["labelled"], counts["test"]) == (1235, 308)
        assert len(record["history"]) == 100 and record["sizes"]["image_size"] == 96
        assert len(record["taken_up_at_epochs"]) == 1
        assert [row["epoch"] for row in record["history"]] == list(range(100))
        leak = {(row["threshold"], row["part"]): row["share"] for row in record["leakage"]}
        assert (leak[0.98, "either"] == 0) == (record["split"] == "grouped")


def test_figures_with_few_labels_are_those_of_the_benchmark() -> None:
    table = (ROOT / "benchmarks" / "results" / "few_labels.txt").read_text(encoding="utf-8")
    cells = nbformat.read(ROOT / "notebooks" / "03_masked_encoder.ipynb", 4).cells
    lesson = "\n".join(cell.source for cell in cells if "benchmarks/few_labels.py" in cell.source)
    section = TEXT.split("### With few labels")[1].split("\n#")[0]
    for text, least in ((section, 28), (lesson, 35)):
        figures = re.findall(r"-?\d+\.\d \[-?\d+\.\d, -?\d+\.\d\]", text)
        assert len(figures) >= least and not [figure for figure in figures if figure not in table]


def test_readme_without_marks_is_refused() -> None:
    with pytest.raises(CourseError, match="marks"):
        readme.with_results("# title", {"results": "table"})


def test_every_file_the_readme_names_exists() -> None:
    for name in re.findall(r"\]\((?!https?:|#)([^)]+)\)", TEXT):
        assert (ROOT / name).exists(), name
