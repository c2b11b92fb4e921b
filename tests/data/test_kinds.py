"""Other people's images: what is a class, what is one file, what a table tells, and what is said of the rest."""

from __future__ import annotations

import gzip
import io
import json
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest
from image_files import class_folders, encoded, picture, put, zipped
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from brainssl_utils import fit, grouped_split, paper_split, patient_split
from brainssl_utils.data.conflicts import label_conflicts, resolve_conflicts
from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.loading import load_corpus
from brainssl_utils.data.reading.decode import decode_image, depth_scales
from brainssl_utils.data.reading.names import class_order, fold_name, patient_in_path
from brainssl_utils.data.reading.sources import CLASSES, SOURCES, fits_counts, recognise
from brainssl_utils.errors import CourseError
from brainssl_utils.methods import make_method


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def load(folder: Path, cache: Path, **options: object) -> Corpus:
    return load_corpus(folder, cache_dir=cache, progress=False, **options)  # type: ignore[arg-type]


def said(corpus: Corpus) -> str:
    return " | ".join(f"{p.source}/{p.path}: {p.reason}" for p in corpus.problems.itertuples())


def by_class(corpus: Corpus) -> dict[str, int]:
    return corpus.files["class_name"].value_counts().to_dict()


# Names


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Stroke", "stroke"), ("No-Tumour", "no_tumor"), ("tümörlü", unicodedata.normalize("NFD", "TÜMÖRLÜ")),
        ("SAĞLIKLI", "sağlıklı"), ("İnme", "inme"), ("Grade\u20112", "grade 2"), ("n (1)", "n(1)"), ("type_1_2", "type 1-2"),
    ],
)  # fmt: skip
def test_spellings_of_one_name_are_one(one: str, other: str) -> None:
    assert fold_name(one) == fold_name(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("T1", "T1+"), ("HER2+", "HER2-"), ("HER2", "HER2-"), ("1.5", "15"), ("type_1_2", "type_12"), ("-1", "1"),
        ("score -1", "score 1"), ("<5", ">5"), ("脑肿瘤", "正常"), ("ग्लियोमा", "ग्लयम"), ("naïve", "naive"),
    ],
)  # fmt: skip
def test_names_that_differ_by_a_sign_or_a_letter_are_two(one: str, other: str) -> None:
    assert fold_name(one) != fold_name(other)


def test_labels_follow_names_and_numbers_their_value() -> None:
    assert class_order(["b", "a", "10"]) == ("10", "a", "b")
    assert class_order(["10", "9", "0"]) == ("0", "9", "10")


