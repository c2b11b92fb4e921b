"""The course on a reader's own images: two, six and ten classes, without a single copy and without patients."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import numpy as np
import pytest
from image_files import encoded, put
from PIL import Image

from brainssl_utils.course.run import run_course
from brainssl_utils.data.conflicts import label_conflicts
from brainssl_utils.data.loading import load_corpus
from brainssl_utils.results.records import read_records

CLASSES = {
    2: ("no", "yes"),
    6: tuple(f"type {number}" for number in range(1, 7)),
    10: tuple(f"a long name of class number {number}" for number in range(10)),
}


def head(seed: int, side: int = 72) -> np.ndarray:
    """A head-like picture, (side, side) uint8: an ellipse with a smooth random inside, unlike that of any other seed."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    coarse = Image.fromarray(rng.integers(40, 256, (7, 7), dtype=np.uint8))
    inside = (x / rng.uniform(0.6, 0.9)) ** 2 + (y / rng.uniform(0.6, 0.9)) ** 2 < 1
    return np.where(inside, np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)), 0).astype(np.uint8)


@pytest.fixture(scope="module", params=CLASSES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of 120 pictures in all."""
    names = CLASSES[request.param]
    place = tmp_path_factory.mktemp("other") / f"{len(names)}_classes"
    for number in range(120):
        put(place, f"{names[number % len(names)]}/{number}.png", encoded(head(number)))
    return place


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("other-cache")


def test_the_course_runs_on_other_classes_without_copies_and_patients(
    folder: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRAINSSL_CACHE", str(cache))
    corpus = load_corpus(folder, progress=False)
    assert len(corpus) == 120 and not len(label_conflicts(corpus)) and (corpus.table["patient"] == "").all()
    assert corpus.table["group"].is_unique, "no picture has a copy"
    run_course(str(folder), "smoke", 0, tmp_path, only=["01", "04"])
    made = read_records([tmp_path])
    assert {len(record["test"]["recall"]) for record in made} == {len(corpus.classes)}
    assert all(record["config"]["n_classes"] == len(corpus.classes) for record in made)
    first = nbformat.read(tmp_path / "notebooks" / "01_data_merging.ipynb", as_version=4)
    text = "\n".join(output.get("text", "") for cell in first.cells for output in cell.get("outputs", []))
    assert "no picture of this corpus has a copy" in text and "names no patients" in text


@pytest.mark.skipif("BRAINSSL_LONG" not in os.environ, reason="takes minutes: set BRAINSSL_LONG to run it")
@pytest.mark.parametrize("folder", [2], indirect=True)
def test_every_notebook_runs_on_two_classes(
    folder: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRAINSSL_CACHE", str(cache))
    assert run_course(str(folder), "smoke", 0, tmp_path)["status"] == "done"
