"""What a training is called, when it is read instead of repeated, and what its messages say."""

from __future__ import annotations

import dataclasses
import gc
import json
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from brainssl_utils import grouped_split, validity
from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.splits.split import Split
from brainssl_utils.encoders import make_encoder
from brainssl_utils.errors import CourseError
from brainssl_utils.methods import METHODS, make_method
from brainssl_utils.methods.base import LATER, Method
from brainssl_utils.results import records
from brainssl_utils.settings import PROFILES, get_profile
from brainssl_utils.training import training
from brainssl_utils.training.run import Run, load_run
from brainssl_utils.training.trainer import fit
from brainssl_utils.training.training import Training

TINY = dataclasses.replace(PROFILES["smoke"], epochs=2, steps_per_epoch=1)


@pytest.fixture(scope="module")
def split(phantoms: Corpus) -> Split:
    return grouped_split(phantoms, seed=0)


def timeless(run: Run) -> pd.DataFrame:
    return run.history.drop(columns="seconds").astype(float)


def simclr(**changes: Any) -> Method:
    return make_method("simclr", image_size=32, **changes)


def train(method: Method, corpus: Corpus, split: Split, out: Path | None = None, **options: Any) -> Run:
    options = {"progress": False, "probes": (), **options}
    return fit(method, corpus, split, TINY, out=out, **options)