def test_one_class_spelt_in_two_ways_is_one_whatever_the_order_in_a_zip(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "own.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for k, folder in enumerate(("train/Stroke", "train/Edema", "test/stroke", "test/edema") * 3):
            archive.writestr(f"{folder}/{k}.png", encoded(picture(k)))
    assert list(by_class(load(path, cache)).values()) == [6, 6]


def test_names_composed_in_two_ways_are_one_class(tmp_path: Path, cache: Path) -> None:
    for form in ("NFC", "NFD"):
        class_folders(
            tmp_path / "d", tuple(f"{form}/{unicodedata.normalize(form, name)}" for name in ("tümörlü", "sağlıklı"))
        )
    corpus = load(tmp_path / "d", cache)
    assert corpus.classes == ("sağlıklı", "tümörlü")
    assert all(unicodedata.is_normalized("NFC", name) for name in corpus.classes)


def test_names_in_a_zip_are_utf8_where_they_can_be_whatever_their_flag(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "d.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for k in range(6):
            archive.writestr(f"{'胶质瘤' if k % 2 else 'andere'}/{k}.png", encoded(picture(k)))
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        offsets = [info.header_offset for info in archive.infolist() if info.flag_bits & 0x800]
    changed = bytearray(data)
    for at in offsets:
        changed[at + 7] &= ~0x08
    at = data.find(b"PK\x01\x02")
    while at >= 0:
        changed[at + 9] &= ~0x08
        at = data.find(b"PK\x01\x02", at + 1)
    path.write_bytes(changed)
    corpus = load(path, cache)
    assert corpus.classes == ("andere", "胶质瘤")
    assert len(corpus) == 6


def test_files_without_an_ending_are_pictures_too(tmp_path: Path, cache: Path) -> None:
    for k in range(4):
        put(tmp_path / "d", f"cats/{k}", encoded(picture(k)))
        put(tmp_path / "d", f"dogs/{k}.png", encoded(picture(10 + k)))
    put(tmp_path / "d", "more/inner", zipped(tmp_path / "d", tmp_path / "z.zip").read_bytes())
    corpus = load(tmp_path / "d", cache)
    assert by_class(corpus) == {"cats": 4, "dogs": 4}
    assert "1 zip without an ending is not read: rename it" in said(corpus)


def test_classes_that_differ_by_a_sign_stay_apart(tmp_path: Path, cache: Path) -> None:
    assert load(class_folders(tmp_path / "d", ("T1", "T1+")), cache).classes == ("T1", "T1+")


# One file


def test_two_hospitals_with_equal_names_and_sizes_are_both_loaded(tmp_path: Path, cache: Path) -> None:
    for first, hospital in enumerate(("a", "b")):
        for k in range(8):
            pixels = picture(1000 * first + k)
            put(tmp_path / "d", f"{hospital}/{('glioma', 'notumor')[k % 2]}/{k}.bmp", encoded(pixels, "BMP"))
    corpus = load(tmp_path / "d", cache)
    assert len(corpus) == 16
    assert set(corpus.files["source"]) == {"a", "b"}
    packed = tmp_path / "packed"
    packed.mkdir()
    for name in ("a", "b"):
        zipped(tmp_path / "d" / name, packed / f"{name}.zip")
    assert len(load(packed, cache)) == 16


def test_slices_of_one_number_and_other_content_are_both_kept(tmp_path: Path, cache: Path) -> None:
    from test_figshare import fold_file, mat

    for n in (1, 2, 3):
        put(tmp_path / "d", f"one/{n}.mat", mat(n, 1 + n % 3, "100"))
        put(tmp_path / "d", f"two/{n}.mat", mat(n if n == 1 else 50 + n, 1 + n % 3, "100"))
    put(tmp_path / "d", "cvind.mat", fold_file([1, 2, 3]))
    corpus = load(tmp_path / "d", cache)
    assert corpus.files["path"].tolist() == ["1.mat", "2.mat", "2.mat#2", "3.mat", "3.mat#2"]
    assert corpus.files["fold"].isna().tolist() == [False, False, True, False, True]
    assert "1 slices are also elsewhere" in said(corpus)


# What is a class


@pytest.mark.parametrize(
    ("folders", "classes"),
    [
        (("avec_labels/cancer", "avec_labels/normal", "sans_label"), ("cancer", "normal")),
        (("yes", "no", "unlabeled"), ("no", "yes")),
        (("yes", "no", "pool", "images"), ("no", "yes")),
        (("train/yes", "train/no", "test"), ("no", "yes")),
        (tuple(f"{c}/patient_{k}" for c in ("benign", "malignant") for k in range(8)), ("benign", "malignant")),
        (tuple(f"{c}/p{4 * i + k}" for i, c in enumerate(("astro", "oligo")) for k in range(4)), ("astro", "oligo")),
        (tuple(f"patient_{k}/{c}" for c in ("astro", "oligo") for k in range(4)), ("astro", "oligo")),
        (tuple(f"{h}/{c}" for h in ("rome", "bern", "oslo") for c in ("a", "b", "c", "d")), ("a", "b", "c", "d")),
        (("set1/yes", "set1/no", "set2/tumor", "set2/normal"), ("no", "normal", "tumor", "yes")),
        (tuple(f"{c}/{p}" for c in ("astro", "oligo") for p in ("axial", "coronal")), ("astro", "oligo")),
        (("axial", "coronal", "sagittal"), ("axial", "coronal", "sagittal")),
        (tuple(f"c{k:02d}" for k in range(5)), tuple(f"c{k:02d}" for k in range(5))),
        (("a/images", "b/images", "c"), ("a", "b", "c")),
        (("a/Smith", "a/Jones", "a/Bond", "b/Doe", "b/Roe", "b/Moe"), ("a", "b")),
        (("Glioma", "Meningioma", "Ependymoma", "Germinoma"), ("Ependymoma", "Germinoma", "glioma", "meningioma")),
        (("train/Glioma", "train/Stroke", "test/glioma", "test/stroke"), ("glioma", "stroke")),
        (("glioma/p1", "Stroke/p2", "Stroke/p3"), ("Stroke", "glioma")),
        (("glioma", "notumor", "unlabelled"), CLASSES),
    ],
)  # fmt: skip
def test_class_folders_are_found_at_their_level(
    tmp_path: Path, cache: Path, folders: tuple[str, ...], classes: tuple[str, ...]
) -> None:
    corpus = load(class_folders(tmp_path / "d", folders, each=2), cache)
    assert corpus.classes == classes
    assert len(corpus) == 2 * len(folders)
    assert set(corpus.files["class_name"]) - {""} <= set(classes)


def test_a_choice_between_levels_is_said(tmp_path: Path, cache: Path) -> None:
    corpus = load(class_folders(tmp_path / "d", ("a/Smith", "a/Jones", "a/Bond", "b/Doe", "b/Roe")), cache)
    assert "several levels could be classes; taken: a, b" in said(corpus)


@pytest.mark.parametrize(
    ("wanted", "counts"),
    [
        ({"yes": "tumor", "no": "no_tumor"}, {"tumor": 3, "no_tumor": 3}),
        ({"Yes": "tumor", "no": None}, {"tumor": 3, "": 3}),
        (["masks", "yes"], {"masks": 3, "yes": 3}),
        (1, {"set": 6}),
        (-1, {"yes": 3, "no": 3}),
    ],
)
def test_the_user_decides_what_the_classes_are(
    tmp_path: Path, cache: Path, wanted: object, counts: dict[str, int]
) -> None:
    class_folders(tmp_path / "d", ("set/yes", "set/no", "masks"))
    assert by_class(load(tmp_path / "d", cache, classes=wanted)) == counts


@pytest.mark.parametrize("wanted", ["yes", [], {}, 0, True, ["yes", "maybe"], 7])
def test_classes_that_cannot_be_are_refused(tmp_path: Path, cache: Path, wanted: object) -> None:
    with pytest.raises(CourseError, match="classes"):
        load(class_folders(tmp_path / "d", ("yes", "no")), cache, classes=wanted)


def test_masks_and_predictions_are_set_aside_and_said(tmp_path: Path, cache: Path) -> None:
    class_folders(tmp_path / "d", ("glioma/images", "glioma/masks", "notumor", "pred"))
    put(tmp_path / "d", "notumor/a (1).png", encoded(picture(800)))
    put(tmp_path / "d", "notumor/a (1)_mask.png", encoded(picture(801)))
    put(tmp_path / "d", "notumor/a (1)_mask_1.png", encoded(picture(802)))
    corpus = load(tmp_path / "d", cache)
    assert by_class(corpus) == {"glioma": 3, "no_tumor": 4}
    assert said(corpus).count("set aside") == 3


@pytest.mark.parametrize("n", [2, 10, 140, 300])
def test_any_number_of_classes_has_labels_of_its_own(tmp_path: Path, cache: Path, n: int) -> None:
    folder = class_folders(tmp_path / "d", tuple(f"c{k:03d}" for k in range(n)), each=1)
    for _ in range(2):
        corpus = load(folder, cache)
        assert corpus.labels.tolist() == list(range(n))
        assert corpus.files["label"].dtype == np.int32


# Images without a class


def test_images_without_a_class_take_part_in_pre_training_alone(tmp_path: Path, cache: Path) -> None:
    class_folders(tmp_path / "d", ("yes", "no"), each=20)
    class_folders(tmp_path / "d", ("pool",), each=15, first=9000)
    put(tmp_path / "d", "pool/copy.png", (tmp_path / "d/yes/img_0.png").read_bytes())
    corpus = load(tmp_path / "d", cache)
    without = np.flatnonzero(corpus.labels == -1)
    assert len(without) == 16
    assert set(corpus.files["class_name"].iloc[without]) == {""}
    assert corpus.summary()["all"].to_dict() == {"no": 20, "yes": 20, "(no class)": 16, "all": 56}
    assert set(without) <= set(paper_split(corpus).unlabeled)
    for seed in range(8):
        split = grouped_split(corpus, seed)
        assert not set(without) & {*split.train, *split.test}
        group = corpus.table["group"].to_numpy()
        assert not set(group[split.unlabeled]) & set(group[split.test])
        assert set(without) <= {*split.unlabeled, *split.unused}
    assert len(grouped_split(corpus, unlabeled=5).unlabeled) == 5
    assert label_conflicts(corpus).empty
    assert resolve_conflicts(corpus, "drop") is corpus
    other = tmp_path / "e"
    class_folders(other, ("yes", "no"), each=20)
    assert load(other, cache).fingerprint != corpus.fingerprint


def test_a_patient_split_leaves_those_who_could_be_anyone_unused(tmp_path: Path, cache: Path) -> None:
    folder = class_folders(tmp_path / "d", ("images",), each=60)
    rows = [("file", "label", "patient")]
    rows += [(f"img_{k}.png", "" if k < 12 else "ab"[k % 2], "" if k < 4 else f"p{k // 3}") for k in range(60)]
    (folder / "t.csv").write_text("\n".join(map(",".join, rows)))
    corpus = load(folder, cache, table="t.csv")
    split = patient_split(corpus)
    patient = corpus.files["patient"].to_numpy()
    assert set(np.flatnonzero(patient == "")) <= set(split.unused)
    learned = {*patient[split.train], *patient[split.unlabeled]}
    assert not learned & set(patient[split.test])
    assert (corpus.labels[split.unlabeled] == -1).any()


@pytest.mark.parametrize(
    ("path", "patient"),
    [
        ("yes/patient_03/1.png", "patient_03"), ("patient_03/yes/1.png", "patient_03"), ("no/Subject 7/a/1.png", "Subject 7"),
        ("no/case12/1.png", "case12"), ("yes/sub-OAS30_run-1_T1w.png", "sub-OAS30"), ("sub-09/ses-1/no/1.png", "sub-09"),
        ("yes/Patient_TCGA_4941/1.png", "Patient_TCGA_4941"),
        ("yes/patients/1.png", ""), ("yes/patient_1.png", ""), ("subtle-1/1.png", ""), ("Te-gl_0010.jpg", ""), ("p1/1.png", ""),
    ],
)  # fmt: skip
def test_folders_called_after_people_say_whose_image_it_is(path: str, patient: str) -> None:
    assert patient_in_path(path) == patient


@pytest.mark.parametrize("layout", ["{name}/patient_{k}", "patient_{k}/{name}"])
def test_patients_by_their_folders_stay_apart(tmp_path: Path, cache: Path, layout: str) -> None:
    for number, name in enumerate(("yes", "no")):
        for k in range(12):
            folder = layout.format(name=name, k=k + (12 * number if layout.startswith("{") else 0))
            for image in range(2):
                put(tmp_path / "d", f"{folder}/{image}.png", encoded(picture(100 * number + 2 * k + image)))
    corpus = load(tmp_path / "d", cache)
    assert by_class(corpus) == {"yes": 24, "no": 24}
    split, patient = patient_split(corpus), corpus.files["patient"].to_numpy()
    assert set(patient) == {f"patient_{k}" for k in range(24 if layout.startswith("{") else 12)}
    assert not {*patient[split.train], *patient[split.unlabeled]} & set(patient[split.test])


def test_fit_reads_no_label_of_an_image_without_a_class(tmp_path: Path, cache: Path) -> None:
    class_folders(tmp_path / "d", ("yes", "no"), each=20)
    class_folders(tmp_path / "d", ("pool",), each=8, first=9000)
    corpus = load(tmp_path / "d", cache)
    split = grouped_split(corpus)
    model = make_method("simclr", image_size=32, n_classes=2)
    assert 0 <= fit(model, corpus, split, "smoke", progress=False).test["accuracy"] <= 1


@pytest.mark.parametrize("layout", [("pool",), ("images",), ("mri",), (".",)])
def test_a_folder_of_images_alone_loads_and_a_split_says_what_is_missing(
    tmp_path: Path, cache: Path, layout: tuple[str, ...]
) -> None:
    corpus = load(class_folders(tmp_path / "d", layout, each=30), cache)
    assert corpus.labels.tolist() == [-1] * 30
    for make in (paper_split, grouped_split):
        with pytest.raises(CourseError, match="none of the 30 images has a class"):
            make(corpus)


# Depth


def test_pictures_of_one_source_share_a_scale() -> None:
    assert depth_scales([4000, 4200, 3000, 1500, 600]) == [(4200.0, 12)] * 5
    assert depth_scales([4000, 1000]) == [(4095.0, 12), (1023.0, 10)]
    assert depth_scales([65535, 30000, 200]) == [(65535.0, 16), (65535.0, 16), (255.0, 8)]
    assert depth_scales([]) == []
    assert depth_scales([0]) == [(255.0, 8)]


def test_slices_of_one_scanner_keep_their_brightness_to_each_other(tmp_path: Path, cache: Path) -> None:
    shape = picture(5).astype(float) / picture(5).max()
    for top in (4000, 4200, 2100):
        put(tmp_path / "d", f"glioma/{top}.png", encoded(Image.fromarray(np.rint(shape * top).astype(np.uint16))))
    corpus = load(tmp_path / "d", cache)
    tops = dict(zip(corpus.files["path"].str.extract(r"(\d+)")[0].astype(int), corpus.images.max((1, 2, 3)).tolist()))
    assert all(abs(tops[top] - top * 255 / 4200) <= 8 for top in tops)
    assert said(corpus).count("12 bits in use in its source") == 3


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("top", [1000, 4000, 65000])
def test_a_colour_picture_of_16_bits_equals_its_grey_twin(kind: str, top: int) -> None:
    grey = np.rint(picture(5).astype(float) / 255 * top).astype(np.uint16)
    twin = decode_image(encoded(Image.fromarray(grey), "PNG"), 48)
    found = decode_image(_colour_png(grey) if kind == "PNG" else _colour_tiff(grey), 48)
    assert np.abs(found.square.astype(int) - twin.square).max() <= 1
    assert found.note == twin.note


def _colour_png(grey: np.ndarray) -> bytes:
    import struct
    import zlib

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    rows = np.repeat(grey[..., None], 3, axis=2).astype(">u2")
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", *grey.shape[::-1], 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _colour_tiff(grey: np.ndarray) -> bytes:
    import struct

    height, width = grey.shape
    pixels = np.repeat(grey[..., None], 3, axis=2).astype("<u2").tobytes()
    tags = [
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, 8), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 14),
        (277, 3, 1, 3), (278, 3, 1, height), (279, 4, 1, len(pixels)),
    ]  # fmt: skip
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + b"\0" * 4
    return b"II*\0" + struct.pack("<I", 14 + len(pixels)) + struct.pack("<HHH", 16, 16, 16) + pixels + directory


