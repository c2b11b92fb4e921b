"""The figshare set: its slices, its patient folds, and its layout."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from image_files import picture, put
from PIL import Image

from brainssl_utils.data.loading import load_corpus
from brainssl_utils.data.reading.figshare import parse_folds, read_figshare_slice
from brainssl_utils.errors import CourseError

LABELS = {"meningioma": 1, "glioma": 2, "pituitary": 3}


def upright(seed: int, height: int = 40, width: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """An int16 image and a mask in its upper right corner."""
    mask = np.zeros((height, width), dtype=bool)
    mask[2:8, width - 9 : width - 2] = True
    return picture(seed, height, width).astype(np.int16) * 20 + 7, mask


def mat(seed: int, label: int, patient: str, userblock: int = 512, leave_out: str = "", **shape: int) -> bytes:
    """A file of the published structure: HDF5 behind MATLAB's header of 512 bytes, arrays transposed."""
    image, mask = upright(seed, **shape)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=userblock) as file:
        content = {
            "image": image.T,
            "tumorMask": mask.T.astype(np.uint8),
            "tumorBorder": np.array([[2.0, 21.0, 8.0, 28.0, 2.0, 21.0]]),
            "label": np.array([[float(label)]]),
            "PID": np.array([[ord(c)] for c in patient], dtype=np.uint16),
        }
        for name, value in content.items():
            if name != leave_out:
                file[f"cjdata/{name}"] = value
    data = bytearray(buffer.getvalue())
    if userblock:
        data[:19] = b"MATLAB 7.3 MAT-file"
    return bytes(data)


def fold_file(folds: list[int]) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=512) as file:
        file["cvind"] = np.array([folds], dtype=np.float64)
    return buffer.getvalue()


