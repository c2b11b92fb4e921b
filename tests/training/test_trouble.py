"""A damaged checkpoint counts as absent, a full disk is told, and two trainings in one folder do each other no harm."""

from __future__ import annotations

import dataclasses
import errno
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.splits.draw import grouped_split
from brainssl_utils.data.splits.split import Split
from brainssl_utils.errors import CourseError
from brainssl_utils.files import hold
from brainssl_utils.methods import make_method
from brainssl_utils.results import records
from brainssl_utils.settings import PROFILES
from brainssl_utils.training.lightning import read_checkpoint
from brainssl_utils.training.run import Run, load_run
from brainssl_utils.training.trainer import fit

TINY = dataclasses.replace(PROFILES["smoke"], epochs=2, steps_per_epoch=1)


@pytest.fixture(scope="module")
def split(phantoms: Corpus) -> Split:
    return grouped_split(phantoms, seed=0)


def train(corpus: Corpus, split: Split, out: Path | None, seed: int = 0, progress: bool = False) -> Run:
    return fit(make_method("simclr", image_size=32), corpus, split, TINY, seed, out, progress=progress, probes=())


def same_weights(one: Run, other: Run) -> bool:
    return all(map(torch.equal, one.method.state_dict().values(), other.method.state_dict().values()))


class Bomb:
    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("unpickled",)


def foreign_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"state_dict": {}, "bomb": Bomb()}))


def foreign_pickle_in_a_checkpoint(path: Path) -> None:
    torch.save({"state_dict": {}, "bomb": Bomb()}, path)


