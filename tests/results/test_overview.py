"""What `brainssl report` shows: means over seeds where there are several, and no word against files that are not ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from test_cli import run
from test_records import make_record

from brainssl_utils.intervals import t_interval
from brainssl_utils.results import records
from brainssl_utils.results.overview import overview, with_intervals


def trained(seed: int, accuracy: float, **changes: Any) -> dict[str, Any]:
    test = {"n": 100, "accuracy": accuracy, "ci95": [accuracy - 0.1, accuracy + 0.1], "balanced_accuracy": accuracy}
    probes = {"linear": {"accuracy": accuracy + 0.1}, "knn": {"accuracy": accuracy - 0.1}}
    about = {"key": f"{seed}{accuracy}{changes}", "test": test, "evaluations": probes}
    return make_record(seed=seed, **{**about, **changes})


def test_seeds_are_averaged_by_tag_with_probes_and_intervals() -> None:
    runs = [trained(seed, value) for seed, value in enumerate([0.5, 0.6, 0.55])]
    runs += [trained(seed, value, tag="temperature_0.5") for seed, value in enumerate([0.4, 0.5])]
    table = overview(runs).set_index("tag")
    assert list(table["seeds"]) == [3, 2]
    mean, low, high = t_interval([0.5, 0.6, 0.55])
    row = table.loc[""]
    assert (row["accuracy"], row["accuracy_lo"], row["accuracy_hi"]) == pytest.approx((mean, low, high))
    assert (row["linear"], row["knn"]) == pytest.approx((0.65, 0.45))
    shown = with_intervals(table.reset_index())
    assert shown.loc[0, "linear"] == f"0.650 [{low + 0.1:.3f}, {high + 0.1:.3f}]" and "linear_lo" not in shown


def test_single_seeds_are_one_row_each_and_so_are_all_on_request() -> None:
    single = [trained(0, 0.5), trained(0, 0.4, tag="hot")]
    table = overview(single)
    assert list(table["tag"]) == ["", "hot"] and list(table["linear"]) == pytest.approx([0.6, 0.5])
    assert list(table.columns) == list(records.COLUMNS)
    several = [trained(0, 0.5), trained(1, 0.6)]
    assert len(overview(several)) == 1 and list(overview(several, each=True)["seed"]) == [0, 1]


def test_corpora_of_one_name_are_not_averaged() -> None:
    other = {**make_record()["data"], "fingerprint": "def"}
    assert list(overview([trained(0, 0.5), trained(1, 0.6), trained(2, 0.9, data=other)])["seeds"]) == [2, 1]


def test_a_copied_training_counts_once_and_a_repeated_seed_makes_no_mean() -> None:
    said: list[str] = []
    table = overview([trained(0, 0.5), trained(0, 0.5), trained(1, 0.6)], say=said.append)
    assert list(table["seeds"]) == [2] and "1 of 3 records" in said.pop()
    table = overview([trained(0, 0.5), trained(0, 0.7), trained(1, 0.6)], say=said.append)
    assert len(table) == 3 and "SimCLR was trained with seed 0 more than once" in said.pop()


def test_report_over_folders_passes_over_what_is_no_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, value in enumerate([0.5, 0.6, 0.55]):
        records.write_record(trained(seed, value), tmp_path / f"run{seed}" / "records" / "simclr.json")
    (tmp_path / "README.md").write_text("# Notes")
    (tmp_path / "run1" / "records" / "settings.json").write_text('{"a": 1}')
    (tmp_path / "empty").mkdir()
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff")
    before = sorted(tmp_path.rglob("*"))
    assert run("report", *sorted(tmp_path.iterdir()), "--csv", tmp_path / "table.csv") == 0
    said = capsys.readouterr()
    assert "0.550 [" in said.out and "SimCLR" in said.out
    for name in ("README.md", "settings.json", "empty", "picture.png"):
        assert sum(name in line for line in said.err.splitlines()) == 1, name
    assert "delete" not in said.err.lower()
    assert pd.read_csv(tmp_path / "table.csv")["seeds"].tolist() == [3]
    assert run("report", tmp_path / "README.md") == 2
    assert "no record in" in capsys.readouterr().err
    (tmp_path / "table.csv").unlink()
    assert sorted(tmp_path.rglob("*")) == before
