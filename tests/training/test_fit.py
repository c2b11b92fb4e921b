"""fit(): the same seed gives the same history, an interrupted run resumes to it, and records tell what was done."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.splits.draw import grouped_split
from brainssl_utils.data.splits.split import Split
from brainssl_utils.data.splits.subsets import validation_part
from brainssl_utils.errors import CourseError
from brainssl_utils.methods import METHODS, make_method
from brainssl_utils.methods.base import Method
from brainssl_utils.results import records
from brainssl_utils.sampling import endless
from brainssl_utils.settings import PROFILES
from brainssl_utils.showing import progress_bar
from brainssl_utils.training import lightning
from brainssl_utils.training.run import Run, load_run
from brainssl_utils.training.trainer import fit

SMALL = dataclasses.replace(PROFILES["smoke"], epochs=3)


@pytest.fixture(scope="module")
def split(phantoms: Corpus) -> Split:
    return grouped_split(phantoms, seed=0)


def train(name: str, corpus: Corpus, split: Split, out: Path | None = None, seed: int = 0, **settings: object) -> Run:
    method = make_method(name, image_size=32, seed=seed, **settings)
    return fit(method, corpus, split, SMALL, seed, out=out, progress=False, probes=())


def timeless(run: Run) -> pd.DataFrame:
    return run.history.drop(columns="seconds").astype(float)


def same_weights(one: Run, other: Run) -> bool:
    pairs = zip(one.method.state_dict().values(), other.method.state_dict().values())
    return all(torch.equal(a, b) for a, b in pairs)


@contextlib.contextmanager
def power_cut(monkeypatch: pytest.MonkeyPatch, epoch: int) -> Iterator[None]:
    """End the training inside with an error in the given epoch."""
    step = Method.training_step

    def stop(self: Method, batch: object, index: int) -> object:
        if self.current_epoch == epoch:
            raise RuntimeError("power cut")
        return step(self, batch, index)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):
        patch.setattr(Method, "training_step", stop)
        yield


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_seed_fixes_the_history_whatever_number_of_threads_helps(phantoms: Corpus, split: Split, name: str) -> None:
    first, second = train(name, phantoms, split), train(name, phantoms, split)
    pd.testing.assert_frame_equal(timeless(first), timeless(second), check_exact=True)
    assert same_weights(first, second)


def test_another_seed_gives_another_history(phantoms: Corpus, split: Split) -> None:
    assert not timeless(train("simclr", phantoms, split)).equals(timeless(train("simclr", phantoms, split, seed=1)))


@pytest.mark.parametrize("name", ["simclr", "nnclr", "twin_network", "masked_encoder"])
def test_an_interrupted_training_resumes_to_the_uninterrupted_result(
    phantoms: Corpus, split: Split, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(name, phantoms, split)
    with power_cut(monkeypatch, epoch=2):
        train(name, phantoms, split, tmp_path)
    assert not list(tmp_path.glob("records/*.json")), "an unfinished training leaves no record"
    resumed = train(name, phantoms, split, tmp_path)
    pd.testing.assert_frame_equal(timeless(resumed), timeless(whole), check_exact=True)
    assert same_weights(resumed, whole)
    assert resumed.record["taken_up_at_epochs"] == [2] and whole.record["taken_up_at_epochs"] == []


class PressesAsItGoes:
    """Python prints an interrupt that comes here, and goes on."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("press", [lambda: signal.raise_signal(signal.SIGINT), PressesAsItGoes])
def test_ctrl_c_is_a_keyboard_interrupt_after_which_ctrl_c_still_works_and_training_goes_on(
    phantoms: Corpus, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, press: Callable[[], object]
) -> None:
    step, handler, bars = Method.training_step, signal.getsignal(signal.SIGINT), []

    def pressed(self: Method, *arguments: object) -> torch.Tensor:
        if self.current_epoch == 1:
            press()
        return step(self, *arguments)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="simclr"):
            patch.setattr(Method, "training_step", pressed)
            patch.setattr(lightning, "progress_bar", lambda *settings: bars.append(progress_bar(*settings)) or bars[-1])
            fit(make_method("simclr", image_size=32), phantoms, split, SMALL, out=tmp_path, probes=())
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert bars and all(bar.disable for bar in bars), "the bar of a training that was stopped is closed"
    finally:
        signal.signal(signal.SIGINT, handler)
    assert train("simclr", phantoms, split, tmp_path).record["taken_up_at_epochs"] == [1]