def changed_byte(path: Path) -> None:
    """Change a weight, past the zip's own headers: PyTorch alone would load it."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as file:
        largest = max(file.infolist(), key=lambda member: member.file_size)
    content[largest.header_offset + 200 + largest.file_size // 2] ^= 0xFF
    path.write_bytes(content)


def cut(share: float) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "empty": cut(0),
    "cut in half": cut(0.5),
    "cut short": cut(0.999),
    "random bytes": lambda path: path.write_bytes(bytes(range(256)) * 40),
    "text": lambda path: path.write_text("not a checkpoint"),
    "a changed byte": changed_byte,
    "an empty zip": lambda path: zipfile.ZipFile(path, "w").close(),
    "a foreign pickle": foreign_pickle,
    "a foreign pickle in a checkpoint": foreign_pickle_in_a_checkpoint,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_named_and_trained_again_and_never_unpickled(
    phantoms: Corpus, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, damage: str
) -> None:
    monkeypatch.chdir(tmp_path)
    run = train(phantoms, split, tmp_path / "run")
    [checkpoint] = (tmp_path / "run").glob("checkpoints/*.ckpt")
    DAMAGE[damage](checkpoint)
    with pytest.raises(CourseError) as told:
        load_run(tmp_path / "run", run.record)
    assert str(checkpoint) in str(told.value) and "train it again" in str(told.value)
    assert f"{checkpoint} is damaged" in capsys.readouterr().out
    again = train(phantoms, split, tmp_path / "run")
    assert same_weights(run, again) and f"{checkpoint} is damaged" in capsys.readouterr().out
    assert not Path("unpickled").exists()


def test_what_cannot_be_read_is_left_alone_and_named(phantoms: Corpus, split: Split, tmp_path: Path) -> None:
    """A folder, or a file closed to this user, may be whole: nothing is trained over it."""
    run = train(phantoms, split, tmp_path)
    [checkpoint] = tmp_path.glob("checkpoints/*.ckpt")
    checkpoint.unlink()
    checkpoint.mkdir()
    for call in (lambda: load_run(tmp_path, run.record), lambda: train(phantoms, split, tmp_path)):
        with pytest.raises(CourseError, match="cannot be read as a checkpoint") as told:
            call()
        assert str(checkpoint) in str(told.value)
    assert checkpoint.is_dir()


def test_a_closed_checkpoint_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*arguments: Any, **options: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(arguments[0]))

    monkeypatch.setattr("io.open", closed)
    with pytest.raises(CourseError, match=r"a\.ckpt cannot be read as a checkpoint \(Permission denied\)"):
        read_checkpoint(tmp_path / "a.ckpt", "key")


def test_a_damaged_record_is_replaced_by_training_without_training_again(
    phantoms: Corpus, split: Split, tmp_path: Path, capsys: Any
) -> None:
    run = train(phantoms, split, tmp_path)
    assert run.path is not None
    run.path.write_text('{"schema": 2, "meth')
    again = train(phantoms, split, tmp_path, progress=True)
    assert "a damaged one" in capsys.readouterr().out and same_weights(run, again)
    assert records.read_record(run.path)["key"] == run.record["key"]


def test_checkpoints_go_through_no_other_folder(
    phantoms: Corpus, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a temporary file elsewhere")

    for name in ("NamedTemporaryFile", "TemporaryFile", "mkstemp", "mkdtemp", "SpooledTemporaryFile"):
        monkeypatch.setattr(tempfile, name, refuse)
    train(phantoms, split, tmp_path)
    assert sorted(path.suffix for path in tmp_path.rglob("*") if path.is_file()) == [".ckpt", ".json", ".lock"]


@pytest.mark.parametrize("kind", [".ckpt", ".json"])
def test_a_full_disk_in_a_training_names_the_file_and_the_same_call_goes_on(
    phantoms: Corpus, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    whole = train(phantoms, split, None)
    replace = os.replace

    def full(source: Any, target: Any) -> None:
        if str(target).endswith(kind):
            raise OSError(errno.ENOSPC, "No space left on device", str(source), None, str(target))
        replace(source, target)

    with monkeypatch.context() as patch, pytest.raises(CourseError) as told:
        patch.setattr(os, "replace", full)
        train(phantoms, split, tmp_path)
    message = str(told.value)
    assert kind in message and str(tmp_path) in message and ".tmp" not in message and "no space left" in message
    again = train(phantoms, split, tmp_path)
    assert same_weights(again, whole) and not list(tmp_path.rglob("*.tmp"))


def test_the_second_training_of_a_name_waits_and_reads_what_the_first_made(
    phantoms: Corpus, split: Split, tmp_path: Path, capfd: Any
) -> None:
    runs: list[Run] = []
    second = threading.Thread(target=lambda: runs.append(train(phantoms, split, tmp_path, progress=True)))
    first = train(phantoms, split, tmp_path)
    [lock] = tmp_path.glob(".locks/*.lock")
    with hold(lock, lambda: None):
        second.start()
        deadline = time.monotonic() + 30
        said = ""
        while "this one waits until that is done" not in said and time.monotonic() < deadline:
            time.sleep(0.05)
            said += capfd.readouterr().out
        assert f"{first.name}: another process trains it in {tmp_path}" in said and not runs
    second.join(60)
    assert same_weights(runs[0], first) and "finished earlier" in capfd.readouterr().out


TRAIN = """
import dataclasses, sys, torch
from brainssl_utils import fit, grouped_split, load_corpus
from brainssl_utils.methods import make_method
from brainssl_utils.settings import PROFILES
corpus = load_corpus("phantoms:240", cache_dir=sys.argv[1], progress=False)
sizes = dataclasses.replace(PROFILES["smoke"], epochs=int(sys.argv[3]), steps_per_epoch=1)
method = make_method(sys.argv[4], image_size=32)
torch.set_num_threads(int(sys.argv[5]))  # rounding depends on it
fit(method, corpus, grouped_split(corpus, seed=0), sizes, out=sys.argv[2], progress=False, probes=())
"""


def test_trainings_side_by_side_in_one_folder_end_as_they_do_alone(
    phantoms: Corpus, split: Split, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Two of one name, one of them killed half-way, and one of another name."""
    cache = tmp_path_factory.getbasetemp() / "phantoms-cache0"  # where the fixture has just loaded them

    def start(method: str, epochs: int) -> subprocess.Popen[str]:
        options = [cache, tmp_path / "run", epochs, method, torch.get_num_threads()]
        command = [sys.executable, "-c", TRAIN, *map(str, options)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    endless = start("simclr", 100_000)
    deadline = time.monotonic() + 400
    while not list((tmp_path / "run").glob("checkpoints/simclr*.ckpt")) and time.monotonic() < deadline:
        assert endless.poll() is None
        time.sleep(0.05)
    others = [start("simclr", 2), start("nnclr", 2)]
    assert others[1].wait(400) == 0, "another training waits for nobody"
    assert others[0].poll() is None
    endless.kill()
    assert others[0].wait(400) == 0
    assert "another process trains it" in others[0].communicate()[0]
    for process in (others[1], endless):
        process.communicate()
    found = {record["method"]: record for record in records.read_records(tmp_path / "run")}
    for name in ("simclr", "nnclr"):
        alone = fit(make_method(name, image_size=32), phantoms, split, TINY, progress=False, probes=())
        assert found[name]["test"] == alone.record["test"]
        assert same_weights(load_run(tmp_path / "run", found[name]), alone)