def stop_in(epoch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Ctrl-C arrive in the given epoch, as Lightning tells of it."""
    step = Method.training_step

    def pressed(self: Method, *arguments: Any) -> torch.Tensor:
        if self.current_epoch == epoch:
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(Method, "training_step", pressed)


def never(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no step be trained any more."""

    def refuse(*_: Any) -> torch.Tensor:
        raise AssertionError("a step was trained")

    monkeypatch.setattr(Method, "training_step", refuse)


def test_threads_and_corpus_objects_are_not_in_the_key_and_every_setting_is(phantoms: Corpus, split: Split) -> None:
    def key(**changes: Any) -> str:
        return Training(simclr(**changes), phantoms, split, TINY, 0, split.train).key

    threads = torch.get_num_threads()
    keys = []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            keys.append(key())
    finally:
        torch.set_num_threads(threads)
    assert keys[0] == keys[1]
    changes = [{"temperature": 0.2}, {"views": "paper"}, {"head_widths": (64,)}, {"learning_rate": 1e-4}, {"seed": 1}]
    assert len({key(**change) for change in changes} | {keys[0]}) == len(changes) + 1


def test_weights_changed_by_hand_are_another_training(phantoms: Corpus, split: Split) -> None:
    drawn, changed = simclr(), simclr()
    with torch.no_grad():
        changed.encoder.features[0].bias.add_(1)
    keys = [Training(method, phantoms, split, TINY, 0, split.train).key for method in (drawn, simclr(), changed)]
    assert keys[0] == keys[1] != keys[2]


def test_few_labels_and_another_corpus_have_files_of_their_own(phantoms: Corpus, split: Split, tmp_path: Path) -> None:
    whole = train(simclr(), phantoms, split, tmp_path)
    few = train(simclr(), phantoms, split, tmp_path, labels=split.train[:12])
    renamed = dataclasses.replace(phantoms, name="my scans")
    other = train(simclr(), renamed, split, tmp_path)
    assert len({run.path for run in (whole, few, other)}) == 3 == len(records.read_records(tmp_path))
    assert "12labels" in few.name and "phantoms" in whole.name and "my_scans" in other.name
    for run in (whole, few, other):
        assert load_run(tmp_path, run.record).record["key"] == run.record["key"]


def test_settings_that_leave_the_protocol_are_in_the_name(phantoms: Corpus, split: Split, tmp_path: Path) -> None:
    plain = train(simclr(temperature=0.1), phantoms, split, tmp_path)
    warm = train(simclr(temperature=0.5), phantoms, split, tmp_path)
    assert plain.record["tag"] == "" and warm.record["tag"] == "temperature_0.5"
    assert records.select(records.read_records(tmp_path), "simclr", "fair", "grouped") == [plain.record]


def test_an_object_trained_twice_starts_again_from_its_first_weights_and_says_so(
    phantoms: Corpus, split: Split, capsys: pytest.CaptureFixture[str]
) -> None:
    method = simclr()
    first = train(method, phantoms, split, progress=True)
    assert "trained before" not in capsys.readouterr().out
    history = timeless(first)
    second = train(method, phantoms, split, progress=True)
    assert "this object was trained before; it starts again from its first weights" in capsys.readouterr().out
    pd.testing.assert_frame_equal(timeless(second), history, check_exact=True)
    assert second.record["key"] == first.record["key"] and len(second.record["history"]) == TINY.epochs


@pytest.mark.parametrize("name", ["simclr", "nnclr"])
def test_an_object_whose_training_was_stopped_goes_on_in_its_folder(
    phantoms: Corpus,
    split: Split,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    whole = train(make_method(name, image_size=32), phantoms, split)
    method = make_method(name, image_size=32)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="call again to continue"):
        stop_in(1, patch)
        train(method, phantoms, split, tmp_path)
    run = train(method, phantoms, split, tmp_path, progress=True)
    assert "goes on after epoch 1 of 2" in capsys.readouterr().out
    assert run.record["taken_up_at_epochs"] == [1]
    pd.testing.assert_frame_equal(timeless(run), timeless(whole), check_exact=True)


def test_without_a_folder_the_message_says_that_nothing_was_kept_and_the_next_call_starts_again(
    phantoms: Corpus, split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = simclr()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="nothing was kept"):
        stop_in(1, patch)
        train(method, phantoms, split)
    pd.testing.assert_frame_equal(
        timeless(train(method, phantoms, split)), timeless(train(simclr(), phantoms, split)), check_exact=True
    )


def test_messages_say_what_is_read_and_what_is_replaced(
    phantoms: Corpus, split: Split, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = train(simclr(), phantoms, split, tmp_path, progress=True)
    train(simclr(), phantoms, split, tmp_path, progress=True)
    assert f"finished earlier, read from {first.path}" in capsys.readouterr().out
    other = train(simclr(seed=1), phantoms, split, tmp_path, progress=True)
    said = capsys.readouterr().out
    assert "trained with first weights seed 0 (now seed 1); its record is replaced" in said
    assert other.path == first.path and len(list(tmp_path.glob("checkpoints/*"))) == 1


def test_a_changed_probe_reads_the_same_weights_anew(
    phantoms: Corpus, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(simclr(), phantoms, split, tmp_path, probes=("linear",))
    never(monkeypatch)
    more = train(simclr(), phantoms, split, tmp_path, probes=("linear", "knn"))
    assert more.record["evaluations"]["linear"] == first.record["evaluations"]["linear"]
    assert set(records.read_record(first.path)["evaluations"]) == {"linear", "knn"}, "the record is completed"
    monkeypatch.setitem(validity.VERSIONS, "evaluation", 99)
    again = train(simclr(), phantoms, split, tmp_path, probes=("linear", "knn"))
    assert again.record["evaluations"]["linear"]["key"] != first.record["evaluations"]["linear"]["key"]
    assert again.record["key"] == first.record["key"]


def test_a_checkpoint_without_a_record_is_not_trained_again(
    phantoms: Corpus, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(simclr(), phantoms, split, tmp_path)
    history = timeless(run)
    run.path.unlink()  # killed between the last epoch and the record
    never(monkeypatch)
    again = train(simclr(), phantoms, split, tmp_path)
    pd.testing.assert_frame_equal(timeless(again), history, check_exact=True)
    assert again.record["test"] == run.record["test"] and again.record["taken_up_at_epochs"] == []


def test_a_checkpoint_cut_short_counts_as_absent(
    phantoms: Corpus, split: Split, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(simclr(), phantoms, split, tmp_path)
    [checkpoint] = tmp_path.glob("checkpoints/*.ckpt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    again = train(simclr(), phantoms, split, tmp_path)
    assert str(checkpoint) in capsys.readouterr().out, "the file is named"
    pd.testing.assert_frame_equal(timeless(again), timeless(run), check_exact=True)


def test_an_older_record_of_the_same_training_is_passed_over_beside_todays(
    phantoms: Corpus, split: Split, tmp_path: Path
) -> None:
    run = train(simclr(), phantoms, split, tmp_path)
    old = {**run.record, "schema": 1, "name": "simclr-fair-grouped-smoke-seed0", "key": "0" * 16}
    old.pop("depends_on")
    (tmp_path / "records" / f"{old['name']}.json").write_text(json.dumps(old))
    assert [record["key"] for record in records.read_records(tmp_path)] == [run.record["key"]]
    run.path.unlink()
    assert [record["key"] for record in records.read_records(tmp_path)] == ["0" * 16], "alone it is read"
    run.path.with_name(run.path.name).write_text(json.dumps({**old, "name": run.name}))
    again = train(simclr(), phantoms, split, tmp_path)
    assert again.record["key"] == run.record["key"], "and never taken for today's"


def test_a_method_built_from_its_class_comes_back_from_its_record(
    phantoms: Corpus, split: Split, tmp_path: Path
) -> None:
    method = METHODS["simclr"](make_encoder("paper", 32), temperature=0.3, negatives="cross")
    run = train(method, phantoms, split, tmp_path)
    again = load_run(tmp_path, records.read_record(run.path))
    assert run.record["protocol"] == "custom" == again.method.protocol and again.method.config == method.config
    images = torch.from_numpy(np.array(phantoms.resized(32)[split.test]))
    assert torch.equal(again.method.predict(images), method.predict(images))


def test_a_trained_method_keeps_no_image_alive(
    phantoms: Corpus, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[weakref.ref] = []
    made = training.training_data

    def watched(*arguments: Any) -> Any:
        data = made(*arguments)
        held.append(weakref.ref(data.images))
        return data

    monkeypatch.setattr(training, "training_data", watched)
    runs = [train(make_method(name, image_size=32), phantoms, split, tmp_path) for name in sorted(METHODS)]
    runs.append(train(simclr(), phantoms, split, tmp_path))
    gc.collect()
    assert len(held) == len(METHODS) and all(reference() is None for reference in held)


def test_what_does_not_fit_is_refused_before_training(phantoms: Corpus, split: Split) -> None:
    small = dataclasses.replace(phantoms, images=phantoms.resized(32).copy())
    with pytest.raises(CourseError, match=r"96 pixels, but the corpus was loaded at 32.*image_size=96"):
        fit(make_method("simclr", image_size=96), small, split, "paper")
    with pytest.raises(CourseError, match="4 classes, but the method was built for 3: build it with n_classes=4"):
        train(simclr(n_classes=3), phantoms, split)
    with pytest.raises(CourseError, match="no parameter lables"):
        fit(simclr(), phantoms, split, get_profile("smoke"), lables=split.train)


PUBLISHED = {
    "barlow_twins": "82394b642a9b7ba9",
    "masked_encoder": "be9d65aaa2312330",
    "nnclr": "487a0af61f9accd8",
    "proposed_model": "27d20cf37740174a",
    "simclr": "495519758fc3b1e2",
    "supervised": "7478457dbcfa2441",
    "twin_network": "53120377b80d9ca1",
}
"""Digests of what a key takes from each method as published: trainings of hours lie under such keys."""


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_new_settings_leave_the_keys_of_published_trainings_alone(name: str) -> None:
    method = make_method(name, "published")
    assert validity.digest(method.deciding) == PUBLISHED[name]
    assert set(method.config) - set(method.deciding) <= set(LATER) and "one_per_group" in method.config


def test_younger_settings_are_in_the_key_where_they_change_something(phantoms: Corpus, split: Split) -> None:
    def key(**changes: Any) -> str:
        return Training(simclr(**changes), phantoms, split, TINY, 0, split.train).key

    plain = key()
    assert plain == key(classifier_reads="features", metrics_on="features", one_per_group=False)
    changes = [{"classifier_reads": "projections"}, {"metrics_on": "projections"}, {"one_per_group": True}]
    assert len({plain, *(key(**change) for change in changes)}) == 4


def test_records_without_the_younger_settings_are_rebuilt(phantoms: Corpus, split: Split, tmp_path: Path) -> None:
    run = train(simclr(), phantoms, split, tmp_path)
    old = run.record | {"config": run.method.deciding}
    assert load_run(tmp_path, old).method.config == run.method.config
