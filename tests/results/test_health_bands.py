"""Bands are prediction intervals of records, and notes say what leaves them; bad signs need no band."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from brainssl_utils.errors import CourseError
from brainssl_utils.results.health import (
    COLUMNS,
    MEASURES,
    add_bands,
    curves,
    find_band,
    health_notes,
    make_bands,
    read_bands,
)

GOOD = {
    "c_loss": 3.0, "chance_loss": 5.0, "knn_acc": 0.6, "feature_rank": 30.0, "feature_deviation": 0.4, "alignment": 0.2,
    "uniformity": -0.8, "dead_share": 0.1,
}  # fmt: skip


def record(seed: int = 0, method: str = "simclr", shift: float = 0.0, **last: float | None) -> dict[str, Any]:
    rows = [{"epoch": epoch, **GOOD} for epoch in range(2)]
    for row in rows:
        row |= {name: value * (1 + shift) for name, value in GOOD.items() if name != "chance_loss"}
    rows[-1] |= last  # type: ignore[arg-type]
    sizes = {"image_size": 32, "epochs": 2, "steps_per_epoch": 2, "batch_size": 30}
    return {
        "method": method, "protocol": "fair", "tag": "", "split": "patient", "profile": "smoke", "seed": seed,
        "data": {"name": "phantoms"}, "config": {"n_classes": 4}, "sizes": sizes, "history": rows,
        "device": {"accelerator": "cpu", "precision": "32-true"},
    }  # fmt: skip


@pytest.fixture
def bands(tmp_path: Path) -> Path:
    path = tmp_path / "health.csv"
    make_bands([record(seed, shift=0.01 * seed) for seed in range(3)]).to_csv(path, index=False)
    return path


def test_a_band_is_the_prediction_interval_of_a_further_run(bands: Path) -> None:
    band = find_band(record(7), bands)
    assert band is not None and set(band.limits) == set(MEASURES)
    ranks = 30 * (1 + 0.01 * np.arange(3))
    half = t.ppf(0.975, 2) * ranks.std(ddof=1) * np.sqrt(1 + 1 / 3)
    assert band.limits["feature_rank"].loc[1].tolist() == pytest.approx(
        [ranks.mean() - half, ranks.mean() + half], rel=1e-4
    )
    assert str(band) == (
        "band: where 19 of 20 further runs are expected, by seeds 0, 1, 2 (profile smoke, split patient, cpu, 32-true)"
    )
    wide = make_bands([record(seed, dead_share=0.5 * seed) for seed in range(3)])
    shares = wide[(wide["measure"] == "dead_share") & (wide["epoch"] == 1)]
    assert shares[["low", "high"]].to_numpy().tolist() == [[0, 1]], "no share beyond what there is"


@pytest.mark.parametrize(
    "change",
    [{"method": "nnclr"}, {"protocol": "published"}, {"tag": "contrast"}, {"data": {"name": "archives"}},
     {"sizes": {"image_size": 32, "epochs": 3, "steps_per_epoch": 2, "batch_size": 30}}],
)  # fmt: skip
def test_runs_of_another_kind_have_no_band_and_are_told(bands: Path, change: dict[str, Any]) -> None:
    other = record() | change
    assert find_band(other, bands) is None
    notes = health_notes(other, bands)
    assert "Nothing unusual by the signs that need no reference." in notes and "No band is kept for" in notes


def test_a_run_like_the_others_is_nothing_unusual(bands: Path) -> None:
    assert health_notes(record(9, shift=0.005), bands) == "Nothing unusual at the end."


@pytest.mark.parametrize("name", [name for name in MEASURES if name != "loss"])
def test_a_measure_that_leaves_its_band_has_one_sentence_with_advice(bands: Path, name: str) -> None:
    note, luck = health_notes(record(9, **{name: GOOD[name] * (2 if GOOD[name] > 0 else 0.5)}), bands).splitlines()
    assert "above its band" in note and MEASURES[name].what.lower() in note.lower() and MEASURES[name].above in note
    assert luck == "One measure alone: up to 3 healthy runs of ten leave one of 7 bands by luck."


def test_two_measures_out_of_their_bands_are_not_put_down_to_luck(bands: Path) -> None:
    notes = health_notes(record(9, feature_rank=2 * GOOD["feature_rank"], alignment=2 * GOOD["alignment"]), bands)
    assert notes.count("above its band") == 2 and "luck" not in notes


@pytest.mark.parametrize(
    ("last", "sentence"),
    [
        ({"feature_rank": 1.2, "feature_deviation": 0.001}, "Collapse: the features use 1.2 directions"),
        ({"feature_deviation": 0.001}, "Collapse: the features lie at one point"),
        ({"rank": 1.4}, "Collapse where the loss looks"),
        ({"c_loss": 4.99}, "The loss ends hardly better than chance"),
        ({"c_loss": None}, "diverged"),
        ({"dead_share": 0.75}, "75% of the features are dead"),
        ({"knn_acc": 0.25}, "no better than guessing"),
    ],
)
def test_known_bad_signs_need_no_band(tmp_path: Path, last: dict[str, Any], sentence: str) -> None:
    notes = health_notes(record(**last), tmp_path / "none.csv")
    assert sentence in notes and "Nothing unusual" not in notes and "No band is kept" in notes


def test_older_records_are_read_and_what_they_lack_is_named(bands: Path) -> None:
    old = record()
    old["history"] = [{"epoch": 0, "c_loss": 5.0, "p_loss": 1.0}, {"epoch": 1, "c_loss": 4.0, "p_loss": 0.9}]
    assert list(curves(old)) == ["loss"] and curves(old)["loss"].tolist() == [5, 4]
    assert "Not in this record" in health_notes(old, bands) and "effective rank" in health_notes(old, bands)
    supervised = record(method="supervised")
    supervised["history"] = [{"epoch": 0, "c_loss": None, "p_loss": 1.2}]
    assert curves(supervised)["loss"].tolist() == [1.2]


def test_bands_are_made_of_three_seeds_or_more_and_of_no_seed_twice() -> None:
    with pytest.raises(CourseError, match="3 seeds or more"):
        make_bands([record(0), record(1)])
    with pytest.raises(CourseError, match="more than once"):
        make_bands([record(0), record(1), record(1)])
    made = make_bands([*(record(seed) for seed in range(3)), record(0, "nnclr")])
    assert list(made) == list(COLUMNS) and set(made["method"]) == {"simclr"}


def test_a_damaged_file_of_bands_is_named(tmp_path: Path) -> None:
    path = tmp_path / "health.csv"
    path.write_text("method,low\nsimclr,1\n")
    with pytest.raises(CourseError, match=r"health\.csv is damaged"):
        health_notes(record(), path)


def test_bands_of_the_same_trainings_are_replaced_and_others_stay(bands: Path) -> None:
    table = add_bands([record(seed, "nnclr") for seed in range(3)], bands)
    assert set(table["method"]) == {"simclr", "nnclr"} and len(table) == 4 * len(MEASURES)
    again = add_bands([record(seed, feature_rank=50.0 + seed) for seed in range(4)], bands)
    assert len(again) == len(table) and set(again["seeds"]) == {"0 1 2", "0 1 2 3"}
    pd.testing.assert_frame_equal(read_bands(bands), again.reset_index(drop=True), check_dtype=False)
    band = find_band(record(9), bands)
    assert band is not None and band.limits["feature_rank"].loc[1, "low"] > 40


def test_the_shipped_bands_say_what_they_come_from() -> None:
    table = read_bands()
    assert (table["low"] <= table["high"]).all() and set(table["measure"]) <= set(MEASURES)
    assert all(len(seeds.split()) >= 3 for seeds in table["seeds"]) and (table["device"] != "").all()


def test_dead_features_are_no_news_where_the_reference_runs_have_as_many(tmp_path: Path) -> None:
    dying = [record(seed, dead_share=0.55 + 0.02 * seed) for seed in range(3)]
    make_bands(dying).to_csv(tmp_path / "bands.csv", index=False)
    assert health_notes(record(9, dead_share=0.56), tmp_path / "bands.csv") == "Nothing unusual at the end."
    assert "95% of the features are dead" in health_notes(record(9, dead_share=0.95), tmp_path / "bands.csv")
