"""One training by two processes: the numbers of one up to rounding, one record, and each goes on where the other stopped.

All processes are of this machine and talk over loopback. Plain gradient descent in float32 stands in for Adam, which makes
a whole step of a gradient that is nothing but rounding.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import TinyEncoder

from brainssl_utils import grouped_split
from brainssl_utils.compute import hardware
from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.splits.split import Split
from brainssl_utils.encoders import OwnEncoder
from brainssl_utils.errors import CourseError
from brainssl_utils.methods import make_method
from brainssl_utils.methods.base import Method
from brainssl_utils.methods.simclr import SimCLR
from brainssl_utils.results.records import read_records
from brainssl_utils.settings import PROFILES
from brainssl_utils.training import resuming
from brainssl_utils.training.run import Run, load_run
from brainssl_utils.training.trainer import fit

ROOT = Path(__file__).parents[2]
# Odd numbers: the two processes' shares of a step are of different sizes.
SIZES = dataclasses.replace(PROFILES["smoke"], batch_size=23, labeled_batch_size=5)
METHODS = ("simclr", "proposed_model", "masked_encoder", "byol", "barlow_twins", "nnclr")
# How far weights may lie apart, as a share of the way they came from the first ones. Features of an encoder that is hardly
# trained are all but equal, and what tells them apart is close to rounding: another number of threads moves weights as far
# (0.017 of Barlow Twins, 0.008 of NNCLR, 0.005 of the proposed model, where two processes moved them 0.017, 0.007, 0.005).
ROUNDING = 0.05
SCRIPT = """
import dataclasses, os, sys
from pathlib import Path
import torch
from brainssl_utils import fit, grouped_split, load_corpus
from brainssl_utils.compute import hardware
from brainssl_utils.methods import make_method
from brainssl_utils.methods.base import Method
from brainssl_utils.settings import PROFILES
from brainssl_utils.validity import digest

def descend(self):
    rate = 1e-4 if self.name == "barlow_twins" else 1e-3
    return torch.optim.SGD([weight for weight in self.parameters() if weight.requires_grad], lr=rate)

Method.configure_optimizers, hardware.precision = descend, lambda: "32-true"
out, cache, *names = sys.argv[1:]
corpus = load_corpus("phantoms:240", cache_dir=cache, progress=False)
sizes = dataclasses.replace(PROFILES["smoke"], batch_size=23, labeled_batch_size=5)
for name, folder, epochs in [*((name, "whole", 2) for name in names), ("simclr", "cut", 2), ("simclr", "short", 1)]:
    run = fit(make_method(name, image_size=32), corpus, grouped_split(corpus, seed=0), sizes, out=f"{out}/{folder}",
              epochs=epochs, devices=2, strategy="ddp", progress=False, probes=(), logger="csv")
    weights = digest(*(value.numpy() for value in run.method.state_dict().values()))
    with open(f"{out}/said-{os.environ['LOCAL_RANK']}", "a") as said:
        print(run.path, weights, digest(run.record), file=said)
"""


@pytest.fixture(scope="module")
def split(phantoms: Corpus) -> Split:
    return grouped_split(phantoms, seed=0)


@pytest.fixture
def descent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train here as the script does."""
    plain_descent(monkeypatch)


def plain_descent(patch: pytest.MonkeyPatch) -> None:
    def descend(self: Method) -> torch.optim.Optimizer:
        rate = 1e-4 if self.name == "barlow_twins" else 1e-3
        return torch.optim.SGD([weight for weight in self.parameters() if weight.requires_grad], lr=rate)

    patch.setattr(Method, "configure_optimizers", descend)
    patch.setattr(resuming, "PLAIN_OPTIMIZER", descend)
    patch.setattr(hardware, "precision", lambda: "32-true")


def train(name: str, corpus: Corpus, split: Split, out: Path | None = None) -> Run:
    method = make_method(name, image_size=32)
    return fit(method, corpus, split, SIZES, out=out, progress=False, probes=())