# Known archives


def test_a_numbered_set_of_somebodys_own_keeps_its_name() -> None:
    numbers = [f"{k}.jpg" for k in range(20)]
    assert recognise({"glioma_tumor", "no_tumor"}, numbers, "Training") is None
    assert recognise({"glioma_tumor", "ependymoma"}, ["gg (1).jpg"], "Training") is None, "a sibling it does not have"


def test_a_set_larger_than_the_known_archive_is_not_that_archive() -> None:
    assert fits_counts("shreyag1103", {"glioma": 300})
    assert fits_counts("shreyag1103", {"glioma": 12})
    assert not fits_counts("shreyag1103", {"glioma": 900})


def test_the_set_of_7023_is_recognised_as_itself_beside_its_cut_out(tmp_path: Path, cache: Path) -> None:
    assert SOURCES["brain-tumor-mri-dataset"].total == 7023
    for k in range(6):
        data = encoded(picture(k), "JPEG")
        put(tmp_path / "d", f"large/Training/glioma/Tr-gl_{k:04d}.jpg", encoded(picture(100 + k), "JPEG"))
        put(tmp_path / "d", f"large/Testing/notumor/Te-no_{k:04d}.jpg", data)
        put(tmp_path / "d", f"small/notumor/Te-no_{k:04d}.jpg", data)
        put(tmp_path / "d", f"small/glioma/Te-gl_{k:04d}.jpg", encoded(picture(200 + k), "JPEG"))
    corpus = load(tmp_path / "d", cache)
    assert corpus.files["source"].value_counts().to_dict() == {"brain-tumor-mri-dataset": 12, "shreyag1103": 12}
    assert (corpus.table["group"].value_counts() == 2).sum() == 6, "copies across the two are found"


