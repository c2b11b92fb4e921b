"""Going on: a finished run is trained further to the result of an uninterrupted training, and logs by name."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from brainssl_utils import grouped_split
from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.splits.split import Split
from brainssl_utils.errors import CourseError
from brainssl_utils.methods import make_method
from brainssl_utils.methods.base import Method
from brainssl_utils.methods.simclr import SimCLR
from brainssl_utils.results import records
from brainssl_utils.settings import PROFILES
from brainssl_utils.training.run import Run, load_run
from brainssl_utils.training.trainer import fit

TINY = dataclasses.replace(PROFILES["smoke"], epochs=2, steps_per_epoch=2)


@pytest.fixture(scope="module")
def split(phantoms: Corpus) -> Split:
    return grouped_split(phantoms, seed=0)


def train(corpus: Corpus, split: Split, out: Path | None = None, name: str = "simclr", **options: Any) -> Run:
    method = options.pop("method", None) or make_method(name, image_size=32)
    return fit(method, corpus, split, TINY, out=out, **{"progress": False, "probes": (), **options})


def timeless(run: Run) -> pd.DataFrame:
    return run.history.drop(columns="seconds").astype(float)


def first_epoch_trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note the epoch of every step that is trained."""
    step, seen = Method.training_step, []

    def noted(self: Method, *arguments: Any) -> torch.Tensor:
        seen.append(self.current_epoch)
        return step(self, *arguments)

    monkeypatch.setattr(Method, "training_step", noted)
    return seen


@pytest.mark.parametrize("name", ["simclr", "nnclr", "twin_network", "masked_encoder"])
def test_a_finished_run_goes_on_to_the_result_of_an_uninterrupted_one(
    phantoms: Corpus, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    whole = train(phantoms, split, name=name, epochs=4)
    short = train(phantoms, split, tmp_path, name)
    assert short.record["continued_from"] == []
    seen = first_epoch_trained(monkeypatch)
    longer = train(phantoms, split, tmp_path, name, epochs=4)
    assert min(seen) == 2, "the first epochs are not trained again"
    pd.testing.assert_frame_equal(timeless(longer), timeless(whole), check_exact=True)
    assert all(
        torch.equal(*pair) for pair in zip(longer.method.state_dict().values(), whole.method.state_dict().values())
    )
    assert longer.record["key"] == whole.record["key"] and longer.record["test"] == whole.record["test"]
    assert longer.record["continued_from"] == [2] and longer.record["taken_up_at_epochs"] == []
    [record] = records.read_records(tmp_path)
    assert record["sizes"]["epochs"] == 4 and len(list(tmp_path.glob("checkpoints/*"))) == 1
    assert load_run(tmp_path, record).method.history == longer.record["history"]


def test_it_goes_on_again_and_after_a_stop(
    phantoms: Corpus, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(phantoms, split, tmp_path, epochs=1)
    train(phantoms, split, tmp_path, epochs=2)
    step = Method.training_step

    def stopped(self: Method, *arguments: Any) -> torch.Tensor:
        if self.current_epoch == 3:
            raise RuntimeError("power cut")
        return step(self, *arguments)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):
        patch.setattr(Method, "training_step", stopped)
        train(phantoms, split, tmp_path, epochs=4)
    assert records.read_records(tmp_path)[0]["sizes"]["epochs"] == 2, "the shorter run stays until the longer is done"
    longer = train(phantoms, split, tmp_path, epochs=4)
    assert longer.record["continued_from"] == [1, 2] and longer.record["taken_up_at_epochs"] == [3]
    pd.testing.assert_frame_equal(timeless(longer), timeless(train(phantoms, split, epochs=4)), check_exact=True)


def test_only_the_same_training_goes_on(
    phantoms: Corpus, split: Split, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(phantoms, split, tmp_path)
    other = train(phantoms, split, tmp_path, method=make_method("simclr", image_size=32, seed=1), epochs=3)
    assert other.record["continued_from"] == []
    fresh = train(
        phantoms, split, tmp_path, method=make_method("simclr", image_size=32, seed=1), epochs=4, resume=False
    )
    assert fresh.record["continued_from"] == []
    [checkpoint] = tmp_path.glob("checkpoints/*")
    checkpoint.unlink()
    again = train(
        phantoms, split, tmp_path, method=make_method("simclr", image_size=32, seed=1), epochs=5, progress=True
    )
    assert again.record["continued_from"] == [] and "their weights are gone" in capsys.readouterr().out
    shorter = train(phantoms, split, tmp_path, method=make_method("simclr", image_size=32, seed=1), epochs=1)
    assert len(shorter.history) == 1


def test_a_method_with_a_schedule_of_its_own_starts_again(phantoms: Corpus, split: Split, tmp_path: Path) -> None:
    class Scheduled(SimCLR):
        name = ""

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=1 / float(self.trainer.max_epochs or 1))

    short, longer = (
        train(phantoms, split, tmp_path, method=Scheduled(make_method("simclr", image_size=32).encoder), epochs=epochs)
        for epochs in (1, 2)
    )
    assert short.record["continued_from"] == longer.record["continued_from"] == []


@pytest.mark.parametrize("epochs", [0, -1, 2.5, "4", True])
def test_epochs_that_are_none_are_refused(phantoms: Corpus, split: Split, epochs: Any) -> None:
    with pytest.raises(CourseError, match=r"^epochs is"):
        train(phantoms, split, epochs=epochs)


def test_a_csv_log_has_every_epoch_of_the_history_also_after_going_on(
    phantoms: Corpus, split: Split, tmp_path: Path
) -> None:
    plain = train(phantoms, split)
    logged = train(phantoms, split, tmp_path, logger="csv")
    assert logged.record["key"] == plain.record["key"], "a log changes no number"
    longer = train(phantoms, split, tmp_path, logger="csv", epochs=3)
    assert longer.record["continued_from"] == [2]
    table = pd.read_csv(tmp_path / "logs" / longer.name / "metrics.csv")
    assert table["step"].tolist() == [0, 1, 2]
    assert table["c_loss"].to_numpy() == pytest.approx(longer.history["c_loss"].to_numpy(float))


def test_a_logger_that_is_not_there_is_said_before_training(
    phantoms: Corpus, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Method, "training_step", None)
    with pytest.raises(CourseError, match=r"logger is 'wandb'. Choose one of: csv, tensorboard"):
        train(phantoms, split, tmp_path, logger="wandb")
    with pytest.raises(CourseError, match="give one, out="):
        train(phantoms, split, logger="csv")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CourseError, match="pip install tensorboard"):
        train(phantoms, split, tmp_path, logger="tensorboard")


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_tensorboard_gets_event_files(phantoms: Corpus, split: Split, tmp_path: Path) -> None:
    run = train(phantoms, split, tmp_path, logger="tensorboard")
    assert list((tmp_path / "logs" / run.name).glob("events.out.tfevents*"))
