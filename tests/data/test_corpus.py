"""Merging folders into one corpus: what is loaded, what is reported, and what the cache keeps."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from image_files import class_folders, encoded, picture, put, zipped
from PIL import Image

from brainssl_utils import validity
from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.loading import load_corpus
from brainssl_utils.data.phantoms import write
from brainssl_utils.data.phantoms.plan import plan_files
from brainssl_utils.data.phantoms.word import phantom_files
from brainssl_utils.data.reading import ingest
from brainssl_utils.data.reading.decode import Picture, decode_image
from brainssl_utils.data.reading.sources import CLASSES, PAPER_SOURCES, SOURCES
from brainssl_utils.errors import CourseError

FOUR = ("glioma_tumor", "Meningioma", "no tumor", "pituitary")
ROOT = Path(__file__).parents[2]
CACHED = {"images.npy", "files.parquet", "problems.parquet", "classes.json", "checksums.json"}
COLUMNS = [
    "id", "source", "label", "class_name", "path", "sha256", "width", "height", "phash", "group", "patient", "plane", "fold",
]  # fmt: skip


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    return class_folders(tmp_path / "scans", FOUR, each=3)


def load(data: Path | str, cache: Path, **options: int) -> Corpus:
    return load_corpus(data, cache_dir=cache, progress=False, **options)


def forbid_searching(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("images were compared")

    monkeypatch.setattr("brainssl_utils.data.copies.search.find_groups", refuse)


def forbid_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a file was decoded although the cache holds it")

    monkeypatch.setattr(ingest, "decode_image", refuse)


def reasons(corpus: Corpus, path: str) -> str:
    found = corpus.problems[corpus.problems["path"] == path]
    assert len(found) == 1, f"one row expected for {path}, found {len(found)}"
    return f"{found['action'].item()}: {found['reason'].item()}"


def same(a: Corpus, b: Corpus) -> None:
    np.testing.assert_array_equal(a.images, b.images)
    for name in ("table", "problems", "links"):
        pd.testing.assert_frame_equal(getattr(a, name), getattr(b, name))
    assert (a.fingerprint, a.name, a.classes) == (b.fingerprint, b.name, b.classes)


def test_a_folder_of_class_folders_becomes_images_and_a_table(scans: Path, cache: Path) -> None:
    corpus = load(scans, cache)
    assert corpus.images.shape == (12, 1, 96, 96)
    assert corpus.images.dtype == np.uint8
    assert list(corpus.table.columns) == COLUMNS
    assert list(corpus.table.index) == list(range(12)) == list(range(len(corpus)))
    assert corpus.classes == CLASSES
    assert [CLASSES[label] for label in corpus.labels] == corpus.table["class_name"].tolist()
    assert corpus.table["class_name"].value_counts().to_dict() == dict.fromkeys(CLASSES, 3)
    assert corpus.labels.dtype == np.int64
    row = corpus.table.set_index("path").loc["no tumor/img_1.png"]
    data = (scans / "no tumor/img_1.png").read_bytes()
    assert row["id"] == "scans/no tumor/img_1.png"
    assert row["sha256"] == hashlib.sha256(data).hexdigest()
    assert (row["source"], row["class_name"], row["width"], row["height"]) == ("scans", "no_tumor", 64, 64)
    expected = Image.open(scans / "no tumor/img_1.png").resize((96, 96), Image.Resampling.BILINEAR)
    position = corpus.table.index[corpus.table["path"] == "no tumor/img_1.png"][0]
    np.testing.assert_array_equal(corpus.images[position, 0], np.asarray(expected))
    assert corpus.problems.empty
    assert not corpus.synthetic
    assert "12 images of 96 x 96 px from scans" in repr(corpus)


def test_arrays_are_frozen_on_first_and_on_cached_load(scans: Path, cache: Path) -> None:
    for _ in range(2):
        corpus = load(scans, cache)
        for array in (corpus.images, corpus.resized(48), corpus.subset([0]).images):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0


def test_a_second_load_decodes_nothing_and_gives_the_same(
    scans: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(scans, 'glioma_tumor/comma, "quote" ü.png', encoded(picture(900)))
    put(scans, "glioma_tumor/broken.png", b"\x89PNG")
    first = load(scans, cache)
    forbid_decoding(monkeypatch)
    same(first, load(scans, cache))
    (folder,) = (cache / "corpora").iterdir()
    assert {file.name for file in folder.iterdir()} == CACHED, "only finished files may lie there"


def test_copies_are_looked_for_at_first_use_and_then_kept(
    scans: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(scans / "pituitary/img_0.png", scans / "pituitary/again.png")
    with monkeypatch.context() as context:
        forbid_searching(context)
        corpus = load(scans, cache)
        assert len(corpus.labels) == corpus.summary().loc["all", "all"] == 13
        assert "13 images" in repr(corpus)
        part = corpus.subset(np.arange(4, 13))
        with pytest.raises(AssertionError, match="compared"):
            _ = corpus.table
    assert list(part.table["group"]) == list(corpus.table["group"][4:])
    assert len(part.links) == len(corpus.links) == 1
    forbid_searching(monkeypatch)
    capsys.readouterr()
    same(corpus, load_corpus(scans, cache_dir=cache))
    assert "looking for copies" not in capsys.readouterr().out


def test_a_search_tells_that_it_is_under_way(scans: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = load_corpus(scans, cache_dir=cache)
    assert "looking for copies" not in capsys.readouterr().out
    assert corpus.table["group"].nunique() == len(corpus.links) + 12 == 12
    assert "looking for copies among 12 images, once" in capsys.readouterr().out


def test_a_damaged_record_of_copies_is_made_again(scans: Path, cache: Path) -> None:
    first = load(scans, cache)
    table = first.table
    (file,) = (cache / "copies").glob("*/marks.parquet")
    file.write_bytes(file.read_bytes()[:-200])
    pd.testing.assert_frame_equal(load(scans, cache).table, table)


def test_loading_at_another_size_first_changes_nothing(scans: Path, cache: Path, tmp_path: Path) -> None:
    put(scans, "pituitary/large.jpg", encoded(picture(300, 512, 512), "JPEG", quality=80))
    fresh = load(scans, cache)
    for size in (48, 192):
        other = tmp_path / str(size)
        assert load(scans, other, image_size=size).images.shape[-1] == size
        same(load(scans, other), fresh)


def test_a_changed_folder_is_loaded_afresh(scans: Path, cache: Path) -> None:
    first = load(scans, cache)
    put(scans, "glioma_tumor/new.png", encoded(picture(901)))
    second = load(scans, cache)
    assert (len(first), len(second)) == (12, 13)
    assert first.fingerprint != second.fingerprint


@pytest.mark.parametrize("name", sorted(CACHED))
@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "nonsense", "missing"])
def test_a_damaged_cache_is_noticed_and_rebuilt(scans: Path, cache: Path, damage: str, name: str) -> None:
    first = load(scans, cache)
    (file,) = (cache / "corpora").glob(f"*/{name}")
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    content = {"cut": whole[:-20], "flipped": bytes(flipped), "emptied": b"", "nonsense": b"nonsense", "missing": b""}
    file.write_bytes(content[damage])
    if damage == "missing":
        file.unlink()
    same(first, load(scans, cache))
    assert file.read_bytes() == whole


def test_a_load_that_is_killed_while_it_writes_leaves_no_cache(
    scans: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr("brainssl_utils.data.reading.cache.write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            load(scans, cache)
    with monkeypatch.context() as context:
        forbid_decoding(context)
        with pytest.raises(AssertionError, match="decoded"):
            load(scans, cache)
    assert len(load(scans, cache)) == 12


def test_the_fingerprint_is_of_content_and_settings_not_of_place(scans: Path, cache: Path, tmp_path: Path) -> None:
    first = load(scans, cache)
    (tmp_path / "elsewhere").mkdir()
    moved = zipped(scans, tmp_path / "elsewhere" / "scans.zip")
    assert load(moved, cache).fingerprint == first.fingerprint
    assert load(tmp_path / "elsewhere", cache).fingerprint == first.fingerprint
    assert load(scans, cache, image_size=48).fingerprint != first.fingerprint
    (scans / "pituitary" / "img_0.png").rename(scans / "glioma_tumor" / "moved.png")
    assert load(scans, cache).fingerprint != first.fingerprint


def test_hashes_and_groups_do_not_depend_on_the_image_size(scans: Path, cache: Path) -> None:
    shutil.copy(scans / "pituitary/img_0.png", scans / "pituitary/again.png")
    put(scans, "pituitary/jpeg.jpg", encoded(picture(300), "JPEG", quality=80))
    plain, small = load(scans, cache), load(scans, cache, image_size=32)
    assert small.images.shape == (14, 1, 32, 32)
    pd.testing.assert_frame_equal(plain.table, small.table)
    pd.testing.assert_frame_equal(plain.links, small.links)
    group = plain.table.set_index("path")["group"]
    assert group["pituitary/img_0.png"] == group["pituitary/again.png"]
    assert group["pituitary/img_0.png"] == group["pituitary/jpeg.jpg"]
    assert group.nunique() == 12


def test_the_number_of_threads_changes_nothing(scans: Path, cache: Path, tmp_path: Path) -> None:
    same(load(scans, cache, threads=1), load(scans, tmp_path / "other", threads=4))


def test_copies_of_a_file_are_decoded_once_and_keep_their_rows(
    scans: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "z.png"):
        shutil.copy(scans / "pituitary/img_0.png", scans / "pituitary" / name)
    shutil.copy(scans / "pituitary/img_0.png", scans / "glioma_tumor/other_label.png")
    unpacked = load(scans, cache)
    decoded: list[bytes] = []

    def count(data: bytes, *sizes: int) -> Picture:
        decoded.append(data)
        return decode_image(data, *sizes)

    monkeypatch.setattr(ingest, "decode_image", count)
    packed = load(zipped(scans, tmp_path / "scans.zip"), cache, threads=1)
    assert len(packed) == 15
    assert len(decoded) == len(set(decoded)) == 12
    same(packed, unpacked)
    assert len(load(scans, tmp_path / "fresh", threads=2)) == 15
    assert len(decoded) == 24, "loose files too"


def test_threads_that_open_one_zip_at_the_same_time_all_read_it(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_place, opened = ingest.open_place, []

    def slow(*where: object) -> object:
        opened.append(where)
        time.sleep(0.2)  # long enough for every thread to miss what the first one opens
        return open_place(*where)

    monkeypatch.setattr(ingest, "open_place", slow)
    packed = zipped(class_folders(tmp_path / "scans", FOUR, each=40), tmp_path / "packed.zip")
    assert len(load(packed, cache, threads=4)) == 160
    assert len(opened) == 1


def test_a_zip_inside_a_zip_is_read_once_for_all_threads(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer, opened, open_place = tmp_path / "outer", [], ingest.open_place
    outer.mkdir()
    zipped(class_folders(tmp_path / "scans", FOUR), outer / "inner.zip")

    def noted(root: Path, place: str) -> object:
        opened.append(place)
        return open_place(root, place)

    monkeypatch.setattr(ingest, "open_place", noted)
    assert len(load(zipped(outer, tmp_path / "outer.zip"), cache, threads=2)) == 12
    assert opened == ["outer.zip/inner.zip"]


def test_ctrl_c_stops_a_first_load_at_once(scans: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class_folders(scans, FOUR, each=50)
    started: list[bytes] = []

    def slow(data: bytes, size: int) -> Picture:
        started.append(data)
        time.sleep(0.02)
        return decode_image(data, size)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ingest, "decode_image", slow)
    monkeypatch.setattr(ingest.tqdm, "update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load(scans, cache, threads=2)
    assert len(started) <= 5 * ingest._TASK, "of 200 files"
    assert not list((cache / "corpora").glob("*/*"))


def test_every_bad_file_is_reported_and_the_rest_loads(scans: Path, cache: Path) -> None:
    jpeg = encoded(picture(500), "JPEG")
    put(scans, "glioma_tumor/cut.jpg", jpeg[: len(jpeg) // 2])
    put(scans, "glioma_tumor/empty.jpg", b"")
    put(scans, "glioma_tumor/notes.txt", b"patient list")
    put(scans, "glioma_tumor/dot.png", encoded(np.zeros((1, 1), np.uint8)))
    put(scans, "glioma_tumor/deep.png", encoded(Image.fromarray(picture(501).astype(np.uint16) * np.uint16(257))))
    put(scans, "glioma_tumor/Thumbs.db", b"x")
    put(scans, "other/schwannoma/a.png", encoded(picture(502)))
    put(scans, "other/schwannoma/b.png", encoded(picture(503)))
    put(scans, "stray.png", encoded(picture(504)))
    (scans / "more" / "Pituitary").mkdir(parents=True)
    put(scans, "cut.zip", zipped(scans / "pituitary", scans.parent / "x.zip").read_bytes()[:-400])
    corpus = load(scans, cache)
    assert len(corpus) == 13
    assert "truncated" in reasons(corpus, "glioma_tumor/cut.jpg")
    assert reasons(corpus, "glioma_tumor/empty.jpg") == "skipped: empty file (0 bytes)"
    assert "text file" in reasons(corpus, "glioma_tumor/notes.txt")
    assert "too small: 1 x 1 px" in reasons(corpus, "glioma_tumor/dot.png")
    assert reasons(corpus, "glioma_tumor/deep.png").startswith("kept: 16-bit")
    assert "no known class: 2 images" in reasons(corpus, "other/schwannoma")
    assert "class folder without a single file" in reasons(corpus, "more/Pituitary")
    text = corpus.problems.to_string()
    assert "Thumbs.db" in text
    assert "not in a class folder: 1 image" in text
    broken = corpus.problems[corpus.problems["source"] == "cut.zip"]
    assert "download it again" in broken["reason"].item()
    assert set(corpus.problems["action"]) == {"skipped", "kept", "note"}


def test_a_damaged_member_of_a_zip_costs_that_member_alone(scans: Path, cache: Path, tmp_path: Path) -> None:
    path = zipped(scans, tmp_path / "scans.zip")
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        info = archive.infolist()[4]
    data[info.header_offset + 60 + len(info.filename)] ^= 255
    path.write_bytes(data)
    corpus = load(path, cache)
    assert len(corpus) == 11
    assert "CRC" in reasons(corpus, info.filename)


def test_counts_that_differ_from_the_published_ones_are_noted(tmp_path: Path, cache: Path) -> None:
    for i, name in enumerate(("glioma", "meningioma", "notumor", "pituitary")):
        put(tmp_path / "d", f"{name}/Te-{name[:2]}_0001.jpg", encoded(picture(i), "JPEG"))
    corpus = load(tmp_path / "d", cache)
    assert set(corpus.table["source"]) == {"shreyag1103"}
    notes = corpus.problems["reason"].tolist()
    assert "glioma: 1 images loaded, 300 published" in notes
    assert len(notes) == 4


def test_readers_own_class_names_work(tmp_path: Path, cache: Path) -> None:
    folder = class_folders(tmp_path / "own", ("train/Edema", "train/stroke", "test/edema", "test/stroke"), each=2)
    corpus = load(folder, cache)
    assert corpus.classes == ("edema", "stroke")
    assert corpus.table["label"].value_counts().to_dict() == {0: 4, 1: 4}
    assert set(corpus.table["source"]) == {"own"}
    assert list(corpus.summary().index) == ["edema", "stroke", "all"]
    healthy = load(class_folders(tmp_path / "two", ("normal", "stroke"), each=2), cache)
    assert healthy.classes == ("normal", "stroke"), "normal beside strangers is one of the reader's own classes"


def test_a_folder_that_is_unusable_as_a_whole_is_an_error(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CourseError, match="no class folders with images"):
        load(tmp_path / "empty", cache)
    put(tmp_path, "bad/glioma/a.png", b"nonsense")
    with pytest.raises(CourseError, match=r"not one image .* could be read.*a\.png"):
        load(tmp_path / "bad", cache)
    with pytest.raises(CourseError, match="cut short or damaged"):
        load(put(tmp_path, "x.zip", b"PK\x03\x04 but no more"), cache)


@pytest.mark.parametrize(
    ("options", "word"),
    [({"image_size": 8}, "image_size"), ({"image_size": 5000}, "image_size"), ({"threads": 0}, "threads")],
)
def test_parameters_out_of_range_are_named(scans: Path, cache: Path, options: dict[str, int], word: str) -> None:
    with pytest.raises(CourseError, match=word):
        load(scans, cache, **options)


@pytest.mark.parametrize("number", ["", "many", "-5", "1.5", "30", "59", "²", "٦٠٠", "1e3", " 60"])
def test_a_wrong_number_of_phantoms_is_named(cache: Path, number: str) -> None:
    for read in (phantom_files, lambda word: load(word, cache)):
        with pytest.raises(CourseError, match="number of files, 60 or more"):
            read(f"phantoms:{number}")
    assert not cache.exists()


def test_the_word_for_phantoms_says_how_many(tmp_path: Path) -> None:
    words = ("phantoms", "phantoms:60", "phantoms:0240", "archives", "phantoms2:60", tmp_path)
    assert [phantom_files(word) for word in words] == [3000, 60, 240, None, None, None]


def test_the_cache_goes_where_it_is_told(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINSSL_CACHE", str(tmp_path / "from-environment"))
    load_corpus(scans, progress=False)
    assert list((tmp_path / "from-environment" / "corpora").glob("*/images.npy"))
    with pytest.raises(CourseError, match="is a file"):
        load(scans, put(tmp_path, "file", b""))


def test_the_progress_bar_goes_to_stdout_and_only_on_the_first_load(
    scans: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load_corpus(scans, cache_dir=cache)
    shown = capsys.readouterr()
    assert "reading images" in shown.out
    assert "12/12" in shown.out
    assert shown.err == ""
    load_corpus(scans, cache_dir=cache)
    assert capsys.readouterr().out == ""


def test_resized_averages_areas_and_is_kept(scans: Path, cache: Path) -> None:
    corpus = load(scans, cache)
    half = corpus.resized(48)
    expected = corpus.images.reshape(12, 1, 48, 2, 48, 2).mean(axis=(3, 5))
    assert half.dtype == np.uint8
    assert np.abs(half - expected).max() <= 0.5
    assert corpus.resized(48) is half
    assert corpus.resized(96) is corpus.images
    with pytest.raises(CourseError, match="size"):
        corpus.resized(2)


def test_subset_keeps_rows_groups_and_links_together(scans: Path, cache: Path) -> None:
    shutil.copy(scans / "pituitary/img_0.png", scans / "pituitary/again.png")
    corpus = load(scans, cache)
    pair = corpus.links.loc[0, ["a", "b"]].astype(int).tolist()
    rows = [pair[1], 0, pair[0]]
    part = corpus.subset(rows)
    np.testing.assert_array_equal(part.images, corpus.images[rows])
    assert part.table["id"].tolist() == corpus.table["id"].iloc[rows].tolist()
    assert list(part.table.index) == [0, 1, 2]
    assert set(part.links.loc[0, ["a", "b"]].astype(int)) == {0, 2}
    assert part.table["group"].tolist() == corpus.table["group"].iloc[rows].tolist()
    assert part.fingerprint == corpus.subset(rows).fingerprint != corpus.fingerprint
    assert corpus.subset([0, 1]).links.empty
    np.testing.assert_array_equal(corpus.subset(corpus.labels == 2).images, corpus.images[corpus.labels == 2])
    for wrong in ([0, 0], [99], [-1], np.ones(3, dtype=bool)):
        with pytest.raises(CourseError, match="rows"):
            corpus.subset(wrong)


def test_summary_counts_classes_by_source(tmp_path: Path, cache: Path) -> None:
    class_folders(tmp_path / "d" / "a", FOUR, each=2)
    class_folders(tmp_path / "d" / "b", FOUR[:1], each=5, first=3000, prefix="other")
    summary = load(tmp_path / "d", cache).summary()
    assert summary.loc["glioma"].to_dict() == {"a": 2, "b": 5, "all": 7}
    assert summary.loc["all"].to_dict() == {"a": 8, "b": 5, "all": 13}
    assert list(summary.index) == [*CLASSES, "all"]


def test_phantoms_of_another_processor_are_the_same_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = load("phantoms:60", tmp_path / "here")
    original = write.to_jpeg
    with monkeypatch.context() as context:  # stands for other grey levels: other bytes of the same plan
        context.setattr(write, "to_jpeg", lambda picture, changes: original(picture.point(lambda v: v // 2), changes))
        there = load("phantoms:60", tmp_path / "there")
    assert not np.array_equal(here.images, there.images) and list(here.files["sha256"]) != list(there.files["sha256"])
    assert here.fingerprint == there.fingerprint
    monkeypatch.setattr(write, "VERSION", write.VERSION + 1)
    assert load("phantoms:60", tmp_path / "here").fingerprint != here.fingerprint
    # A folder of phantoms is a folder: somebody may have changed its files.
    (folder,) = (tmp_path / "here").glob(f"phantoms-60-v{write.VERSION - 1}")
    assert load(folder, tmp_path / "here").fingerprint != here.fingerprint


def test_phantoms_load_like_any_archives_with_patients_and_planes(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = load("phantoms:60", cache)
    assert corpus.name == "phantoms"
    assert corpus.synthetic
    assert len(corpus) == 60
    assert list(corpus.table["source"].unique()) == ["phantom-a", "phantom-b", "phantom-c"]
    (folder,) = cache.glob("phantoms-60*")
    manifest = pd.read_csv(folder / "manifest.csv", keep_default_na=False).set_index("path")
    rows = manifest.loc[corpus.table["id"]]
    for column, name in (("patient", "patient"), ("plane", "plane"), ("source", "source")):
        assert corpus.table[column].tolist() == rows[name].tolist()
    assert corpus.table["class_name"].tolist() == rows["class"].tolist()
    packed = zipped(folder, tmp_path / "packed.zip")
    assert load(packed, cache).table.drop(columns="group").equals(corpus.table.drop(columns="group"))
    forbid_decoding(monkeypatch)
    same(corpus, load("phantoms:60", cache))


def test_two_loads_at_once_make_the_phantoms_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lessons that run side by side load them at the same moment."""
    made = []

    def plan(*given: int) -> list:
        made.append(given)
        return plan_files(*given)

    monkeypatch.setattr("brainssl_utils.data.phantoms.write.plan_files", plan)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: load("phantoms:60", cache), range(2))
    assert len(made) == 1
    same(first, second)


