"""A small file says where images lie and how they are read, and is taken wherever a folder is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brainssl_utils import load_corpus
from brainssl_utils.course.plan import check_data
from brainssl_utils.data.description import Images, classes_word, describe, write_description
from brainssl_utils.errors import CourseError


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Forty pictures in two folders that say nothing of a class to the rule, and a table that does."""
    rng, rows = np.random.default_rng(0), ["file,label,patient"]
    for folder in ("yes", "no"):
        (tmp_path / "scans" / folder).mkdir(parents=True)
        for number in range(20):
            pixels = rng.integers(0, 256, (32, 32), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "scans" / folder / f"{number}.png")
            rows.append(f"{folder}/{number}.png,{'stroke' if number % 2 else 'bleeding'},p{number // 4}{folder}")
    (tmp_path / "labels.csv").write_text("\n".join(rows), encoding="utf-8")
    return tmp_path


def test_a_description_reads_like_the_parameters_it_stands_for(scans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (scans / "images.toml").write_text(
        'folder = "scans"\nclasses = { yes = "tumor", no = "no_tumor" }\n', encoding="utf-8"
    )
    described = load_corpus(scans / "images.toml", 16, scans / "cache", progress=False)
    plain = load_corpus(
        scans / "scans", 16, scans / "cache", progress=False, classes={"yes": "tumor", "no": "no_tumor"}
    )
    assert described.fingerprint == plain.fingerprint and set(described.classes) == {"tumor", "no_tumor"}
    assert described.name == "scans"
    monkeypatch.chdir(scans.parent)  # what it names lies beside it, wherever one stands
    (scans / "images.toml").write_text('folder = "scans"\ntable = "labels.csv"\n', encoding="utf-8")
    labelled = load_corpus(scans / "images.toml", 16, scans / "cache", progress=False)
    assert set(labelled.classes) == {"bleeding", "stroke"} and labelled.table["patient"].nunique() == 10


def test_what_is_given_beside_a_description_counts(scans: Path) -> None:
    (scans / "images.toml").write_text('folder = "scans"\nclasses = 1\nevery = 4\n', encoding="utf-8")
    assert describe(scans / "images.toml", classes=["yes"], every=2) == Images(str(scans / "scans"), None, ["yes"], 2)
    assert describe("phantoms:60") == Images("phantoms:60")


def test_a_course_sees_a_change_of_the_description_or_its_table(scans: Path) -> None:
    file = scans / "images.toml"
    file.write_text('folder = "scans"\ntable = "labels.csv"\n', encoding="utf-8")
    place, first = check_data(str(file))
    assert place == str(file.resolve())
    (scans / "labels.csv").write_text((scans / "labels.csv").read_text().replace("p0yes", "p9yes"), encoding="utf-8")
    second = check_data(str(file))[1]
    file.write_text('folder = "scans"\nclasses = 1\n', encoding="utf-8")
    assert len({first, second, check_data(str(file))[1], check_data(str(scans / "scans"))[1]}) == 4


def test_what_is_written_is_read_again(scans: Path) -> None:
    images = Images(str(scans / "scans"), {"table": "t.csv", "label": 'a "b"'}, {"yes": "tumor"}, 3)
    write_description(images, scans / "again.toml")
    assert describe(scans / "again.toml") == images
    with pytest.raises(CourseError, match=r"ends in \.toml"):
        write_description(images, scans / "again.txt")
    with pytest.raises(CourseError, match="needs no description"):
        write_description(Images("phantoms"), scans / "again.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("folder = 3", "names no folder"),
        ('folder = "scans"\nfolders = "x"', "unknown key folders"),
        ('folder = "scans"\ntable = 3', "table is 3"),
        ('folder = "scans"\nclasses = "yes"', "classes is 'yes'"),
        ('folder = "scans"\nevery = -1', "every"),
        ("folder =", "cannot be read as a description"),
    ],
)
def test_a_description_that_cannot_work_is_refused(scans: Path, text: str, said: str) -> None:
    (scans / "images.toml").write_text(text, encoding="utf-8")
    with pytest.raises(CourseError, match=rf"images\.toml.*{said}"):
        load_corpus(scans / "images.toml", 16, scans / "cache")


@pytest.mark.parametrize(
    ("word", "classes"),
    [("yes=tumor, no=no_tumor", {"yes": "tumor", "no": "no_tumor"}), ("yes,no", ["yes", "no"]), ("-1", -1), ("2", 2)],
)
def test_classes_are_typed_as_pairs_names_or_a_depth(word: str, classes: object) -> None:
    assert classes_word(word) == classes


@pytest.mark.parametrize("word", ["", "yes=", "yes=tumor,no", "a,,b", "=x"])
def test_a_choice_of_classes_that_is_none_of_these_is_refused(word: str) -> None:
    with pytest.raises(CourseError, match="--classes"):
        classes_word(word)
