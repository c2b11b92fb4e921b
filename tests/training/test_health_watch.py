"""Watching changes nothing of a training, never sees a test image, and its columns reach record and figure."""

from __future__ import annotations

import dataclasses
import math
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from lightly.loss import NTXentLoss

from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.splits.draw import default_split, grouped_split
from brainssl_utils.data.splits.split import Split
from brainssl_utils.data.splits.subsets import validation_part
from brainssl_utils.evaluation import health as measures
from brainssl_utils.methods import METHODS, make_method
from brainssl_utils.methods.base import Method
from brainssl_utils.results import records
from brainssl_utils.results.health import MEASURES, curves, health_notes
from brainssl_utils.settings import PROFILES
from brainssl_utils.training.batches import Batches, training_data
from brainssl_utils.training.health import HealthWatch
from brainssl_utils.training.run import Run
from brainssl_utils.training.trainer import fit

TINY = dataclasses.replace(PROFILES["smoke"], epochs=2, steps_per_epoch=2)
COLUMNS = ["knn_acc", *measures.MEASURES]


@pytest.fixture(scope="module")
def split(phantoms: Corpus) -> Split:
    return grouped_split(phantoms, seed=0)


def train(name: str, corpus: Corpus, split: Split, out: Path | None = None, watched: bool = True) -> Run:
    method = make_method(name, image_size=32)
    return fit(method, corpus, split, TINY, out=out, progress=False, probes=(), health=watched)


def kept(method: Method) -> dict[str, torch.Tensor]:
    """Parameters and buffers, those left out that NT-Xent holds for a memory bank it does not have: nobody fills them."""
    tensors = {**dict(method.named_parameters()), **dict(method.named_buffers())}
    saved = method.state_dict()
    return {name: tensor for name, tensor in tensors.items() if name in saved or not name.startswith("loss.")}


@pytest.mark.parametrize("name", sorted(METHODS))
def test_watching_leaves_weights_buffers_and_history_bit_by_bit(phantoms: Corpus, split: Split, name: str) -> None:
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    watched = train(name, phantoms, split)
    drawn = torch.rand(1).item(), np.random.rand(), random.random()
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    alone = train(name, phantoms, split, watched=False)
    assert (torch.rand(1).item(), np.random.rand(), random.random()) == drawn
    one, other = (kept(run.method) for run in (watched, alone))
    assert one.keys() == other.keys() and all(torch.equal(one[part], other[part]) for part in one)
    columns = [column for column in alone.history if column != "seconds"]
    assert not {*COLUMNS, "chance_loss"} & set(columns)
    pd.testing.assert_frame_equal(watched.history[columns], alone.history[columns], check_exact=True)
    assert watched.history[COLUMNS].notna().all(axis=None)
    assert alone.record["key"] == watched.record["key"]