def test_the_archives_merge_into_the_papers_7671_images(
    real_corpus: Corpus, archives: Path, archives_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(real_corpus) == 7671
    assert list(real_corpus.table["source"].unique()) == list(PAPER_SOURCES)
    summary = real_corpus.summary()
    for name in PAPER_SOURCES:
        assert summary[name].drop("all").to_dict() == SOURCES[name].counts
    assert real_corpus.problems.empty, real_corpus.problems.to_string()
    assert real_corpus.table["id"].is_unique
    forbid_decoding(monkeypatch)
    same(real_corpus, load(archives, archives_cache))


def test_merge_script_writes_the_corpus_in_plain_formats(scans: Path, cache: Path, tmp_path: Path) -> None:
    put(scans, "glioma_tumor/notes.txt", b"patient list")
    command = [sys.executable, str(ROOT / "data_scripts/merge_datasets.py")]
    environment = {**os.environ, "BRAINSSL_CACHE": str(cache), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, str(scans), "--out", str(tmp_path / "merged")], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "text file" in done.stdout
    corpus = load(scans, cache)
    with np.load(tmp_path / "merged.npz") as content:
        np.testing.assert_array_equal(content["images"], corpus.images)
        np.testing.assert_array_equal(content["labels"], corpus.labels)
    assert pd.read_csv(tmp_path / "merged.csv")["id"].tolist() == corpus.table["id"].tolist()
    failed = subprocess.run([*command, str(tmp_path / "none")], env=environment, capture_output=True, text=True)
    assert failed.returncode == 2
    assert "does not exist" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_cache_written_by_other_code_is_left_aside(scans: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(scans, cache)
    monkeypatch.setitem(validity.VERSIONS, "reading", validity.VERSIONS["reading"] + 1)
    with monkeypatch.context() as context:
        forbid_decoding(context)
        with pytest.raises(AssertionError, match="decoded"):
            load(scans, cache)
    assert len(load(scans, cache)) == 12


def test_copies_found_by_other_code_are_left_aside(scans: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = load(scans, cache).table
    monkeypatch.setitem(validity.VERSIONS, "copies", validity.VERSIONS["copies"] + 1)
    with monkeypatch.context() as context:
        forbid_decoding(context)
        forbid_searching(context)
        with pytest.raises(AssertionError, match="compared"):
            _ = load(scans, cache).table
    pd.testing.assert_frame_equal(load(scans, cache).table, table)


def test_no_source_file_is_read_to_tell_whether_a_cache_is_valid(scans: Path, cache: Path) -> None:
    program = (
        "import sys\n"
        "from brainssl_utils.data.loading import load_corpus\n"
        "for watched in (False, True):\n"
        "    if watched:\n"
        "        opened = []\n"
        "        sys.addaudithook(lambda event, what: opened.append(str(what[0])) if event == 'open' else None)\n"
        f"    corpus = load_corpus({str(scans)!r}, cache_dir={str(cache)!r}, progress=False)\n"
        "    corpus.table, corpus.fingerprint\n"
        "print(sum(name.endswith('.npy') for name in opened), [name for name in opened if name.endswith('.py')])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split("\n")[0] == "1 []", done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")
def test_names_that_are_no_valid_text_load_and_stay_told_apart(
    scans: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, raw in enumerate((b"caf\xe9.png", b"caf\xe8.png", "café.png".encode())):
        put(scans, os.fsdecode(b"glioma_tumor/" + raw), encoded(picture(900 + seed)))
    put(scans, os.fsdecode(b"glioma_tumor/br\xf6ken.png"), b"nonsense")
    first = load(scans, cache)
    names = {path for path in first.table["path"] if "caf" in path}
    assert names == {r"glioma_tumor/caf\xe9.png", r"glioma_tumor/caf\xe8.png", "glioma_tumor/café.png"}
    assert "text file" in reasons(first, r"glioma_tumor/br\xf6ken.png")
    forbid_decoding(monkeypatch)
    same(first, load(scans, cache))
