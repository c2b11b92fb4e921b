"""Readings stand beside the study's figures, with the distance of each, test accuracy aside where they are ranked."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from brainssl_utils.methods import make_method
from brainssl_utils.methods.base import plain
from brainssl_utils.results.records import write_record
from brainssl_utils.studies.distances import COLUMNS, NOT_YET, OVERALL, columns, distances, printed
from brainssl_utils.studies.plan import read_study
from brainssl_utils.studies.show import shipped_distances

STUDIES = Path(__file__).parents[2] / "studies"


def history(val: float = 0.75, **last: Any) -> list[dict[str, Any]]:
    epoch = {"c_acc": 0.98, "r_acc": 0.9, "p_acc": 0.9, "p_loss": 0.1, "val_p_acc": val, "dead_features": 7.0}
    return [epoch | {"p_acc": 0.5}, epoch | {"r_acc_reference": 0.0156} | last]


def record(**changes: Any) -> dict[str, Any]:
    return {"history": history(**changes), "config": {"n_classes": 4}}


def test_p_acc_is_averaged_in_two_ways_and_r_acc_has_both_formulas() -> None:
    found = columns(history())
    assert list(found) == list(COLUMNS)
    assert (found["p_acc"], found["p_acc since the start"]) == (0.9, 0.7)
    assert (found["r_acc, reference's formula"], found["r_acc, ours"]) == (0.0156, 0.9)


def test_without_dead_features_the_formulas_are_one_and_else_nothing_is_made_up() -> None:
    assert columns(history(r_acc_reference=None, dead_features=0.0))["r_acc, reference's formula"] == 0.9
    assert math.isnan(columns(history(r_acc_reference=None))["r_acc, reference's formula"])


def test_distances_are_points_from_the_published_figures_and_test_accuracy_ranks_nothing() -> None:
    study = read_study(STUDIES / "readings.toml")
    found: list[list[dict[str, Any]]] = [[] for _ in study.recipes]
    found[0], found[1] = [record(), record(c_acc=0.97)], [record(val=0.2)]
    table = distances(study, found)
    assert len(table) == len(study.recipes) and list(table["seeds"][:3]) == [2, 1, 0]
    first = table.iloc[0]
    assert first["c_acc"] == pytest.approx(0.975) and first["c_acc distance"] == pytest.approx(97.5 - 99.35)
    assert first["r_acc, reference's formula distance"] == pytest.approx(1.56 - 57.76)
    assert first[OVERALL] == pytest.approx((1.85 + 6.31 + 56.2) / 3) and first["fitted"] == "yes"
    assert table.iloc[1][OVERALL] == pytest.approx((1.35 + 6.31 + 56.2) / 3)
    shown = printed(table)
    assert list(shown.iloc[0][["c_acc", "p_acc", "r_acc, ours", "val_p_acc"]]) == ["99.35", "96.31", "57.76", "72.40"]
    assert shown.iloc[1]["c_acc"] == "97.5 (-1.8)" and shown.iloc[1]["reading"] == "our choice"
    assert (shown["c_acc"] == NOT_YET).sum() == len(study.recipes) - 2


def test_only_rows_of_the_published_table_on_its_own_split_are_compared() -> None:
    study = read_study(STUDIES / "table2.toml")
    table = distances(study, [[] for _ in study.recipes])
    assert list(table["method"]) == ["Barlow Twins", "NNCLR", "SimCLR", "Proposed model"]
    fair = replace(study, recipes=tuple(replace(recipe, protocol="fair") for recipe in study.recipes))
    assert distances(fair, [[] for _ in fair.recipes]).empty


def test_the_readings_are_of_what_the_study_leaves_open() -> None:
    recipes = read_study(STUDIES / "readings.toml").recipes
    changed = {name for recipe in recipes for name in recipe.changes}
    assert changed == {"encoder", "classifier_reads", "metrics_on", "joint"}
    assert len({recipe.profile.batch_size for recipe in recipes}) == 3
    assert {(recipe.method, recipe.protocol, recipe.split) for recipe in recipes} == {
        ("proposed_model", "published", "as published")
    }


def test_what_travels_with_the_course_is_shown_and_what_does_not_is_not_trained_yet(tmp_path: Path) -> None:
    recipe = read_study(STUDIES / "readings.toml").recipes[4]
    assert set(shipped_distances("readings", tmp_path)["c_acc"]) == {"99.35", NOT_YET}
    model = make_method(recipe.method, recipe.protocol, recipe.profile.image_size, **recipe.changes)
    made = {
        "method": recipe.method, "protocol": recipe.protocol, "split": recipe.split, "tag": recipe.tag, "seed": 0,
        "profile": recipe.profile.name, "history": history(), "test": {},
        "config": plain(model.config), "data": {"fingerprint": "a", "name": "archives"},
    }  # fmt: skip
    write_record(made, tmp_path / "records" / "one.json")
    shown = shipped_distances("readings", tmp_path).set_index("reading")
    assert shown.loc["reads_projections", "c_acc"] == "98.0 (-1.3)" and (shown["c_acc"] == NOT_YET).sum() == 10
    write_record(made | {"data": {**made["data"], "synthetic": True}}, tmp_path / "records" / "one.json")
    assert (shipped_distances("readings", tmp_path)["c_acc"] == NOT_YET).sum() == 11
