"""Shipped encoders: whole or refused, and the same features as the run they come from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from brainssl_utils import grouped_split
from brainssl_utils.data.corpus import Corpus
from brainssl_utils.errors import CourseError
from brainssl_utils.evaluation.features import encode
from brainssl_utils.evaluation.protocol import evaluate
from brainssl_utils.methods import make_method
from brainssl_utils.results.records import read_record
from brainssl_utils.settings import PROFILES
from brainssl_utils.training.reference import load_shipped, reference, reference_for, ship, shipped_records
from brainssl_utils.training.run import Run
from brainssl_utils.training.trainer import fit


@pytest.fixture(scope="module")
def run(phantoms: Corpus) -> Run:
    short = dataclasses.replace(PROFILES["smoke"], epochs=1)
    return fit(make_method("simclr", image_size=32), phantoms, grouped_split(phantoms), short, progress=False)


def test_a_shipped_run_reads_as_the_run_it_comes_from(run: Run, phantoms: Corpus, tmp_path: Path) -> None:
    ship(run, tmp_path / "phantoms")
    again = reference("simclr", "phantoms", folder=tmp_path)
    images = phantoms.resized(32)[:20]
    np.testing.assert_allclose(encode(again, images), encode(run, images), rtol=0.02, atol=0.01)
    report = evaluate(again, phantoms, grouped_split(phantoms), "knn")
    assert report["accuracy"] == pytest.approx(run.record["evaluations"]["knn"]["accuracy"], abs=0.05)
    assert len(again.history) == 1 and again.test == run.test


def test_a_run_is_found_for_the_very_split_that_it_was_kept_apart_from(
    run: Run, phantoms: Corpus, tmp_path: Path
) -> None:
    def asked(method: str = "simclr", seed: int = 0, protocol: str = "fair", corpus: Corpus = phantoms) -> Run | None:
        return reference_for(method, corpus, grouped_split(corpus, seed), protocol, tmp_path)

    assert asked() is None, "nothing is shipped yet"
    ship(run, tmp_path / "phantoms")
    found = asked()
    assert found is not None and found.name == run.name
    others = asked(seed=1), asked("nnclr"), asked(protocol="published"), asked(corpus=phantoms.subset(np.arange(200)))
    assert others == (None,) * 4


def test_a_shipped_file_that_was_changed_or_lost_is_refused(run: Run, tmp_path: Path) -> None:
    weights = ship(run, tmp_path / "phantoms").with_suffix(".safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0\0")
    with pytest.raises(CourseError, match="SHA-256 differs"):
        reference("simclr", "phantoms", folder=tmp_path)
    weights.unlink()
    with pytest.raises(CourseError, match="is missing"):
        reference("simclr", "phantoms", folder=tmp_path)


def test_shipped_records_are_those_of_full_length(run: Run, tmp_path: Path) -> None:
    ship(run, tmp_path / "phantoms")
    asked = {"protocol": "fair", "folder": tmp_path, "synthetic": True}
    assert [record["name"] for record in shipped_records(least_epochs=1, **asked)] == [run.name]
    assert shipped_records(least_epochs=2, **asked) == [], "too short"
    assert shipped_records(least_epochs=1, **asked | {"synthetic": False}) == []
    assert shipped_records(least_epochs=1, **asked | {"protocol": "published"}) == []
    assert shipped_records(folder=tmp_path / "none") == []


def test_the_course_ships_full_length_records_of_the_proposed_model() -> None:
    found = {(record["method"], record["split"]) for record in shipped_records()}
    assert {("proposed_model", "as published"), ("proposed_model", "grouped")} <= found


def test_what_is_not_shipped_is_said(run: Run, tmp_path: Path) -> None:
    ship(run, tmp_path / "phantoms")
    with pytest.raises(CourseError, match="There are: phantoms"):
        reference("simclr", "archives", folder=tmp_path)
    with pytest.raises(CourseError, match="no record of nnclr"):
        reference("nnclr", "phantoms", folder=tmp_path)


def test_a_classifier_that_reads_projections_is_shipped_with_the_head_it_reads(
    phantoms: Corpus, tmp_path: Path
) -> None:
    short = dataclasses.replace(PROFILES["smoke"], epochs=1)
    method = make_method("proposed_model", "published", image_size=32, classifier_reads="projections")
    run = fit(method, phantoms, grouped_split(phantoms), short, progress=False, probes=())
    again = load_shipped(tmp_path / "phantoms", read_record(ship(run, tmp_path / "phantoms")))
    images = torch.tensor(phantoms.resized(32)[:20])
    shares = [each.method.probabilities(images).numpy() for each in (run, again)]
    np.testing.assert_allclose(*shares, rtol=0.02, atol=0.02)
