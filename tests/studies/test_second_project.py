"""The second project as a study: what is trained, on whom, and that its file goes through from the first step to the tables."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from brainssl_utils import cli
from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.splits.subsets import label_subset
from brainssl_utils.results.records import read_records
from brainssl_utils.settings import PROFILES
from brainssl_utils.studies.plan import FROZEN, Baseline, read_study
from brainssl_utils.studies.show import beside_the_projects, few_labels
from brainssl_utils.studies.tasks import Job, Source, tuning_for

STUDIES = Path(__file__).parents[2] / "studies"
GROUPED, BY_SLICE = "second project, grouped", "second project"


def test_the_grid_is_five_methods_on_two_splits_and_four_for_five_times_as_long() -> None:
    study = read_study(STUDIES / "second_project.toml")
    short = [recipe for recipe in study.recipes if "3000 steps" not in recipe.tag]
    longer = [recipe for recipe in study.recipes if recipe not in short]
    methods = {
        ("masked_encoder", ""), ("simclr", ""), ("twin_network", "pairs from labels"), ("twin_network", "pairs from views"),
        ("twin_network", "pairs from views, no copies"),
    }  # fmt: skip
    assert {(recipe.method, recipe.tag, recipe.split) for recipe in short} == {
        (*method, split) for method in methods for split in (GROUPED, BY_SLICE)
    }
    assert [(recipe.method, recipe.changes) for recipe in longer] == [
        ("masked_encoder", {}),
        ("simclr", {}),
        ("masked_encoder", {"contrast": 1.0, "share": [0.25, 0.5]}),
        ("masked_encoder", {"views": "contrastive", "share": [0.25, 0.5]}),
    ]
    assert {recipe.split for recipe in longer} == {GROUPED}
    for recipes, steps in ((short, 60), (longer, 300)):
        sizes = {"batch_size": 100, "labeled_batch_size": 20, "image_size": 64}
        wanted = replace(PROFILES["quick"], epochs=10, steps_per_epoch=steps, **sizes)
        assert {replace(recipe.profile, name="quick") for recipe in recipes} == {wanted}
    assert {(recipe.labels, recipe.protocol) for recipe in study.recipes} == {(123, "fair")}
    frozen, tuned = study.readings
    assert frozen.labels == tuned.labels == (12, 123, 1235) and frozen.kinds == ("linear", "knn")
    left = {recipe.tag for recipe in study.recipes if not tuned.kinds_for(recipe)}
    assert left == {"pairs from views", "pairs from views, no copies"}
    assert sum(tuned.draws_of(12, seed, study.seeds) for seed in study.seeds) == 24


def test_a_training_may_use_fewer_labels_than_its_split_has(phantoms: Corpus, tmp_path: Path) -> None:
    recipe = read_study(STUDIES / "second_project.toml").recipes[0]
    source = Source("phantoms:240", 96, phantoms.fingerprint)
    few, many = (Job(replace(recipe, labels=n), 1, (1,), (), source, tmp_path) for n in (12, 5000))
    assert few.training(few.subject).labels.tolist() == label_subset(few.split, phantoms, 12, 1).tolist()
    assert many.training(many.subject).labels.tolist() == many.split.train.tolist()


def test_of_the_frozen_baseline_the_head_alone_learns() -> None:
    study = read_study(STUDIES / "second_project.toml")
    by_name = {baseline.name: baseline for baseline in study.baselines}
    tunings = [tuning_for(by_name[name], "fine_tune", study.readings[1]) for name in ("from scratch", FROZEN)]
    assert [tuning.freeze for tuning in tunings if tuning] == ["none", "all"]
    assert isinstance(by_name[FROZEN], Baseline) and study.readings[0].kinds_for(by_name[FROZEN]) == ()


def small(name: str) -> str:
    """A committed study's file, with as little work in it as there can be."""
    text = (STUDIES / f"{name}.toml").read_text(encoding="utf-8")
    for before, after in {
        r'data = "archives"': 'data = "phantoms:240"', r'profile = "quick"': 'profile = "smoke"', r"seeds = .*": "seeds = [0]",
        r"image_size = 64": "image_size = 32", r"epochs = 10": "epochs = 1", r"steps_per_epoch = \d+": "steps_per_epoch = 1",
        r"labels = 123\b": "labels = 20", r"labels = \[12, 123, 1235\]": "labels = [9]", r"12 = 24": "9 = 2",
        r"labels = \[123\]": "labels = [9]", r"\bsteps = \d+": "steps = 1", r"test_views = 8": "test_views = 1",
    }.items():  # fmt: skip
        text = re.sub(before, after, text)
    return text


def test_the_file_goes_through_on_phantoms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = {}
    for name in ("second_project", "second_project_longer"):
        file = tmp_path / f"{name}.toml"
        file.write_text(small(name), encoding="utf-8")
        for verb in ("run", "show"):
            with pytest.raises(SystemExit) as stop:
                cli.main(["study", verb, str(file), "--out", str(tmp_path / "out")])
            shown[name, verb] = capsys.readouterr().out
            assert not stop.value.code, shown[name, verb]
    assert "22 to do, 0 finished before" in shown["second_project", "run"]
    longer = shown["second_project_longer", "run"]
    assert "2 to do" in longer and "trained in" not in longer, "its encoder was there"
    records = read_records(tmp_path / "out")
    assert len(records) == 14 and {record["data"]["counts"]["labelled"] for record in records} == {20}
    table = shown["second_project", "show"]
    for words in (
        "Twin network, pairs from labels",
        "untrained, frozen",
        "pixels",
        f"{BY_SLICE}, 9 labels",
        "points above",
    ):
        assert words in table, words
    assert "the project's figure" not in table, "synthetic images never stand beside published figures"


def test_the_projects_figures_stand_under_its_own_split_and_labels() -> None:
    rows = [("Masked encoder", BY_SLICE), ("Masked encoder", GROUPED), ("Twin network, pairs from labels", GROUPED)]
    made = pd.DataFrame(rows, columns=["model", "split"]).assign(kind="fine_tune", seed=0, accuracy=0.75)
    read = few_labels(made.assign(labels=123))
    shown = beside_the_projects(read)
    assert shown["model"].tolist()[:2] == ["Masked encoder, the project's figure", "Twin network, the project's figure"]
    assert shown[f"{BY_SLICE}, 123 labels"].tolist() == ["74.08", "46.53", "75.0", "-"]
    assert shown[f"{GROUPED}, 123 labels"].tolist() == ["-", "-", "75.0", "75.0"]
    assert list(shown.columns) == list(read.columns)
    other = few_labels(made.assign(labels=12))
    assert beside_the_projects(other) is other
