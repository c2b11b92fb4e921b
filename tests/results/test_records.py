"""Records: written whole or not at all, read with a reason for each refusal, and the tables made from them."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from brainssl_utils.errors import CourseError
from brainssl_utils.results import provenance, records
from brainssl_utils.results.provenance import environment, git_commit, host
from brainssl_utils.results.published import PUBLISHED, PUBLISHED_SECOND, published_intervals


def make_record(method: str = "simclr", seed: int = 0, val: float = 0.5, **changes: Any) -> dict[str, Any]:
    epochs = [{"epoch": e, "c_acc": 0.8 + e / 100, "r_acc": 0.3, "p_acc": 0.6, "val_p_acc": val} for e in range(3)]
    test = {
        "n": 308,
        "correct": 154,
        "accuracy": 0.5,
        "ci95": [0.44, 0.56],
        "balanced_accuracy": 0.48,
        "macro_f1": 0.45,
    }
    data = {
        "name": "archives",
        "fingerprint": "abc",
        "synthetic": False,
        "counts": {"labelled": {"glioma": 7, "pituitary": 5}},
    }
    record = {
        "method": method, "protocol": "published", "split": "as published", "profile": "quick", "seed": seed,
        "data": data, "config": {"temperature": 0.1, "head": {"widths": [256, 128]}}, "history": epochs, "test": test,
        "throughput": {"views_per_second": 400.0}, "seconds": 12.5,
    }  # fmt: skip
    return record | changes


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    record = make_record()
    path = records.write_record(record, tmp_path / "records" / "one.json")
    assert records.read_records(path) == [record | {"schema": records.SCHEMA_VERSION}]
    assert records.read_records(tmp_path) == records.read_records([path, tmp_path, tmp_path / "records"])
    assert [p.name for p in path.parent.iterdir()] == ["one.json"]


def test_arrays_become_numbers_and_nan_becomes_null(tmp_path: Path) -> None:
    config = {
        "array": np.arange(3),
        "tensor": torch.tensor([0.5, float("inf")]),
        "scalar": np.float32(2),
        "nan": math.nan,
    }
    path = records.write_record(make_record(seed=np.int64(4), config=config), tmp_path / "r.json")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    written = json.loads(path.read_text(), parse_constant=refuse)
    assert written["config"] == {"array": [0, 1, 2], "tensor": [0.5, None], "scalar": 2.0, "nan": None}
    assert written["seed"] == 4


@pytest.mark.parametrize(
    "changes", [{"history": None}, {"seed": "0"}, {"config": {"path": Path("x")}}, {"config": {1: {1j}}}]
)
def test_what_is_no_record_is_not_written(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(CourseError, match=r"history|seed|record\.config\.path|record\.config\.1"):
        records.write_record(make_record() | changes, tmp_path / "r.json")
    assert not list(tmp_path.iterdir())


def test_a_failed_write_keeps_the_older_record(tmp_path: Path) -> None:
    path = records.write_record(make_record(), tmp_path / "r.json")
    before = path.read_bytes()
    with pytest.raises(CourseError):
        records.write_record(make_record(config={"bad": object()}), path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"schema": 1, "method"', "damaged"),
        ("\x00\x01", "damaged"),
        ("[1, 2]", "not a record"),
        ('{"name": "run"}', "not a record"),
        ('{"schema": 99}', "schema 99"),
        ('{"schema": 2, "method": "simclr"}', "missing or unreadable: protocol"),
    ],
)
def test_a_damaged_or_foreign_file_is_named(tmp_path: Path, text: str, reason: str) -> None:
    records.write_record(make_record(), tmp_path / "good.json")
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(CourseError, match=reason) as error:
        records.read_records(tmp_path)
    assert "other.json" in str(error.value)


def test_a_missing_or_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match="no records in"):
        records.read_records(tmp_path)
    with pytest.raises(CourseError, match="nowhere"):
        records.read_records(tmp_path / "nowhere")
    with pytest.raises(CourseError, match="no file or folder"):
        records.read_records([])


def test_the_table_has_one_row_a_record_and_the_last_epoch() -> None:
    table = records.records_table([make_record(), make_record("BarlowTwins", history=[], test={})])
    own = records.records_table([make_record("mine", title="My own"), make_record("mine")])
    assert list(own["method"]) == ["My own", "mine"]
    assert list(table.columns) == list(records.COLUMNS)
    first = table.iloc[0]
    assert first["method"] == "SimCLR" and first["c_acc"] == pytest.approx(0.82) and first["labels"] == 12
    assert (first["accuracy"], first["lo"], first["hi"], first["views_per_second"]) == (0.5, 0.44, 0.56, 400.0)
    assert table.iloc[1]["method"] == "Barlow Twins" and pd.isna(table.iloc[1]["accuracy"])
    chosen = records.records_table([make_record()], ["seed", "config.temperature"])
    assert chosen.to_dict("records") == [{"seed": 0, "config.temperature": 0.1}]
    with pytest.raises(CourseError, match=r"config\.tau"):
        records.records_table([make_record()], ["config.tau"])


def test_seeds_are_averaged_with_an_interval_and_never_twice() -> None:
    runs = [make_record(seed=s, val=v) for s, v in enumerate([0.50, 0.54, 0.58])] + [make_record("nnclr")]
    summary = records.summarise(runs).set_index("method")
    assert summary.loc["SimCLR", "seeds"] == 3
    assert summary.loc["SimCLR", "val_p_acc"] == pytest.approx(0.54)
    half = 4.302653 * 0.04 / math.sqrt(3)
    assert summary.loc["SimCLR", "val_p_acc_hi"] == pytest.approx(0.54 + half, rel=1e-5)
    assert summary.loc["NNCLR", "seeds"] == 1 and math.isnan(summary.loc["NNCLR", "val_p_acc_lo"])
    with pytest.raises(CourseError, match="seed 0 occurs more than once"):
        records.summarise([make_record(), make_record()])
    warm = make_record(config={"temperature": 0.5})
    assert len(records.summarise([make_record(), warm], by=["method", "config.temperature"])) == 2


def test_a_training_is_found_by_its_seed_or_missing_without_an_error() -> None:
    runs = [
        make_record(seed=1),
        make_record(seed=2, tag="views"),
        make_record("nnclr", protocol="fair", split="patient"),
    ]
    assert records.find(runs, "simclr", "published", "as published", seed=1) is runs[0]
    assert records.find(runs, "simclr", "published", "as published", "views", seed=2) is runs[1]
    assert records.find(runs, "nnclr", "fair", "patient") is runs[2]
    assert records.find(runs, "simclr", "published", "as published") is None, "another seed"
    assert records.find(runs, "nnclr", "published", "patient") is None, "another protocol"


def test_table2_says_how_long_each_training_was() -> None:
    short, long = ({"sizes": {"epochs": epochs}} for epochs in (3, 10))
    runs = [
        make_record(**short),
        make_record(seed=1, **long),
        make_record("nnclr", **long),
        make_record("barlow_twins"),
    ]
    told = records.table2(runs)["ours", "epochs"]
    assert told.to_dict() == {"Barlow Twins": "-", "NNCLR": "10", "SimCLR": "3 to 10", "Proposed model": "-"}


def test_table2_sets_ours_beside_the_published_figures() -> None:
    runs = [
        make_record(val=0.55),
        make_record(seed=1, val=0.57),
        make_record("proposed_model", val=0.7),
        make_record("supervised"),
    ]
    runs.append(make_record("nnclr", protocol="fair"))
    table = records.table2(runs)
    assert list(table.index) == ["Barlow Twins", "NNCLR", "SimCLR", "Proposed model", "Supervised"]
    assert table.loc["SimCLR", ("val_p_acc", "published")] == 54.87
    assert table.loc["SimCLR", ("val_p_acc", "ours")] == pytest.approx(56)
    assert list(table["ours", "seeds"]) == [0, 0, 2, 1, 1] and set(table["ours", "fitted"]) == {"-"}  # they do not tell
    assert table.loc["NNCLR"].drop(("ours", "seeds")).isna().sum() == 4  # no published-protocol record of it
    assert pd.isna(table.loc["Supervised", ("c_acc", "published")])
    assert list(records.table2(runs, protocol="fair")["ours", "seeds"]) == [0, 1, 0, 0]
    with pytest.raises(CourseError, match=r"split 'grouped'.*'as published' with 'fair'"):
        records.table2(runs, split="grouped")
    with pytest.raises(CourseError, match="differ in profile"):
        records.table2([*runs, make_record("nnclr", profile="paper")])


def test_synthetic_results_never_stand_beside_the_published() -> None:
    data = {"name": "phantoms", "fingerprint": "p", "synthetic": True, "counts": {"labelled": 12}}
    table = records.table2([make_record(data=data)])
    assert table.attrs["synthetic"] and list(table.index) == ["SimCLR"]
    assert {who for _, who in table.columns} == {"ours (synthetic)", "seeds", "epochs", "fitted"}
    with pytest.raises(CourseError, match="differ in data"):
        records.table2([make_record(), make_record("nnclr", data=data)])


def test_published_figures_are_whole_numbers_of_308() -> None:
    table = published_intervals()
    assert list(table["correct"]) == [164, 179, 169, 223]
    # Printed with two digits, each published percentage is the nearest to a whole count.
    assert (table["accuracy"] - PUBLISHED["val_p_acc"]).abs().max() < 0.005
    assert list(table["lo"].round(1)) == [47.7, 52.5, 49.3, 67.2]
    assert list(table["hi"].round(1)) == [58.7, 63.5, 60.3, 77.1]
    assert PUBLISHED.loc["SimCLR", "r_acc"] == round(100 / 128, 2)
    assert PUBLISHED_SECOND["accuracy"].to_dict() == {"Masked encoder": 74.08, "Twin network": 46.53}


def test_provenance_names_versions_and_no_machine(tmp_path: Path) -> None:
    versions = environment()
    assert versions["torch"] == torch.__version__.split("+")[0] or versions["torch"] == torch.__version__
    assert {"python", "brainssl_utils", "lightly"} <= set(versions)
    text = json.dumps([versions, host()])
    assert str(Path.home()) not in text and host()["cpus"] >= 1
    commit = git_commit()
    assert commit is None or len(commit.removesuffix("+changes")) == 40


def test_outside_its_own_repository_there_is_no_commit(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    package = tmp_path / "env" / "brainssl_utils"
    package.mkdir(parents=True)
    source = Path(provenance.__file__)
    (package / "provenance.py").write_text(source.read_text())
    command = [sys.executable, "-c", "import provenance; print(provenance.git_commit())"]
    for repository in (False, True):  # in no repository, then in somebody else's
        if repository:
            subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
        done = subprocess.run(command, cwd=package, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "None" and done.stderr == ""


def test_select_finds_one_training_or_names_the_notebook_that_makes_it() -> None:
    fields = {"method": "simclr", "protocol": "fair", "split": "grouped"}
    made = [{**fields, "seed": 1}, {**fields, "seed": 0, "tag": ""}, {**fields, "seed": 0, "tag": "hot"}]
    assert [record["seed"] for record in records.select(made, **fields)] == [0, 1]
    assert records.select(made, **fields, tag="hot") == [made[2]]
    with pytest.raises(CourseError, match="06_nnclr"):
        records.select(made, "nnclr", "fair", "grouped")
    with pytest.raises(CourseError, match="01_data_merging"):
        records.select(made, "supervised", "fair", "as published")
