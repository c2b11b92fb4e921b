"""A saved run answers on new pictures as it did on those it was tested with, and exports its features."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import brainssl_utils
from brainssl_utils import embed, grouped_split, load_corpus, predict
from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.splits.split import Split
from brainssl_utils.data.splits.subsets import validation_part
from brainssl_utils.errors import CourseError
from brainssl_utils.evaluation.features import encode
from brainssl_utils.methods import make_method
from brainssl_utils.settings import PROFILES
from brainssl_utils.training import use
from brainssl_utils.training.reference import ship
from brainssl_utils.training.run import Run
from brainssl_utils.training.trainer import fit

TINY = dataclasses.replace(PROFILES["smoke"], epochs=2, steps_per_epoch=2)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory, phantoms: Corpus) -> Path:
    """The phantoms as a folder of class folders: files of one archive, larger than the squares made of them."""
    folder = tmp_path_factory.mktemp("scans")
    for row, (image, name) in enumerate(zip(phantoms.images[:, 0], phantoms.files["class_name"])):
        (folder / name).mkdir(exist_ok=True)
        kind = ("png", "jpg")[row % 2]
        Image.fromarray(image).resize((200, 220)).save(folder / name / f"{row:03d}.{kind}")
    return folder


@pytest.fixture(scope="module")
def corpus(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return load_corpus(scans, cache_dir=tmp_path_factory.mktemp("scans-cache"), progress=False)


@pytest.fixture(scope="module")
def split(corpus: Corpus) -> Split:
    return validation_part(grouped_split(corpus), corpus)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def run(corpus: Corpus, split: Split, out: Path) -> Run:
    return train(corpus, split, out)


def train(corpus: Corpus, split: Split, out: Path, name: str = "simclr", **changes: Any) -> Run:
    method = make_method(name, image_size=32, n_classes=len(corpus.classes), **changes)
    return fit(method, corpus, split, TINY, out=out, progress=False, probes=())


def test_a_picture_of_the_test_part_gets_the_answer_of_the_record(
    run: Run, corpus: Corpus, split: Split, out: Path, scans: Path
) -> None:
    files = [scans / path for path in corpus.files["path"].iloc[split.test]]
    answers = predict(out, files)
    codes = [corpus.classes.index(name) for name in answers["class_name"]]
    assert codes == run.test["predictions"]
    shares = answers[[f"p_{name}" for name in corpus.classes]].to_numpy()
    assert np.allclose(shares.sum(1), 1) and np.allclose(shares.max(1), answers["probability"])
    assert (answers["problem"] == "").all() and answers["image"].tolist() == [str(file) for file in files]


def test_files_a_run_its_record_and_arrays_are_all_taken(
    run: Run, corpus: Corpus, split: Split, out: Path, scans: Path
) -> None:
    rows = split.test[:3]
    files = [str(scans / path) for path in corpus.files["path"].iloc[rows]]
    expected = predict(out, files)
    for source in (run, run.path, out / "records", str(out)):
        pd.testing.assert_frame_equal(predict(source, files), expected)
    columns = ["class_name", "probability"]
    for images in (corpus.images[rows], corpus.resized(32)[rows], torch.tensor(corpus.images[rows])):
        pd.testing.assert_frame_equal(predict(run, images)[columns], expected[columns])
    assert predict(run, files[0])[columns].equals(expected[columns].iloc[:1])
    assert brainssl_utils.predict is predict and brainssl_utils.embed is embed


def test_what_cannot_be_read_is_named_and_the_others_are_answered(run: Run, scans: Path, tmp_path: Path) -> None:
    good = next(scans.glob("*/*.png"))
    (tmp_path / "empty.png").touch()
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:2000])
    wrong = [tmp_path / "empty.png", tmp_path / "notes.txt", tmp_path / "cut.png", tmp_path / "gone.png", tmp_path]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        wrong.append(tmp_path / "pipe.png")
    answers = predict(run, [wrong[0], good, *wrong[1:], good])
    assert answers["class_name"].notna().tolist() == [file == good for file in [wrong[0], good, *wrong[1:], good]]
    problems = [problem for problem in answers["problem"] if problem]
    for problem, words in zip(
        problems, ("empty file", "text file", "", "no such file", "a folder", "not a regular file")
    ):
        assert words in problem
    alone = predict(run, wrong)
    assert alone["class_name"].isna().all() and alone["probability"].isna().all()
    assert use.as_lines(alone) == []
    assert [set(answer) for answer in json.loads(use.as_json(alone))] == [{"image", "problem"}] * len(wrong)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([], "no picture"),
        (np.zeros((2, 1, 32, 32)), "uint8"),
        (np.zeros((2, 32, 32), np.uint8), "uint8"),
        (np.zeros((2, 1, 32, 16), np.uint8), "square"),
    ],
)
def test_what_is_no_picture_is_refused(run: Run, images: Any, words: str) -> None:
    with pytest.raises(CourseError, match=words):
        predict(run, images)


def test_of_several_runs_the_name_chooses(run: Run, corpus: Corpus, split: Split, tmp_path: Path, scans: Path) -> None:
    made = [train(corpus, split, tmp_path, name) for name in ("simclr", "barlow_twins")]
    file = next(scans.glob("*/*.png"))
    with pytest.raises(CourseError, match=f"holds 2 runs.*--name.*{made[1].name}, {made[0].name}"):
        predict(tmp_path, file)
    with pytest.raises(CourseError, match="'nnclr' is in the name of no run"):
        predict(tmp_path, file, name="nnclr")
    for name in ("barlow", made[1].name):
        assert use.find_run(tmp_path, name).name == made[1].name
    with pytest.raises(CourseError, match="no record or folder"):
        predict(tmp_path / "nowhere", file)
    next(tmp_path.glob("checkpoints/barlow*")).unlink()
    with pytest.raises(CourseError, match=r"barlow_twins.*ckpt is missing"):
        embed(tmp_path, corpus, name="barlow")


def test_a_shipped_run_answers_too(run: Run, tmp_path: Path, scans: Path) -> None:
    ship(run, tmp_path / "phantoms")
    files = list(scans.glob("*/*.png"))[:5]
    expected, answers = predict(run, files), predict(tmp_path / "phantoms", files)
    assert np.allclose(answers["probability"], expected["probability"], atol=0.02)


def test_features_are_those_of_the_encoder_with_ids_and_parts(
    run: Run, corpus: Corpus, split: Split, out: Path, tmp_path: Path
) -> None:
    table = embed(out, corpus)
    assert table.columns.tolist() == ["id", "source", "class_name", "part", "features"]
    features = np.stack(table["features"])
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features, encode(run, corpus.resized(32)))
    assert table["id"].tolist() == corpus.files["id"].tolist()
    for part, rows in {
        "labelled": split.train, "unlabelled": split.unlabeled, "validation": split.validation, "test": split.test,
        "": split.unused,
    }.items():  # fmt: skip
        assert np.flatnonzero(table["part"] == part).tolist() == rows.tolist(), part

    path = use.write_features(table, tmp_path / "features.parquet")
    again = pd.read_parquet(path)
    np.testing.assert_array_equal(np.stack(again["features"]), features)
    assert str(pq.read_schema(path).field("features").type.value_type) == "float"
    pd.testing.assert_frame_equal(again.drop(columns="features"), table.drop(columns="features"), check_dtype=False)


def test_another_corpus_has_no_parts_and_other_classes_are_warned_of(
    run: Run, phantoms: Corpus, corpus: Corpus
) -> None:
    rows = corpus.subset(np.arange(10))
    assert set(embed(run, rows)["part"]) == {""}
    renamed = dataclasses.replace(rows, classes=tuple(name.upper() for name in rows.classes))
    with pytest.warns(UserWarning, match="the run tells apart glioma.*the images are of GLIOMA"):
        assert len(embed(run, renamed)) == 10


def test_features_are_written_as_parquet_or_not_at_all(run: Run, corpus: Corpus, tmp_path: Path) -> None:
    table = embed(run, corpus.subset(np.arange(10)))
    with pytest.raises(CourseError, match=r"features\.csv.*ends in \.parquet"):
        use.write_features(table, tmp_path / "features.csv")
    table["part"] = [object()] * len(table)  # nothing that Parquet can hold
    with pytest.raises(Exception, match="object"):
        use.write_features(table, tmp_path / "features.parquet")
    assert list(tmp_path.iterdir()) == []
