"""Trainings of a study are compared by pairs, on the images that both were tested on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from brainssl_utils.errors import CourseError
from brainssl_utils.evaluation.reports import test_report as report
from brainssl_utils.studies.pairs import pairs, printed
from brainssl_utils.studies.plan import Study, read_study

TEXT = """
[[training]]
methods = ["supervised", "simclr", "nnclr"]
split = "grouped"

[[comparison]]
against = "Supervised, fair, grouped"
"""
TRUTH = np.arange(200) % 4


@pytest.fixture
def study(tmp_path: Path) -> Study:
    (tmp_path / "study.toml").write_text(TEXT, encoding="utf-8")
    return read_study(tmp_path / "study.toml")


def record(title: str, wrong: int, seed: int = 0) -> dict:
    answers = np.where(np.arange(200) < wrong, (TRUTH + 1) % 4, TRUTH)
    names = {"method": title.lower(), "title": title, "tag": "", "protocol": "fair", "split": "grouped", "seed": seed}
    test = report(TRUTH, answers, ("a", "b", "c", "d"))
    return {**names, "test": test, "test_rows": list(range(200)), "data": {"fingerprint": "f"}, "evaluations": {}}


def test_what_is_there_is_compared_seed_by_seed(study: Study) -> None:
    found = [
        [record("Supervised", 80, seed) for seed in (0, 1, 2)],
        [record("SimCLR", 40, seed) for seed in (0, 1)],
        [],
    ]
    table = pairs(study, found)
    (row,) = table.itertuples()
    assert (row.model, row.against) == ("SimCLR, fair, grouped", "Supervised, fair, grouped")
    assert row.difference == pytest.approx(20) and row.seeds == 2 and row.finding == "above"
    assert printed(table)["points"][0].startswith("+20.0 [")


def test_nothing_is_compared_before_both_are_there(study: Study) -> None:
    assert pairs(study, [[record("Supervised", 80)], [], []]).empty
    assert pairs(study, [[], [record("SimCLR", 40)], []]).empty
    old = record("SimCLR", 40)
    del old["test_rows"]
    assert pairs(study, [[record("Supervised", 80)], [old], []]).empty


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ('against = "Supervised, grouped"', "against"),
        ('against = "Supervised, fair, grouped"\nanswers = "guess"', "answers"),
        ('against = "Supervised, fair, grouped"\nsplits = ["patient"]', "splits"),
        ('against = "Supervised, fair, grouped"\nto = 3', "unknown key to"),
    ],
)
def test_a_comparison_that_cannot_be_made_is_refused(tmp_path: Path, change: str, said: str) -> None:
    path = tmp_path / "study.toml"
    path.write_text(TEXT.partition("[[comparison]]")[0] + "[[comparison]]\n" + change, encoding="utf-8")
    with pytest.raises(CourseError, match=rf"comparison 1: .*{said}"):
        read_study(path)
