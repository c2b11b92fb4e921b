"""What a study ships reads as it did in the study's folder; each shipped encoder gives its record's test accuracy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from brainssl_utils import cli
from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.loading import load_corpus
from brainssl_utils.data.splits.named import make_split
from brainssl_utils.errors import CourseError
from brainssl_utils.results.records import read_records
from brainssl_utils.studies import ship as shipping
from brainssl_utils.studies.plan import Study, read_study
from brainssl_utils.studies.run import run_study
from brainssl_utils.studies.ship import MOST_BYTES, ship_study
from brainssl_utils.studies.show import study_tables
from brainssl_utils.training.reference import FOLDER, PARTS, load_shipped, reference
from brainssl_utils.training.run import Run

ARCHIVES = Path(__file__).parents[3] / "shared" / "data"
TINY = """
data = "phantoms:60"
profile = "smoke"
seeds = [0, 1]
[sizes]
steps_per_epoch = 1
[[training]]
methods = ["simclr", "nnclr"]
split = "grouped"
[[reading]]
of = ["simclr", "untrained"]
labels = [5]
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Study, Path]]:
    folder = tmp_path_factory.mktemp("ship")
    (folder / "tiny.toml").write_text(TINY, encoding="utf-8")
    study = read_study(folder / "tiny.toml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BRAINSSL_CACHE", str(folder / "cache"))
        assert not run_study(study, None, folder / "out", say=lambda line: None)
        yield study, folder / "out"


def check_accuracy(run: Run, corpus: Corpus) -> None:
    """The classifier of a shipped run, on the test images of its record; rounding to float16 may move one of them.

    Phantoms that another processor has drawn differ in the rounding of single pixels, and may move one in a hundred.
    """
    record = run.record
    assert corpus.fingerprint == record["data"]["fingerprint"]
    split = make_split(record["split"], corpus, record["seed"])
    images = torch.from_numpy(corpus.resized(record["sizes"]["image_size"])[split.test])
    right = int((run.method.predict(images).numpy() == corpus.labels[split.test]).sum())
    moved, most = abs(right - record["test"]["correct"]), max(1, len(images) // 100 if corpus.synthetic else 1)
    assert len(images) == record["test"]["n"] and moved <= most, record["name"]


def test_what_is_shipped_reads_as_in_the_studys_folder(tiny: tuple[Study, Path], tmp_path: Path) -> None:
    study, out = tiny
    place = tmp_path / "phantoms"
    written = ship_study(study, out, place, say=lambda line: None)
    assert len(written) == 5 and all(path.exists() for path in written)
    assert study_tables(study, place).text() == study_tables(study, out).text()
    assert len(list(place.rglob("*.safetensors"))) == 2, "the encoders of seed 0"
    started = time.perf_counter()
    run = reference("simclr", "phantoms", folder=tmp_path)
    assert time.perf_counter() - started < 1
    check_accuracy(run, load_corpus("phantoms:60", 96))


def test_nothing_but_encoder_and_classifier_is_shipped(tiny: tuple[Study, Path], tmp_path: Path) -> None:
    study, out = tiny
    ship_study(study, out, tmp_path / "phantoms", say=lambda line: None)
    for path in tmp_path.rglob("*.safetensors"):
        tensors = load_file(path)
        parameters = dict(reference(path.name.split("-")[0], "phantoms", folder=tmp_path).method.named_parameters())
        assert tensors.keys() <= parameters.keys() and all(name.startswith(PARTS) for name in tensors)
        assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}


def test_an_encoder_that_float16_would_change_is_shipped_as_float32(
    tiny: tuple[Study, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, out = tiny
    monkeypatch.setattr(shipping, "AGREES", 0.0)
    lines: list[str] = []
    ship_study(study, out, tmp_path / "phantoms", say=lines.append)
    assert len(lines) == 2 and all("float32, features apart by 0.000 %" in line for line in lines)


def test_too_much_to_travel_is_refused_and_leaves_whole_records(
    tiny: tuple[Study, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, out = tiny
    monkeypatch.setattr(shipping, "MOST_BYTES", 1000)
    with pytest.raises(CourseError, match="--encoders"):
        ship_study(study, out, tmp_path / "phantoms", say=lambda line: None)
    assert not list(tmp_path.rglob("*.safetensors"))
    assert all("encoder_file" not in record for record in read_records(tmp_path / "phantoms"))


def test_the_command_ships_and_shows(
    tiny: tuple[Study, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = tiny
    monkeypatch.setattr(shipping, "FOLDER", tmp_path)
    for call in (["ship", "--out", str(out), "--encoders", "none"], ["show"]):
        with pytest.raises(SystemExit) as stop:
            cli.main(["study", call[0], str(study.path), *call[1:]])
        assert not stop.value.code
    said = capsys.readouterr().out
    assert "5 files written" in said and "2 of 2" in said
    assert not list(tmp_path.rglob("*.safetensors"))


def shipped(data: str) -> list[tuple[Path, dict]]:
    place = FOLDER / data
    records = read_records(place) if place.is_dir() else []
    return [(place, record) for record in records if "encoder_file" in record]


def test_all_shipped_encoders_are_small_enough() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*.safetensors")) <= MOST_BYTES


@pytest.mark.parametrize("data", ["archives", "phantoms"])
def test_each_shipped_encoder_gives_its_records_test_accuracy(data: str) -> None:
    found = shipped(data)
    if found and data == "archives" and not ARCHIVES.is_dir():
        pytest.skip(f"the archives are not in {ARCHIVES}")
    corpus = load_corpus(str(ARCHIVES) if data == "archives" else data, 96) if found else None
    for place, record in found:
        check_accuracy(load_shipped(place, record), corpus)