def test_a_killed_process_leaves_a_training_that_resumes(phantoms: Corpus, split: Split, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        textwrap.dedent(f"""
        import dataclasses, sys
        sys.path.insert(0, {str(Path(__file__).parents[2])!r})
        from brainssl_utils import fit, grouped_split, load_corpus
        from brainssl_utils.methods import make_method
        from brainssl_utils.settings import PROFILES
        corpus = load_corpus("phantoms:240", cache_dir={str(tmp_path / "cache")!r}, progress=False)
        endless = dataclasses.replace(PROFILES["smoke"], epochs=100_000)
        fit(make_method("simclr", image_size=32), corpus, grouped_split(corpus), endless, out={str(tmp_path)!r})
        """)
    )
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.DEVNULL)
    checkpoints = tmp_path / "checkpoints"
    deadline = time.monotonic() + 120
    while not list(checkpoints.glob("*.ckpt")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    process.kill()
    process.wait()
    [checkpoint] = checkpoints.glob("*.ckpt")
    done = torch.load(checkpoint, weights_only=True)["epoch"]
    assert done >= 0 and not list(tmp_path.glob("records/*.json"))


def test_a_finished_training_is_loaded_not_repeated(
    phantoms: Corpus, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train("simclr", phantoms, split, tmp_path)
    monkeypatch.setattr(Method, "training_step", None)
    again = train("simclr", phantoms, split, tmp_path)
    assert same_weights(first, again) and again.record == records.read_record(first.path)


@pytest.mark.parametrize(
    ("name", "protocol"),
    [(name, "fair") for name in sorted(METHODS)]
    + [(name, "published") for name, method in sorted(METHODS.items()) if method.published is not None],
)
def test_a_run_comes_back_from_its_record(
    phantoms: Corpus, split: Split, tmp_path: Path, name: str, protocol: str
) -> None:
    one_epoch = dataclasses.replace(SMALL, epochs=1, steps_per_epoch=1)
    method = make_method(name, protocol, image_size=32)
    run = fit(method, phantoms, split, one_epoch, out=tmp_path, progress=False, probes=())
    again = load_run(tmp_path, records.read_record(run.path))
    assert same_weights(run, again) and again.method.config == run.method.config


@pytest.mark.parametrize("change", [{"temperature": 0.5}, {"seed": 1}])
def test_a_changed_setting_trains_anew(
    phantoms: Corpus, split: Split, tmp_path: Path, change: dict[str, float]
) -> None:
    first = train("simclr", phantoms, split, tmp_path)
    other = train("simclr", phantoms, split, tmp_path, **change)  # type: ignore[arg-type]
    assert not same_weights(first, other) and first.record["key"] != other.record["key"]


def test_an_interrupted_training_never_passes_for_the_finished_one_beside_it(
    phantoms: Corpus, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train("simclr", phantoms, split, tmp_path)
    with power_cut(monkeypatch, epoch=1):
        train("simclr", phantoms, split, tmp_path, temperature=0.5)
    again = train("simclr", phantoms, split, tmp_path)
    assert same_weights(first, again)
    assert same_weights(first, load_run(tmp_path, first.record)), "the finished training stays whole"
    other = train("simclr", phantoms, split, tmp_path, temperature=0.5)
    assert same_weights(other, train("simclr", phantoms, split, temperature=0.5))
    assert len(list(tmp_path.glob("checkpoints/*.ckpt"))) == len(list(tmp_path.glob("records/*.json"))) == 2


def test_training_anew_does_not_take_up_what_is_there(
    phantoms: Corpus, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with power_cut(monkeypatch, epoch=2):
        train("simclr", phantoms, split, tmp_path)
    [partial] = tmp_path.glob("checkpoints/*.ckpt")
    content = torch.load(partial, weights_only=True)
    content["state_dict"] = {name: torch.zeros_like(value) for name, value in content["state_dict"].items()}
    torch.save(content, partial)
    method = make_method("simclr", image_size=32)
    run = fit(method, phantoms, split, SMALL, out=tmp_path, progress=False, probes=(), resume=False)
    assert same_weights(run, train("simclr", phantoms, split))


def test_a_checkpoint_of_another_training_is_refused(phantoms: Corpus, split: Split, tmp_path: Path) -> None:
    run = train("simclr", phantoms, split, tmp_path)
    checkpoint = next(tmp_path.glob("checkpoints/*.ckpt"))
    checkpoint.rename(str(checkpoint).replace(run.record["key"], "0" * 16))
    with pytest.raises(CourseError, match="another training than its record"):
        load_run(tmp_path, {**run.record, "key": "0" * 16})


def test_a_record_tells_what_was_done(phantoms: Corpus, split: Split, tmp_path: Path) -> None:
    method = make_method("simclr", "published", image_size=32)
    run = fit(method, phantoms, validation_part(split, phantoms), "smoke", 0, out=tmp_path, progress=False)
    record = records.read_record(run.path)
    assert record["data"]["fingerprint"] == phantoms.fingerprint and record["data"]["synthetic"]
    assert record["config"]["temperature"] == 0.1 and record["config"]["encoder"] == "reference"
    assert len(record["history"]) == PROFILES["smoke"].epochs
    columns = {"epoch", "c_loss", "c_acc", "r_acc", "p_loss", "p_acc", "val_p_acc", "validation_acc", "dead_features"}
    assert columns <= set(record["history"][0])
    assert record["test"]["n"] == len(split.test) and len(record["test"]["ci95"]) == 2
    assert set(record["evaluations"]) == {"linear", "knn"}
    assert record["throughput"]["views_per_second"] > 0 and record["leakage"]
    predicted = run.method.predict(torch.from_numpy(np.array(phantoms.resized(32)[split.test]))).numpy()
    assert record["test"]["accuracy"] == pytest.approx((predicted == phantoms.labels[split.test]).mean())
    assert record["history"][-1]["val_p_acc"] == pytest.approx(record["test"]["accuracy"])


def test_supervised_training_never_looks_at_unlabelled_images(phantoms: Corpus, split: Split) -> None:
    images = phantoms.images.copy()
    images[split.unlabeled] = 0
    blacked = dataclasses.replace(phantoms, images=images)
    assert same_weights(train("supervised", phantoms, split), train("supervised", blacked, split))
    assert not same_weights(train("simclr", phantoms, split), train("simclr", blacked, split))


def test_test_images_and_unlabelled_labels_never_reach_training(phantoms: Corpus, split: Split) -> None:
    images, files = phantoms.images.copy(), phantoms.files.copy()
    images[split.test] = 255
    hidden = np.concatenate([split.unlabeled, split.test])
    files.loc[hidden, "label"] = np.roll(files.loc[hidden, "label"].to_numpy(), 1)
    changed = dataclasses.replace(phantoms, images=images, files=files)
    for name in ("simclr", "nnclr", "barlow_twins", "proposed_model", "masked_encoder"):
        assert same_weights(train(name, phantoms, split), train(name, changed, split)), name


def test_only_the_given_labels_are_used(phantoms: Corpus, split: Split) -> None:
    few = split.train[:8]
    files = phantoms.files.copy()
    rest = split.train[8:]
    files.loc[rest, "label"] = np.roll(files.loc[rest, "label"].to_numpy(), 1)
    changed = dataclasses.replace(phantoms, files=files)
    runs = [
        fit(make_method("proposed_model", image_size=32), corpus, split, SMALL, labels=few, progress=False, probes=())
        for corpus in (phantoms, changed)
    ]
    assert same_weights(*runs)


def test_what_cannot_be_trained_is_refused(phantoms: Corpus, split: Split, tmp_path: Path) -> None:
    with pytest.raises(CourseError, match="image_size=32"):
        fit(make_method("simclr", image_size=96), phantoms, split, "smoke")
    with pytest.raises(CourseError, match="unknown profile 'huge'"):
        fit(make_method("simclr", image_size=32), phantoms, split, "huge")
    with pytest.raises(CourseError, match="another corpus"):
        train("simclr", phantoms, dataclasses.replace(split, fingerprint="other"))
    with pytest.raises(CourseError, match="test images"):
        fit(make_method("simclr", image_size=32), phantoms, split, "smoke", labels=split.test)
    one_class = split.train[phantoms.labels[split.train] == 0]
    with pytest.raises(CourseError, match=f"all {len(one_class)} labelled images are of one class"):
        fit(make_method("simclr", image_size=32), phantoms, split, "smoke", labels=one_class)
    with pytest.raises(CourseError, match="n_classes=4"):
        fit(make_method("simclr", image_size=32, n_classes=2), phantoms, split, "smoke")
    (tmp_path / "file").write_text("")
    with pytest.raises(CourseError, match="not a folder"):
        train("simclr", phantoms, split, tmp_path / "file")


def test_endless_batches_show_every_row_before_any_comes_again() -> None:
    batches = endless(torch.arange(10), 4, torch.Generator().manual_seed(0))
    drawn = torch.cat([next(batches) for _ in range(5)])
    assert sorted(drawn[:10].tolist()) == list(range(10)) == sorted(drawn[10:].tolist())