SLICES = {n: mat(n, 1 + n % 3, f"1003{n // 2:02d}") for n in range(1, 13)}
FOLDS = [1 + (n // 2) % 5 for n in range(1, 13)]


@pytest.mark.parametrize("userblock", [0, 512])
def test_a_slice_is_read_upright_with_mask_border_label_and_patient(tmp_path: Path, userblock: int) -> None:
    path = put(tmp_path, "7.mat", mat(3, 2, "MR040240C", userblock))
    part = read_figshare_slice(path)
    image, mask = upright(3)
    np.testing.assert_array_equal(part.image, image)
    np.testing.assert_array_equal(part.mask, mask)
    assert part.image.dtype == np.int16
    assert part.mask.dtype == bool
    assert part.border.tolist() == [[2.0, 21.0], [8.0, 28.0], [2.0, 21.0]]
    assert (part.label, part.patient) == ("glioma", "MR040240C")
    grey = part.grey()
    assert grey.dtype == np.uint8
    assert (grey.min(), grey.max()) == (0, 255)
    assert np.corrcoef(grey.ravel(), image.ravel())[0, 1] > 0.9999


@pytest.mark.parametrize(("name", "code"), LABELS.items())
def test_labels_are_the_publishers(name: str, code: int) -> None:
    assert read_figshare_slice(mat(1, code, "1")).label == name


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"MATLAB 5.0 MAT-file" + b"\0" * 600, "not a MATLAB v7.3"),
        (SLICES[1][: len(SLICES[1]) // 2], "cannot be|missing"),
        (mat(1, 1, "1", leave_out="tumorMask"), "tumorMask"),
        (mat(1, 1, "1", leave_out="PID"), "PID"),
        (mat(1, 9, "1"), "label 9"),
    ],
)
def test_a_file_of_another_structure_says_what_is_wrong(data: bytes, reason: str) -> None:
    with pytest.raises(CourseError, match=reason):
        read_figshare_slice(data)


def test_a_missing_slice_is_named(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match=r"9\.mat cannot be read"):
        read_figshare_slice(tmp_path / "9.mat")


def test_folds_are_read_from_both_matlab_formats() -> None:
    from scipy.io import savemat

    buffer = io.BytesIO()
    savemat(buffer, {"cvind": np.array([FOLDS], dtype=np.float64)})
    assert parse_folds(fold_file(FOLDS)).tolist() == parse_folds(buffer.getvalue()).tolist() == FOLDS


def _unpacked(folder: Path) -> None:
    for n, data in SLICES.items():
        put(folder, f"{n}.mat", data)
    put(folder, "cvind.mat", fold_file(FOLDS))


def _inner_zips(folder: Path) -> None:
    folder.mkdir()
    for first in (1, 7):
        with zipfile.ZipFile(folder / f"brainTumorDataPublic_{first}-{first + 5}.zip", "w") as archive:
            for n in range(first, first + 6):
                archive.writestr(f"{n}.mat", SLICES[n])
    put(folder, "cvind.mat", fold_file(FOLDS))
    put(folder, "README.txt", b"read me")


def _zips_in_a_zip(folder: Path) -> None:
    inner = folder.with_name("inner")
    _inner_zips(inner)
    folder.mkdir()
    with zipfile.ZipFile(folder / "1512427.zip", "w") as archive:
        for path in sorted(inner.iterdir()):
            archive.write(path, path.name)


@pytest.mark.parametrize("layout", [_unpacked, _inner_zips, _zips_in_a_zip])
def test_every_packing_gives_the_same_rows(tmp_path: Path, layout: object) -> None:
    layout(tmp_path / "set")  # type: ignore[operator]
    corpus = load_corpus(tmp_path / "set", cache_dir=tmp_path / "cache", progress=False)
    table = corpus.table
    assert table["id"].tolist() == [f"figshare/{n}.mat" for n in range(1, 13)]
    assert table["patient"].tolist() == [f"1003{n // 2:02d}" for n in range(1, 13)]
    assert table["fold"].tolist() == FOLDS
    assert [LABELS[name] for name in table["class_name"]] == [1 + n % 3 for n in range(1, 13)]
    assert (table["width"].iloc[0], table["height"].iloc[0]) == (30, 40)
    grey = Image.fromarray(read_figshare_slice(SLICES[1]).grey()).resize((96, 96), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(corpus.images[0, 0], np.asarray(grey))
    assert set(corpus.problems["reason"].str.partition(":")[0]) == {"meningioma", "glioma", "pituitary"}, "counts alone"


def test_folds_are_missing_where_there_are_none(tmp_path: Path) -> None:
    _unpacked(tmp_path / "set")
    (tmp_path / "set" / "cvind.mat").unlink()
    put(tmp_path / "set", "3.mat", b"damaged")
    corpus = load_corpus(tmp_path / "set", cache_dir=tmp_path / "cache", progress=False)
    assert len(corpus) == 11
    assert corpus.table["fold"].isna().all()
    reasons = corpus.problems.set_index("path")["reason"]
    assert "patient folds are missing" in reasons["cvind.mat"]
    assert "v7.3" in reasons["3.mat"]


def test_slices_beside_class_folders_make_one_corpus(tmp_path: Path) -> None:
    _inner_zips(tmp_path / "set")
    for k in range(3):
        put(tmp_path, f"set/scans/no_tumor/{k}.png", _png(700 + k))
    corpus = load_corpus(tmp_path / "set", cache_dir=tmp_path / "cache", progress=False)
    assert corpus.table["source"].value_counts().to_dict() == {"figshare": 12, "scans": 3}
    assert corpus.table.loc[corpus.table["source"] == "scans", "fold"].isna().all()


def test_slices_zipped_and_unpacked_are_loaded_once(tmp_path: Path) -> None:
    _inner_zips(tmp_path / "set")
    _unpacked(tmp_path / "set" / "unpacked")
    corpus = load_corpus(tmp_path / "set", cache_dir=tmp_path / "cache", progress=False)
    assert len(corpus) == 12
    assert corpus.problems["reason"].str.contains("loaded once").any()


def _png(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture(seed)).save(buffer, "PNG")
    return buffer.getvalue()
