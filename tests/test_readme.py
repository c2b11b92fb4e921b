"""The README's figures are those of the records."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainssl_utils import readme, records
from brainssl_utils.errors import CourseError

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_shows_the_records_figures() -> None:
    table = readme.results_table(records.read_records(ROOT / "results" / "reference" / "quick"))
    assert readme.with_results(TEXT, table) == TEXT, "run: python -m brainssl_utils.readme"


def test_readme_shows_a_changed_figure_as_a_difference() -> None:
    made = records.read_records(ROOT / "results" / "reference" / "quick")
    record = records.select(made, "simclr", "published", "grouped")[0]
    record["test"]["accuracy"] += 0.01
    assert readme.with_results(TEXT, readme.results_table(made)) != TEXT


def test_readme_without_marks_is_refused() -> None:
    with pytest.raises(CourseError, match="marks"):
        readme.with_results("# title", "table")


def test_every_file_the_readme_names_exists() -> None:
    import re

    for name in re.findall(r"\]\((?!https?:|#)([^)]+)\)", TEXT):
        assert (ROOT / name).exists(), name
