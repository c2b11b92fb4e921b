"""A study's tables say what its records and readings say, and never set synthetic results beside published ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from tiny import full_length_records

from brainssl_utils.errors import CourseError
from brainssl_utils.intervals import t_interval
from brainssl_utils.studies import show
from brainssl_utils.studies.plan import Reading, Study, read_study
from brainssl_utils.studies.show import few_labels, gained, study_tables, write_tables
from brainssl_utils.studies.tasks import settings_digest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def study() -> Study:
    """The proposed model's rows of the study's Table 2."""
    study = read_study(ROOT / "studies" / "table2.toml")
    return replace(study, recipes=tuple(recipe for recipe in study.recipes if recipe.method == "proposed_model"))


@pytest.fixture
def records(tmp_path: Path) -> Path:
    folder = tmp_path / "records"
    folder.mkdir()
    full_length_records(folder)
    return folder


def changed(path: Path, **changes: object) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    for place, value in changes.items():
        if place in content["data"]:
            content["data"][place] = value
        else:
            content[place] = value
    path.write_text(json.dumps(content), encoding="utf-8")


def test_published_figures_stand_before_the_rows_they_belong_to(study: Study, records: Path) -> None:
    tables = study_tables(study, records.parent)
    assert list(tables.trainings["tag"]) == ["the study's figures", "", ""]
    assert tables.trainings["c_acc"].round(4).tolist() == [0.9935, 0.9867, 0.9848]
    text = tables.text()
    assert "99.35" in text and "72.40" in text and "1 of 3" in text and "fitted" in text
    assert text.splitlines()[0].startswith("The study's Table 2: in %")
    assert "| Proposed model | the study's figures |" in tables.text(markdown=True)


def test_a_record_of_another_model_under_the_same_name_is_not_taken(study: Study, records: Path) -> None:
    changed(min(records.glob("*.json")), config={"encoder": "paper"})  # without its dense layers
    assert study_tables(study, records.parent).trainings["seeds"].sum() == 1


def test_synthetic_results_never_stand_beside_published_ones(study: Study, records: Path) -> None:
    for path in records.glob("*.json"):
        changed(path, synthetic=True)
    tables = study_tables(study, records.parent)
    assert "the study's figures" not in list(tables.trainings["tag"])
    assert "(synthetic images)" in tables.text() and "57.76" not in tables.text()


def test_rows_that_are_not_done_are_shown_as_such(records: Path) -> None:
    tables = study_tables(read_study(ROOT / "studies" / "table2.toml"), records.parent)
    assert tables.trainings["seeds"].sum() == 2 and len(tables.trainings) == 10 + 4
    assert tables.text().count("0 of 3") == 8


def test_intervals_are_of_three_seeds_and_stay_shares(study: Study, records: Path) -> None:
    one = min(records.glob("*.json"))
    content = json.loads(one.read_text(encoding="utf-8"))
    for seed in (1, 2):
        assert study_tables(study, records.parent).trainings["c_acc_lo"].isna().all(), "two seeds have no interval"
        last = content["history"][-1] | {"c_acc": 1.0 - 0.02 * seed, "p_acc": 0.6 * seed - 0.5}
        again = content | {"seed": seed, "history": [*content["history"][:-1], last]}
        (records / f"seed{seed}.json").write_text(json.dumps(again), encoding="utf-8")
    row = study_tables(study, records.parent).trainings.set_index("split").loc[content["split"]]
    assert row["seeds"] == 3 and 0 < row["c_acc_lo"] < row["c_acc"] < row["c_acc_hi"] == 1
    assert (row["p_acc_lo"], row["p_acc_hi"]) == (0, 1)


def test_a_classifier_at_chance_is_told(study: Study, records: Path) -> None:
    for path, loss in zip(sorted(records.glob("*.json")), (1.37, 0.2)):
        history = json.loads(path.read_text(encoding="utf-8"))["history"]
        changed(path, history=[*history[:-1], history[-1] | {"p_loss": loss}])
    table = study_tables(study, records.parent).trainings
    assert list(table["fitted"])[1:] == ["no", "yes"]


def test_records_of_different_images_are_not_mixed(study: Study, records: Path) -> None:
    changed(min(records.glob("*.json")), fingerprint="0" * 64)
    with pytest.raises(CourseError, match="different images"):
        study_tables(study, records.parent)


def test_records_may_lie_elsewhere_and_files_are_written(study: Study, records: Path, tmp_path: Path) -> None:
    tables = study_tables(study, tmp_path / "nowhere", records)
    written = write_tables(tables, tmp_path / "t.csv", tmp_path / "t.md", tmp_path / "figures")
    assert [path.name for path in written] == [
        "t.csv",
        "t_distances.csv",
        "t.md",
        "table2_as_published_accuracy.png",
        "table2_grouped_accuracy.png",
    ]
    assert pd.read_csv(tmp_path / "t.csv")["seeds"].sum() == 2
    assert all(path.stat().st_size for path in written)


def readings(study: Study, reading: Reading, records: Path) -> pd.DataFrame:
    """Four readings of a training and of the network from scratch: two seeds, two draws."""
    record = json.loads(min(records.glob("*.json")).read_text(encoding="utf-8"))
    rows = []
    for method, model in (("proposed_model", "Proposed model"), ("from scratch", "from scratch")):
        ours = method == "proposed_model"
        for seed, draw in ((0, 0), (0, 1), (1, 0), (1, 1)):
            rows.append({
                "method": method, "tag": "", "protocol": "published" if ours else "", "model": model, "kind": "fine_tune",
                "split": record["split"], "profile": record["profile"], "seed": seed, "draw": draw, "labels": 12,
                "training": record.get("key", "") if ours else "x", "fingerprint": record["data"]["fingerprint"],
                "settings": settings_digest(
                    reading.fine_tuning if ours else replace(reading.fine_tuning, encoder_lr_factor=1.0)
                ),
                "accuracy": 0.5 + 0.1 * seed + 0.02 * draw + 0.03 * ours, "key": f"{method} {seed} {draw}",
            })  # fmt: skip
    return pd.DataFrame(rows)


def test_readings_average_draws_within_a_seed_and_seeds_among_each_other(
    study: Study, records: Path, tmp_path: Path
) -> None:
    text = (ROOT / "studies" / "table2.toml").read_text(encoding="utf-8")
    text += '[[reading]]\nof = ["all", "from scratch"]\nlabels = [12]\ndraws = { 12 = 6 }\nkinds = ["fine_tune"]\n'
    (tmp_path / "study.toml").write_text(text, encoding="utf-8")
    read = read_study(tmp_path / "study.toml")
    made = readings(read, read.readings[0], records)
    (tmp_path / "readings").mkdir()
    for number in made.index:
        made.loc[[number]].to_csv(tmp_path / "readings" / f"{number}.csv", index=False)
    stale = made.head(1).assign(settings="other", key="other", accuracy=0.0)
    stale.to_csv(tmp_path / "readings" / "stale.csv", index=False)
    beyond = made.head(1).assign(draw=2, key="beyond", accuracy=0.0)  # of a file that asked for more draws
    beyond.to_csv(tmp_path / "readings" / "beyond.csv", index=False)
    tables = study_tables(read, tmp_path)
    assert list(tables.readings["method"]) == ["proposed_model"] * 4 + ["from scratch"] * 4
    table = few_labels(tables.readings)
    assert list(table["model"]) == ["Proposed model", "from scratch"]
    assert (table.iloc[0, 2], table.iloc[1, 2]) == ("59.0", "56.0"), "two seeds have no interval"
    assert gained(tables.readings)["accuracy"].round(6).tolist() == [0.03] * 4
    assert "points above from scratch" in tables.text()
    assert few_labels(tables.readings.assign(seed=0)).iloc[0, 2].startswith("59.0 ["), "four draws of one seed have"
    seeds = tables.readings.head(3).assign(seed=[0, 1, 2], accuracy=[-0.01, 0.02, 0.05])
    assert few_labels(seeds, share=False).iloc[0, 2] == "2.0 [-5.5, 9.5]"
    assert few_labels(seeds.assign(accuracy=[0.9, 1.0, 1.0])).iloc[0, 2] == "96.7 [82.3, 100.0]"


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "studies").glob("*.toml")))
def test_a_study_of_which_nothing_is_shipped_yet_shows_what_is_published_and_what_is_missing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(show, "FOLDER", tmp_path)
    study = read_study(name)
    shown = show.study_tables(study, tmp_path / study.data.split(":")[0]).text()
    planned = len(study.recipes) * len(study.seeds)
    assert f"0 of {planned} trainings are recorded" in shown and f"brainssl study run {name}" in shown
    proposed = [
        recipe for recipe in study.recipes if (recipe.method, recipe.protocol) == ("proposed_model", "published")
    ]
    assert ("72.40" in shown) == bool(proposed and study.data == "archives")


def test_a_folder_of_ones_own_without_records_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match="no record"):
        show.study_tables(read_study("table2"), tmp_path)


def test_lesson_01_says_of_the_leaking_split_what_the_records_say() -> None:
    text = (ROOT / "notebooks" / "01_data_merging.ipynb").read_text(encoding="utf-8")
    tables = study_tables(read_study("leaky_split"), ROOT / "results" / "reference" / "archives")
    pairs = tables.pairs.set_index(["model", "against"])
    for tag in ("no_augmentation", "augmented"):
        row = pairs.loc[tuple(f"Supervised, {tag}, fair, {less} removed" for less in ("others", "copies"))]
        figure = f"{row.difference:.1f}{' points' * (tag == 'no_augmentation')} [{row.lo:.1f}, {row.hi:.1f}]"
        assert row.seeds == 3 and figure in text
    trained = tables.trainings.set_index(["tag", "split"])["test accuracy"]
    assert f"a random split had {100 * trained['augmented', 'as published']:.0f} %" in text
    pixels = tables.readings.pivot_table(index="seed", columns="split", values="accuracy")
    mean, low, high = t_interval(100 * (pixels["others removed"] - pixels["copies removed"]))
    assert f"gain {mean:.1f} too, which over three seeds is anything from {low:.1f} to {high:.1f}" in text