@pytest.fixture(scope="module")
def made(phantoms: Corpus, split: Split, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a script with two processes has trained; one training was begun there by a single one."""
    out = tmp_path_factory.mktemp("two")
    step = Method.training_step

    def stop(self: Method, batch: object, index: int) -> object:
        if self.current_epoch == 1:
            raise RuntimeError("power cut")
        return step(self, batch, index)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):
        plain_descent(patch)
        patch.setattr(Method, "training_step", stop)
        train("simclr", phantoms, split, out / "cut")
    script = out / "train.py"
    script.write_text(SCRIPT, encoding="utf-8")
    cache = tmp_path_factory.getbasetemp() / "phantoms-cache0"  # where the fixture has just loaded them
    command = [sys.executable, str(script), str(out), str(cache), *METHODS]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert not done.stdout and not done.stderr, "neither Lightning nor PyTorch has anything to say"
    return out


def environment(**more: str) -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **more}


def by_two(made: Path, folder: str, name: str) -> Run:
    [record] = [record for record in read_records(made / folder) if record["method"] == name]
    return load_run(made / folder, record)


def apart(one: Run, other: Run) -> float:
    """How far two trainings' weights lie apart, as a share of the way they came from the first ones."""
    first = make_method(one.method.name, image_size=32).state_dict()

    def flat(weights: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.cat([weights[name].flatten() for name, _ in one.method.named_parameters()])

    a, b, start = flat(one.method.state_dict()), flat(other.method.state_dict()), flat(first)
    return float((a - b).norm() / (b - start).norm())


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_train_to_the_numbers_of_one(
    phantoms: Corpus, split: Split, made: Path, descent: None, name: str
) -> None:
    two, one = by_two(made, "whole", name), train(name, phantoms, split)
    assert two.record["key"] == one.record["key"]
    assert apart(two, one) < ROUNDING
    for column in ("c_loss", "p_loss"):
        pd.testing.assert_series_equal(two.history[column], one.history[column], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(two.history["p_acc"], one.history["p_acc"])
    assert two.record["test"]["n"] == one.record["test"]["n"]


def test_every_process_returns_the_same_run_and_one_writes_it(made: Path) -> None:
    first, second = ((made / f"said-{rank}").read_text().splitlines() for rank in (0, 1))
    assert first == second and len(set(first)) == len(METHODS) + 2
    for path in (Path(line.split()[0]) for line in first):
        [record] = [record for record in read_records(path.parents[1]) if record["name"] == path.stem]
        assert {name: record["device"][name] for name in ("devices", "strategy", "num_nodes")} == {
            "devices": 2, "strategy": "ddp", "num_nodes": 1,
        }  # fmt: skip
        log = pd.read_csv(path.parents[1] / "logs" / path.stem / "metrics.csv")
        assert len(log) == len(record["history"]), "each epoch is logged once"
    assert not list(made.rglob("*.tmp"))


def test_two_go_on_where_one_stopped(phantoms: Corpus, split: Split, made: Path, descent: None) -> None:
    resumed = by_two(made, "cut", "simclr")
    assert resumed.record["taken_up_at_epochs"] == [1] and len(resumed.history) == 2
    assert apart(resumed, train("simclr", phantoms, split)) < ROUNDING


def test_one_goes_on_where_two_stopped(phantoms: Corpus, split: Split, made: Path, descent: None) -> None:
    longer = train("simclr", phantoms, split, made / "short")
    assert longer.record["continued_from"] == [1] and longer.record["device"]["devices"] == 1
    assert apart(longer, train("simclr", phantoms, split)) < ROUNDING


def command(out: Path, *options: str) -> list[str]:
    start = [sys.executable, "-m", "brainssl_utils.cli", "train", "simclr", "--data", "phantoms:240"]
    return [*start, "--profile", "smoke", "--out", str(out), *options]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no groups of processes that a signal reaches")
def test_a_command_that_is_stopped_says_so_once_and_leaves_a_checkpoint_and_no_process(
    phantoms: Corpus, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cache = str(tmp_path_factory.getbasetemp() / "phantoms-cache0")
    started = subprocess.Popen(
        command(tmp_path / "run", "--devices", "2", "--strategy", "ddp", "--epochs", "100000"),
        env=environment(BRAINSSL_CACHE=cache), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # What a shell starts in the background ignores Ctrl-C, and so would all that it starts: the tests, and this.
        start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("run/checkpoints/*.ckpt")) and time.monotonic() < deadline:
        assert started.poll() is None
        time.sleep(0.05)
    os.killpg(started.pid, signal.SIGINT)  # as Ctrl-C does
    try:
        printed, said = started.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, signal.SIGKILL)  # not left training beside the other tests
        raise
    assert started.returncode == 130 and "record:" not in printed
    assert said.count("interrupted: the same command goes on") == 1 and "Traceback" not in said
    with pytest.raises(ProcessLookupError):
        os.killpg(started.pid, 0)
    [checkpoint] = tmp_path.glob("run/checkpoints/*")
    assert len(torch.load(checkpoint, weights_only=True)["course"]["history"]) > 0
    assert not list(tmp_path.glob("run/records/*"))


def test_the_same_command_on_two_machines_trains_once(
    phantoms: Corpus, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Both of them are this one; only the first writes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    place["BRAINSSL_CACHE"] = str(tmp_path_factory.getbasetemp() / "phantoms-cache0")
    started = [
        subprocess.Popen(
            command(tmp_path / f"run{rank}", "--num-nodes", "2", "--epochs", "1"),
            env=environment(**place, NODE_RANK=str(rank)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    (printed, said), (second, nothing) = (process.communicate(timeout=300) for process in started)
    assert [process.returncode for process in started] == [0, 0], said + nothing
    assert "test images right" in printed and not second and not nothing
    [record] = (tmp_path / "run0" / "records").iterdir()
    assert json.loads(record.read_text(encoding="utf-8"))["device"]["num_nodes"] == 2
    assert not (tmp_path / "run1").exists() or not [path for path in (tmp_path / "run1").rglob("*") if path.is_file()]


@pytest.fixture
def started_from_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """This program can be started again, which a worker of pytest-xdist, whose `__main__` has no file, cannot."""
    monkeypatch.setattr(sys.modules["__main__"], "__file__", __file__, raising=False)


@pytest.mark.usefixtures("started_from_a_file")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"devices": 0}, "devices is 0"),
        ({"devices": 1.5}, "devices is 1.5"),
        ({"num_nodes": 0}, "num_nodes is 0"),
        ({"devices": 2, "strategy": "fsdp"}, "strategy is 'fsdp'. Choose one of: auto, ddp"),
        ({"devices": 6}, "6 processes cannot share a step of 5 images"),
        ({"devices": 2, "num_nodes": 3}, "6 processes cannot share a step of 5 images"),
    ],
)
def test_devices_that_cannot_train_are_refused(
    phantoms: Corpus, split: Split, options: dict[str, object], message: str
) -> None:
    with pytest.raises(CourseError, match=message):
        fit(make_method("simclr", image_size=32), phantoms, split, SIZES, **options)  # type: ignore[arg-type]


@pytest.mark.usefixtures("started_from_a_file")
def test_batch_norms_in_an_encoder_need_gpus_to_train_together(phantoms: Corpus, split: Split) -> None:
    method = SimCLR(OwnEncoder(TinyEncoder(), 32))
    with pytest.raises(CourseError, match="has batch norms"):
        fit(method, phantoms, split, SIZES, devices=2)


def test_a_notebook_is_sent_to_the_command(phantoms: Corpus, split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    with pytest.raises(CourseError, match="a notebook or a prompt cannot be started again: train with `brainssl train"):
        fit(make_method("simclr", image_size=32), phantoms, split, SIZES, devices=2)


@pytest.mark.usefixtures("started_from_a_file")
def test_more_gpus_than_there_are_are_refused(phantoms: Corpus, split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "accelerator", lambda: "cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(CourseError, match="devices is 2, but this machine has 1 GPUs"):
        fit(make_method("simclr", image_size=32), phantoms, split, SIZES, devices=2)