def test_a_resumed_training_is_measured_on_the_same_images(
    phantoms: Corpus, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train("simclr", phantoms, split)
    step = Method.training_step

    def stop(self: Method, *arguments: object) -> object:
        if self.current_epoch == 1:
            raise RuntimeError("power cut")
        return step(self, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):
        patch.setattr(Method, "training_step", stop)
        train("simclr", phantoms, split, tmp_path)
    resumed = train("simclr", phantoms, split, tmp_path)
    pd.testing.assert_frame_equal(resumed.history[COLUMNS], whole.history[COLUMNS], check_exact=True)


def watch(corpus: Corpus, split: Split) -> HealthWatch:
    data = training_data(corpus, split, TINY, 0, split.train)
    return HealthWatch(Batches(make_method("simclr", image_size=32), data, torch.tensor(split.unlabeled), TINY))


def test_no_test_image_is_measured_and_validation_images_are_asked_where_there_are_any(phantoms: Corpus) -> None:
    split = default_split(phantoms)
    seen = watch(phantoms, split)
    used = torch.cat([seen.viewed, seen.voters, seen.asked]).numpy()
    assert not np.isin(used, split.test).any()
    assert np.isin(seen.voters, split.train).all() and seen.asked is seen.voters
    parted = validation_part(split, phantoms)
    seen = watch(phantoms, parted)
    assert len(seen.asked) and np.isin(seen.asked, parted.validation).all()
    assert np.isin(seen.voters, parted.train).all()


def test_the_test_images_content_changes_no_measure(phantoms: Corpus, split: Split) -> None:
    images = phantoms.images.copy()
    images[split.test] = 255
    other = dataclasses.replace(phantoms, images=images)
    one, two = (train("simclr", corpus, split).history[COLUMNS] for corpus in (phantoms, other))
    pd.testing.assert_frame_equal(one, two, check_exact=True)


def test_columns_reach_record_curves_and_notes(phantoms: Corpus, split: Split, tmp_path: Path) -> None:
    run = train("simclr", phantoms, split, tmp_path)
    assert run.path is not None
    record = records.read_record(run.path)
    found = curves(record)
    assert [name for name in MEASURES if name in found] == list(MEASURES) and len(found) == TINY.epochs
    pd.testing.assert_frame_equal(found, curves(run.record))
    assert "No band is kept for SimCLR fair" in health_notes(run) == health_notes(record)


def test_a_diverged_training_ends_without_measures_and_its_notes_say_so(
    phantoms: Corpus, split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = Method.close_epoch

    def broken(self: Method, seconds: float) -> object:
        with torch.no_grad():
            next(self.encoder.parameters()).fill_(math.nan)
        return lost(self, seconds)

    monkeypatch.setattr(Method, "close_epoch", broken)
    run = train("supervised", phantoms, split)
    assert run.history[COLUMNS].iloc[-1].isna().all()
    assert "has diverged" in health_notes(run)


IMAGES = torch.randint(0, 256, (40, 1, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def chance(name: str, **settings: object) -> float:
    level = make_method(name, image_size=32, **settings).chance_loss(IMAGES, 40)
    assert level is not None
    return level


def test_chance_levels_are_what_answers_that_know_nothing_cost() -> None:
    alike = torch.ones(40, 8)
    assert chance("simclr") == pytest.approx(float(NTXentLoss(0.1)(alike, alike)), rel=1e-5) == math.log(79)
    cross = make_method("simclr", image_size=32, negatives="cross")
    assert cross.chance_loss(IMAGES, 40) == pytest.approx(float(cross.loss(alike, alike)), rel=1e-5)  # type: ignore[operator]
    nnclr, barlow = make_method("nnclr", image_size=32), make_method("barlow_twins", image_size=32)
    assert nnclr.chance_loss(IMAGES, 40) == pytest.approx(float(nnclr.loss(alike, alike)), rel=1e-5)  # type: ignore[operator]
    width = barlow.projection_head.out_dim  # type: ignore[union-attr]
    flat = torch.ones(40, int(width))  # type: ignore[arg-type]
    assert barlow.chance_loss(IMAGES, 40) == pytest.approx(float(barlow.loss(flat, flat)))  # type: ignore[operator]
    assert chance("supervised", n_classes=4) == pytest.approx(math.log(4)) and chance("byol") == chance("simsiam") == 0
    twin = make_method("twin_network", image_size=32, margin=1.0)
    apart = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [0.875, 0.484123]]), dim=1)  # 0.5 from each other
    same = torch.tensor([True, False])
    pairs = twin.loss(apart[:1].expand(2, 2), apart[1:].expand(2, 2), same)  # type: ignore[operator]
    assert chance("twin_network", margin=1.0) == pytest.approx(float(pairs), rel=1e-3)


def test_the_masked_encoders_chance_is_the_error_of_the_mean_image() -> None:
    plain = chance("masked_encoder", views="none", loss_on="whole")
    pixels = IMAGES.float() / 255
    assert plain == pytest.approx(float((pixels - pixels.mean(0)).square().mean()), rel=1e-5)
    assert chance("masked_encoder", views="none") == pytest.approx(plain, rel=0.05)
    both = chance("masked_encoder", views="none", loss_on="whole", contrast=0.5)
    assert both == pytest.approx(plain + 0.5 * math.log(79))