# What was left out


def test_files_of_other_kinds_are_counted_and_what_to_do_is_said(tmp_path: Path, cache: Path) -> None:
    folder = class_folders(tmp_path / "d", ("glioma", "notumor"))
    for name in ("a.nrrd", "b.nrrd", "c.tfrecord", "train-00000.parquet", "labels.csv", "x.h5", "README.md"):
        put(folder, f"more/{name}", b"something")
    put(folder, "glioma/x.nii.gz", b"nonsense")
    put(folder, "glioma/x.nii", b"nonsense")
    put(folder, "black/a.png", encoded(np.zeros((40, 40), np.uint8)))
    corpus = load(folder, cache)
    for text in (
        "2 volumes are not read",
        "1 TFRecord file is",
        "1 Parquet file is",
        "1 table is",
        "1 file of arrays is",
    ):
        assert text in said(corpus)
    assert said(corpus).count("NIfTI: ") == 2
    assert "README" not in said(corpus)
    assert "blank" in said(corpus)


def test_one_line_says_what_was_loaded_and_what_was_not(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = class_folders(tmp_path / "d", ("yes", "no", "pool"))
    put(folder, "yes/broken.png", b"nonsense")
    for _ in range(2):
        load_corpus(folder, cache_dir=cache)
        line = capsys.readouterr().out.strip().splitlines()[-1]
        assert "9 images of 2 classes; 3 of them without a class; left out" in line


# Tables


def flat(folder: Path, n: int = 12) -> Path:
    for k in range(n):
        put(folder, f"images/{k}.png", encoded(picture(k)))
    return folder


def test_labels_patients_and_folds_come_from_a_table_by_usual_names(tmp_path: Path, cache: Path) -> None:
    folder = flat(tmp_path / "d")
    rows = "".join(f"{k};{('Glioma', 'no tumour')[k % 2]};p{k // 2};{k % 5}\n" for k in range(10))
    (folder / "labels.csv").write_text(f"Image;Diagnosis;Patient ID;fold\n{rows}99;glioma;p9;1\n")
    corpus = load(folder, cache, table="labels.csv")
    table = corpus.files.set_index("path")
    assert corpus.classes == CLASSES
    assert table.loc["images/3.png", ["class_name", "patient", "fold"]].tolist() == ["no_tumor", "p1", 3]
    assert table.loc["images/11.png", "label"] == -1
    assert "1 rows name no image that is there: 99" in said(corpus)
    assert "2 images have no row; they have no class" in said(corpus)
    assert "not read" not in said(corpus)


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_every_kind_of_table_is_read_zipped_or_not(tmp_path: Path, cache: Path, kind: str) -> None:
    folder = flat(tmp_path / "d")
    frame = pd.DataFrame({"path": [f"{k}.png" for k in range(12)], "dx": [k % 3 for k in range(12)]})
    target = folder / "images" / f"t.{kind}"
    if kind == "parquet":
        frame.to_parquet(target)
    elif kind == "jsonl":
        target.write_text("\n".join(json.dumps(row) for row in frame.to_dict("records")))
    else:
        frame.to_csv(target, index=False, sep="\t" if kind == "tsv" else ",")
    corpus = load(folder, cache, table=f"images/t.{kind}")
    assert corpus.classes == ("0", "1", "2")
    assert corpus.files.set_index("path").loc["images/10.png", "class_name"] == "1"
    packed = load(zipped(folder, tmp_path / "p.zip"), cache, table=f"t.{kind}")
    assert packed.files["class_name"].tolist() == corpus.files["class_name"].tolist()


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_an_imagefolder_of_hugging_face_is_read_by_itself(tmp_path: Path, cache: Path, name: str) -> None:
    folder = flat(tmp_path / "d")
    rows = [{"file_name": f"{k}.png", "label": "ab"[k % 2], "split": "train"} for k in range(12)]
    text = pd.DataFrame(rows).to_csv(index=False) if name.endswith("csv") else "\n".join(map(json.dumps, rows))
    put(folder, f"images/{name}", text.encode())
    corpus = load(folder, cache)
    assert by_class(corpus) == {"a": 6, "b": 6}
    assert set(corpus.files["part"]) == {"train"}
    assert corpus.problems.empty


def test_a_table_without_labels_adds_patients_to_class_folders(tmp_path: Path, cache: Path) -> None:
    folder = class_folders(tmp_path / "d", ("glioma", "notumor"))
    (tmp_path / "who.csv").write_text("f,who\nglioma/img_0.png,007\nnotumor/img_1.png,008\n")
    columns = {"table": str(tmp_path / "who.csv"), "file": "f", "patient": "who"}
    corpus = load(folder, cache, table=columns)
    assert by_class(corpus) == {"glioma": 3, "no_tumor": 3}
    assert sorted(corpus.files["patient"]) == ["", "", "", "", "007", "008"]
    (tmp_path / "who.csv").write_text("f,who\nglioma/img_0.png,009\nnotumor/img_1.png,008\n")
    assert "009" in set(load(folder, cache, table=columns).files["patient"]), "a changed table is read anew"


def test_labels_of_a_table_can_be_renamed(tmp_path: Path, cache: Path) -> None:
    folder = flat(tmp_path / "d")
    (folder / "t.csv").write_text("id,target\n" + "".join(f"{k},{k % 3}.0\n" for k in range(12)))
    corpus = load(folder, cache, table="t.csv", classes={"0": "healthy", "1": "ill"})
    assert by_class(corpus) == {"healthy": 4, "ill": 4, "": 4}


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("none.csv", "there is no none.csv.*t.csv"),
        ({"table": "t.csv", "label": "grade"}, "no column 'grade'. Its columns: a, b"),
        ("t.csv", "no column of file names"),
        ({"table": "t.csv", "file": "a"}, "no row of t.csv names an image"),
        ({"table": "t.csv", "weight": "a"}, "give the table's name"),
    ],
)
def test_tables_that_do_not_fit_say_why(tmp_path: Path, cache: Path, table: object, words: str) -> None:
    folder = flat(tmp_path / "d")
    (folder / "t.csv").write_text("a,b\nx,y\n")
    with pytest.raises(CourseError, match=words):
        load(folder, cache, table=table)


