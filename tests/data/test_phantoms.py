"""What phantoms promise: the same bytes again, the archives' layouts, an honest manifest, copies, real tumours."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from brainssl_utils.data.phantoms.anatomy import Head, canonical_head
from brainssl_utils.data.phantoms.lesions import lesion_distance
from brainssl_utils.data.phantoms.patients import PLANES, TUMOURS, draw_patient, plane_points, render_slice
from brainssl_utils.data.phantoms.plan import COUNTS, SOURCES, class_counts, plan_files
from brainssl_utils.data.phantoms.write import VERSION, changed, write_phantoms
from brainssl_utils.data.reading.sources import CLASSES
from brainssl_utils.errors import CourseError

N_FILES = 120
PATTERNS = {
    "phantom-a": r"(glioma/Te-gl|meningioma/Te-me|notumor/Te-no|pituitary/Te-pi)(Tr)?_\d{4}\.jpg",
    "phantom-b": r"Training/(glioma_tumor/gg \(\d+\)|meningioma_tumor/m(1\(| \(|2 \(|3 \()\d+\)|"
    r"no_tumor/image ?\(\d+\)|pituitary_tumor/p \(\d+\))\.jpg|"
    r"Testing/(glioma|meningioma|no|pituitary)_tumor/image(\(\d+\))?\.jpg",
    "phantom-c": r"Data/(glioma_tumor/G|meningioma_tumor/M|normal/N|pituitary_tumor/P)_\d+\.jpg",
}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("phantoms") / "set", n_files=N_FILES, seed=3)


@pytest.fixture(scope="session")
def manifest(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "manifest.csv", keep_default_na=False)


@pytest.fixture(scope="session")
def head() -> Head:
    return canonical_head()


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def pixels(path: Path, to_head: bool = False) -> np.ndarray:
    """(96, 96) grey levels of a file, of the whole frame or of the head alone."""
    image = Image.open(path).convert("L")
    if to_head:
        [image] = changed([image], ["crop-0.0"])
    return np.asarray(image.resize((96, 96), Image.Resampling.BOX), dtype=float)


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_workers(tmp_path: Path) -> None:
    one = write_phantoms(tmp_path / "one", n_files=60, seed=5, workers=1)
    three = write_phantoms(tmp_path / "three", n_files=60, seed=5, workers=3)
    assert digests(one) == digests(three)


def test_whoever_changes_files_or_pictures_raises_the_version(manifest: pd.DataFrame, head: Head) -> None:
    """What version 3 draws. Other numbers here: raise VERSION in `phantoms/write.py`, then store the new ones.

    Pictures are compared before JPEG, whose bytes depend on Pillow's libjpeg, and by mean and spread, which other
    processors' rounding of single pixels does not move by more than the tolerance.
    """
    listing = manifest.drop(columns="source").to_csv(index=False, lineterminator="\n")
    made = [
        [(picture.mean(), picture.std()) for picture in (render_slice(patient, head, plane) for plane in PLANES)]
        for patient in (draw_patient(0, index, class_name, head) for index, class_name in enumerate(CLASSES))
    ]
    stored = [
        [(74.14, 66.42), (73.56, 66.16), (79.16, 66.37)],
        [(65.22, 64.57), (52.45, 62.92), (58.01, 61.70)],
        [(29.11, 35.47), (29.64, 36.55), (29.59, 36.94)],
        [(28.45, 37.68), (30.39, 38.75), (44.76, 38.11)],
    ]
    assert VERSION == 3, "new version: store the new numbers in this test"
    assert hashlib.sha256(listing.encode()).hexdigest()[:16] == "f227388efa0d08ed"
    np.testing.assert_allclose(made, stored, rtol=0, atol=0.02)


def test_another_seed_gives_other_pictures(folder: Path, tmp_path: Path) -> None:
    other = write_phantoms(tmp_path / "other", n_files=60, seed=4)
    assert not set(digests(folder).values()) & set(digests(other).values())


def test_files_are_laid_out_as_in_the_archives(folder: Path) -> None:
    for source, pattern in PATTERNS.items():
        names = [p.relative_to(folder / source).as_posix() for p in (folder / source).rglob("*") if p.is_file()]
        assert names
        assert [name for name in names if not re.fullmatch(pattern, name)] == []


def test_patterns_are_those_of_the_real_archives(archives: Path) -> None:
    from zipfile import ZipFile

    zips = {
        "phantom-a": "brain-mri-scans-for-brain-tumor-classification.zip",
        "phantom-b": "brain-tumor-classification-mri.zip",
        "phantom-c": "brain-tumors-256x256.emulated.zip",
    }
    odd_names = r"Training/no_tumor/(image|\d+)\.jpg"  # nine of 3264 follow no pattern
    for source, name in zips.items():
        files = [n for n in ZipFile(archives / name).namelist() if n.endswith(".jpg")]
        assert [n for n in files if not re.fullmatch(f"{PATTERNS[source]}|{odd_names}", n)] == []


def test_sizes_and_modes_are_those_of_the_sources(folder: Path, manifest: pd.DataFrame) -> None:
    forms: dict[str, Counter[tuple[tuple[int, int], str]]] = {source: Counter() for source in SOURCES}
    for source, path in zip(manifest["source"], manifest["path"]):
        with Image.open(folder / path) as image:
            assert image.format == "JPEG"
            forms[source][image.size, image.mode] += 1
    assert set(forms["phantom-a"]) == {((224, 224), "L")}
    assert set(forms["phantom-c"]) == {((256, 256), "L")}
    assert len({size for size, _ in forms["phantom-b"]}) > 10
    assert {mode for _, mode in forms["phantom-b"]} == {"L", "RGB"}


def test_the_manifest_has_one_true_row_a_file(folder: Path, manifest: pd.DataFrame) -> None:
    assert list(manifest.columns) == ["source", "path", "patient", "plane", "class", "copy_of", "change"]
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*.jpg")}
    assert set(manifest["path"]) == files
    assert len(manifest) == len(files) == N_FILES
    assert (manifest["path"].str.split("/").str[0] == manifest["source"]).all()
    short = manifest["class"].map({"glioma": "gl", "meningioma": "me", "no_tumor": "no", "pituitary": "pi"})
    of_a = manifest["source"] == "phantom-a"
    assert (manifest["path"].str.extract(r"/Te-(..)")[0][of_a] == short[of_a]).all()


def test_every_class_source_and_plane_is_there(manifest: pd.DataFrame) -> None:
    assert (manifest.groupby(["source", "class"]).size().unstack() >= 2).all(axis=None)
    assert set(manifest["class"]) == set(CLASSES)
    planes = manifest.groupby(["class", "plane"]).size().unstack()
    assert set(planes.columns) == set(PLANES)
    assert planes.notna().all(axis=None)


def test_counts_keep_the_archives_proportions() -> None:
    whole = class_counts(7671)
    assert whole == COUNTS
    for n in (60, 61, 120, 1500):
        assert sum(sum(row.values()) for row in class_counts(n).values()) == n
        assert len(plan_files(n, 0)) == n


def test_copies_look_like_their_originals(folder: Path, manifest: pd.DataFrame) -> None:
    copies = manifest[manifest["copy_of"] != ""]
    rows = manifest.set_index("path")
    for row in copies.itertuples():
        refined = "crop" in row.change  # another frame: compare the heads
        assert refined == (row.source == "phantom-c")
        original, copy = (pixels(folder / path, to_head=refined) for path in (row.copy_of, row.path))
        if "flip" in row.change:
            copy = copy[:, ::-1]
        assert correlation(original, copy) > 0.97, row.path
        if row.change == "exact":
            assert (folder / row.path).read_bytes() == (folder / row.copy_of).read_bytes()
        assert rows.loc[row.copy_of, "patient"] == row.patient
        assert rows.loc[row.copy_of, "copy_of"] == ""


def test_overlaps_between_and_within_sources_are_those_of_the_archives() -> None:
    files = plan_files(1500, 0)
    copies = Counter(file.source for file in files if file.copy_of)
    totals = Counter(file.source for file in files)
    assert all(file.copy_of.source == "phantom-b" for file in files if file.copy_of)
    assert copies["phantom-a"] / totals["phantom-a"] == pytest.approx(1 / 3, abs=0.02)
    assert copies["phantom-b"] / totals["phantom-b"] == pytest.approx(0.2, abs=0.02)
    assert copies["phantom-c"] / totals["phantom-c"] > 0.85
    testing = [file for file in files if file.testing]
    assert len(testing) / totals["phantom-b"] == pytest.approx(0.12, abs=0.04)
    assert sum(file.copy_of is not None for file in testing) > 0.4 * len(testing)


@pytest.mark.parametrize("n_files", [N_FILES, 400, 1500])
def test_two_pictures_carry_two_labels(n_files: int) -> None:
    swapped = [f for f in plan_files(n_files, 3) if f.copy_of and f.copy_of.class_name != f.class_name]
    assert len(swapped) == 2
    assert len({file.copy_of.path for file in swapped}) == 2
    for file in swapped:
        assert file.path.startswith("phantom-b/Testing/glioma_tumor/")
        assert file.copy_of.path.startswith("phantom-b/Training/meningioma_tumor/")


def test_planes_sources_and_contrasts_do_not_give_the_class_away(head: Head) -> None:
    files = [file for file in plan_files(1500, 0) if not file.copy_of]
    planes = pd.crosstab([f.class_name for f in files], [f.plane for f in files], normalize="index")
    assert (planes.max() - planes.min()).max() < 0.2
    rows = []
    for i in range(400):
        patient = draw_patient(0, i, CLASSES[i % 4], head)
        rows.append((CLASSES[i % 4], patient.contrast, patient.view, patient.noise))
    table = pd.DataFrame(rows, columns=["class", "contrast", "view", "noise"])
    contrasts = pd.crosstab(table["class"], table["contrast"], normalize="index")
    assert (contrasts.max() - contrasts.min()).max() < 0.2
    spread = table.groupby("class")[["view", "noise"]].mean()
    assert ((spread.max() - spread.min()) / table[["view", "noise"]].std() < 0.5).all()


@pytest.mark.parametrize("class_name", TUMOURS)
def test_a_tumour_changes_the_picture_where_it_is_and_nowhere_else(head: Head, class_name: str) -> None:
    changed = []
    for index in range(4):
        patient = draw_patient(11, index, class_name, head)
        assert patient.lesion is not None
        for plane in PLANES:
            healthy = render_slice(replace(patient, lesion=None), head, plane).astype(float)
            difference = np.abs(render_slice(patient, head, plane) - healthy)
            distance = lesion_distance(patient.lesion, plane_points(patient, plane, 0.0))
            inside = distance < 0.9
            far = distance > max(patient.lesion.oedema, 1.7) + 1.5
            assert inside.sum() > 40
            assert difference[far].max(initial=0) == 0
            changed.append(difference[inside].mean())
    assert np.median(changed) > 25  # grey levels of 255


def test_no_tumour_means_no_lesion(head: Head) -> None:
    patient = draw_patient(11, 0, "no_tumor", head)
    assert patient.lesion is None


def test_heads_fill_most_of_a_dark_frame(folder: Path, manifest: pd.DataFrame) -> None:
    originals = manifest[(manifest["copy_of"] == "") & (manifest["source"] == "phantom-a")]
    for path in originals["path"]:
        picture = pixels(folder / path)
        corners = np.concatenate([picture[:6, :6].ravel(), picture[:6, -6:].ravel()])
        assert corners.mean() < 40
        filled = picture > 30
        assert 0.35 < max(np.ptp(np.flatnonzero(filled.mean(axis=axis) > 0.1)) for axis in (0, 1)) / 96 <= 1


def test_a_finished_set_is_kept_and_anything_else_refused(folder: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert write_phantoms(folder, n_files=N_FILES, seed=3) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    with pytest.raises(CourseError, match="n_files"):
        write_phantoms(folder, n_files=N_FILES + 1, seed=3)
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(CourseError, match="not a folder of phantoms"):
        write_phantoms(tmp_path, n_files=60)
    with pytest.raises(CourseError, match="at least 60"):
        write_phantoms(tmp_path / "new", n_files=20)
    with pytest.raises(CourseError, match="seed"):
        write_phantoms(tmp_path / "new", n_files=60, seed=-1)
    assert not (tmp_path / "new").exists()


def test_an_interrupted_run_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("brainssl_utils.data.phantoms.write.render_slice", fail)
    with pytest.raises(OSError, match="disk full"):
        write_phantoms(tmp_path / "set", n_files=60)
    assert list(tmp_path.iterdir()) == []


def replaced_as_on_windows(source: Path, target: Path) -> None:
    if target.exists():
        raise PermissionError(13, "Access is denied", str(target))
    source.rename(target)


def test_an_empty_folder_is_filled_where_nothing_may_be_moved_onto_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brainssl_utils.data.phantoms.write.os.replace", replaced_as_on_windows)
    (tmp_path / "set").mkdir()
    assert len(list(write_phantoms(tmp_path / "set", n_files=60).rglob("*.jpg"))) == 60
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_of_two_processes_the_slower_keeps_the_set_of_the_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(source: Path, target: Path) -> None:
        shutil.copytree(source, target)
        replaced_as_on_windows(source, target)

    monkeypatch.setattr("brainssl_utils.data.phantoms.write._write_patient", lambda *_: None)
    monkeypatch.setattr("brainssl_utils.data.phantoms.write.os.replace", overtaken)
    assert (write_phantoms(tmp_path / "set", n_files=60) / "phantoms.json").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_set_that_cannot_be_moved_into_place_is_told_with_its_own_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Access is denied")

    monkeypatch.setattr("brainssl_utils.data.phantoms.write._write_patient", lambda *_: None)
    monkeypatch.setattr("brainssl_utils.data.phantoms.write.os.replace", refuse)
    with pytest.raises(PermissionError, match="Access is denied"):
        write_phantoms(tmp_path / "set", n_files=60)
    assert list(tmp_path.iterdir()) == []