# Volumes


def volume(affine: np.ndarray, shape: tuple[int, int, int] = (40, 50, 12)) -> bytes:
    """A NIfTI file whose voxels grow towards the patient's right (x), front (y) and head (z) in canonical axes."""
    x, y, z = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    image = nib.Nifti1Image((100 * x + 300 * y + 10 * z).astype(np.float32), np.diag([1.0, 1.0, 5.0, 1.0]))
    wanted = nib.orientations.io_orientation(affine)
    return image.as_reoriented(nib.orientations.ornt_transform(wanted, np.array([[0, 1], [1, 1], [2, 1]]))).to_bytes()


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SPL", "ASR"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_volume_gives_its_middle_slice_as_a_radiologist_sees_it(
    tmp_path: Path, cache: Path, codes: str, packed: bool
) -> None:
    affine = nib.orientations.inv_ornt_aff(nib.orientations.axcodes2ornt(codes), (10, 10, 10))
    data = volume(affine)
    put(tmp_path / "d", f"glioma/sub-07_t1.nii{'.gz' if packed else ''}", gzip.compress(data) if packed else data)
    corpus = load(tmp_path / "d", cache)
    (square,) = corpus.images[:, 0].astype(int)
    assert square[0].mean() > square[-1].mean() + 100, "the front is on top"
    assert square[:, 0].mean() > square[:, -1].mean() + 30, "the right is on the left"
    row = corpus.files.iloc[0]
    assert (row["plane"], row["patient"], row["width"], row["height"]) == ("axial", "sub-07", 40, 50)
    assert "axial slice 7 of 12, window" in said(corpus)


def test_every_so_many_th_slice_of_a_volume_can_be_taken(tmp_path: Path, cache: Path) -> None:
    put(tmp_path / "d", "glioma/a.nii", volume(np.eye(4)))
    put(tmp_path / "d", "notumor/b.nii", volume(np.eye(4), (40, 50, 20)))
    corpus = load(tmp_path / "d", cache, every=4)
    assert corpus.files["path"].tolist()[:3] == [f"glioma/a.nii#{n:03d}" for n in (2, 6, 10)]
    assert len(corpus) == 8
    assert corpus.files["sha256"].nunique() == 8
    with pytest.raises(CourseError, match="every"):
        load(tmp_path / "d", cache, every=-1)


def test_a_volume_that_is_cut_short_or_too_large_is_said(tmp_path: Path, cache: Path) -> None:
    data = volume(np.eye(4))
    put(tmp_path / "d", "glioma/a.nii", data)
    put(tmp_path / "d", "glioma/cut.nii", data[: len(data) // 2])
    put(tmp_path / "d", "glioma/cut.nii.gz", gzip.compress(data)[:-900])
    large = nib.Nifti1Header()
    large.set_data_shape((3000, 3000, 3000))
    buffer = io.BytesIO()
    large.write_to(buffer)
    put(tmp_path / "d", "glioma/large.nii.gz", gzip.compress(buffer.getvalue()))
    corpus = load(tmp_path / "d", cache)
    assert len(corpus) == 1
    assert said(corpus).count("NIfTI: ") == 3


RAMP = np.tile(np.linspace(0, 4000, 64), (64, 1)).astype(np.uint16)  # dark on the left, bright on the right


def dicom(path: Path, pixels: np.ndarray = RAMP, **header: Any) -> Path:
    """A DICOM file of 12-bit slices, one frame or several."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    if pixels.ndim == 3:
        dataset.NumberOfFrames = len(pixels)
    dataset.PixelData = pixels.astype(np.uint16).tobytes()
    for name, value in header.items():
        setattr(dataset, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path


@pytest.mark.parametrize(
    ("header", "row", "note"),
    [
        ({}, [0, 65, 129, 255], "window 0 to 4000, percentiles of the image"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, [255, 190, 126, 0], "window 0 to 4000"),
        ({"RescaleSlope": "2", "RescaleIntercept": "-100"}, [0, 65, 129, 255], "window -100 to 7900"),
        ({"WindowCenter": "1000", "WindowWidth": "1000"}, [0, 131, 255, 255], "window 500 to 1500, from its header"),
    ],
)
def test_a_dicom_file_gives_its_picture_patient_and_window(
    tmp_path: Path, cache: Path, header: dict[str, str], row: list[int], note: str
) -> None:
    dicom(tmp_path / "d" / "glioma" / "x", PatientID="P17", ImageOrientationPatient=[1, 0, 0, 0, 1, 0], **header)
    corpus = load(tmp_path / "d", cache, image_size=64)
    about = corpus.files.iloc[0]
    assert (about["patient"], about["plane"]) == ("P17", "axial")
    assert corpus.images[0, 0, 32, [0, 16, 32, 63]].tolist() == row and note in said(corpus)


def test_frames_of_a_dicom_file_are_slices_of_one_patient(tmp_path: Path, cache: Path) -> None:
    dicom(tmp_path / "d" / "glioma" / "x.dcm", np.stack([RAMP // k for k in (1, 2, 4, 8, 16)]), PatientID="P5")
    middle, every = load(tmp_path / "d", cache), load(tmp_path / "d", cache, every=2)
    assert middle.files["path"].tolist() == ["glioma/x.dcm#002"] and "frame 3 of 5" in said(middle)
    assert every.files["path"].tolist() == ["glioma/x.dcm#001", "glioma/x.dcm#003"] and set(every.files["patient"]) == {
        "P5"
    }


def test_dicom_files_that_are_cut_or_hold_no_image_are_told(tmp_path: Path, cache: Path) -> None:
    whole = dicom(tmp_path / "d" / "glioma" / "whole.dcm").read_bytes()
    put(tmp_path / "d", "glioma/cut.dcm", whole[: len(whole) // 2])
    put(tmp_path / "d", "glioma/head.dcm", whole[:150])
    corpus = load(tmp_path / "d", cache)
    assert len(corpus) == 1
    left_out = corpus.problems[corpus.problems["action"] == "skipped"].set_index("path")["reason"]
    assert (
        "its pixels cannot be decoded" in left_out["glioma/cut.dcm"] and "holds no image" in left_out["glioma/head.dcm"]
    )


def zip_of_pictures(path: Path, prefix: str, seed: int) -> None:
    """A zip of three pictures that says nothing of a class but by its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(3):
            archive.writestr(f"{prefix}{number}.png", encoded(picture(seed + number)))


@pytest.mark.parametrize("inner", ["", "images/"])
def test_zips_named_after_a_class_are_its_folders(tmp_path: Path, cache: Path, inner: str) -> None:
    for seed, name in enumerate(("glioma", "notumor", "unlabeled")):
        zip_of_pictures(tmp_path / "set" / f"{name}.zip", inner, 10 * seed)
    corpus = load(tmp_path / "set", cache)
    assert by_class(corpus) == {"": 3, "glioma": 3, "no_tumor": 3}
    assert set(corpus.files["source"]) == {"set"} and corpus.files["id"].is_unique
    assert set(corpus.problems["action"]) <= {"note"}, "the same file names in several zips are no clash"


def test_zips_of_ones_own_are_classes_when_the_user_says_so(tmp_path: Path, cache: Path) -> None:
    for seed, name in enumerate(("bleeding", "stroke")):
        zip_of_pictures(tmp_path / "set" / f"{name}.zip", "", 10 * seed)
    unsaid = load(tmp_path / "set", cache)
    assert unsaid.classes == () and 'classes=["bleeding", "stroke"]' in said(unsaid)
    assert set(unsaid.files["source"]) == {"bleeding", "stroke"}, "for all that is known, two archives"
    told = load(tmp_path / "set", cache, classes={"bleeding": "ill", "stroke": "well"})
    assert by_class(told) == {"ill": 3, "well": 3}
