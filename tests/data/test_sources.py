"""Recognising archives, listing them safely, and decoding whatever lies in them."""

from __future__ import annotations

import io
import struct
import sys
import zipfile
import zlib
from pathlib import Path

import imagehash
import numpy as np
import pytest
from image_files import class_folders, encoded, picture, put, zipped
from PIL import Image

from brainssl_utils.data.copies.candidates import perceptual_hashes
from brainssl_utils.data.corpus import resize_area
from brainssl_utils.data.reading.archives import Unreadable, expand, scan
from brainssl_utils.data.reading.decode import decode_image
from brainssl_utils.data.reading.gather import gather
from brainssl_utils.data.reading.sources import PAPER_SOURCES, SOURCES, class_of, recognise
from brainssl_utils.errors import CourseError


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("notumor", "no_tumor"), ("no_tumor", "no_tumor"), ("no tumor", "no_tumor"), ("No-Tumor", "no_tumor"),
        ("NO_TUMOUR", "no_tumor"), ("normal", "no_tumor"), ("glioma", "glioma"), ("glioma_tumor", "glioma"),
        ("Glioma Tumour", "glioma"), ("Meningioma", "meningioma"), ("meningioma_tumor", "meningioma"),
        ("pituitary_tumor", "pituitary"), ("Pituitary", "pituitary"), ("schwannoma", None), ("tumor", None), ("", None),
    ],
)  # fmt: skip
def test_class_folders_are_read_by_rule(folder: str, expected: str | None) -> None:
    assert class_of(folder) == expected


def test_layouts_are_recognised_by_names_and_not_by_place() -> None:
    assert recognise({"glioma", "notumor"}, ["Te-gl_0010.jpg", "Te-noTr_0001.jpg"], "anything") == "shreyag1103"
    names = ["gg (1).jpg", "m1(123).jpg", "image.jpg", "image(2).jpg", "p (9).jpg", "12.jpg"]
    assert recognise({"glioma_tumor", "no_tumor"}, names, "Training") == "sartajbhuvaji"
    assert recognise({"glioma_tumor", "normal"}, ["G_1.jpg", "N_2.jpg"], "Data") == "thomasdubail"
    assert recognise({"glioma", "notumor"}, ["a.jpg", "b.jpg"]) is None
    assert recognise({"glioma"}, ["Tr-gl_0010.jpg"]) is None, "the larger set this archive was cut from is another one"
    assert recognise(set(), []) is None


def test_published_counts_add_up_to_the_papers_merge() -> None:
    assert sum(SOURCES[name].total for name in PAPER_SOURCES) == 7671
    assert SOURCES["figshare"].total == 3064


def _archive_layouts(folder: Path) -> None:
    put(folder, "deep/one/glioma/Te-gl_0001.jpg", encoded(picture(1), "JPEG"))
    put(folder, "deep/one/notumor/Te-no_0001.jpg", encoded(picture(2), "JPEG"))
    put(folder, "two/Training/glioma_tumor/gg (1).jpg", encoded(picture(3), "JPEG"))
    put(folder, "two/Testing/no_tumor/image(1).jpg", encoded(picture(4), "JPEG"))
    put(folder, "Data/normal/N_1.jpg", encoded(picture(5), "JPEG"))
    put(folder, "Data/pituitary_tumor/P_1.jpg", encoded(picture(6), "JPEG"))


def _ids(folder: Path) -> list[str]:
    listing = scan(folder)
    expand(listing)
    return [item.id for item in gather(listing).items]


def test_unpacked_and_zipped_archives_give_the_same_ids(tmp_path: Path) -> None:
    loose, packed, twice = tmp_path / "loose", tmp_path / "packed", tmp_path / "twice"
    _archive_layouts(loose)
    packed.mkdir()
    twice.mkdir()
    zipped(loose, packed / "all.zip")
    zipped(packed, twice / "outer.zip")
    expected = [
        "shreyag1103/glioma/Te-gl_0001.jpg",
        "shreyag1103/notumor/Te-no_0001.jpg",
        "sartajbhuvaji/Testing/no_tumor/image(1).jpg",
        "sartajbhuvaji/Training/glioma_tumor/gg (1).jpg",
        "thomasdubail/Data/normal/N_1.jpg",
        "thomasdubail/Data/pituitary_tumor/P_1.jpg",
    ]
    assert _ids(loose) == _ids(packed) == _ids(twice) == _ids(packed / "all.zip") == expected


def test_three_archives_unpacked_into_one_folder_are_told_apart(tmp_path: Path) -> None:
    put(tmp_path, "glioma/Te-gl_0001.jpg", encoded(picture(1), "JPEG"))
    put(tmp_path, "Training/glioma_tumor/gg (1).jpg", encoded(picture(2), "JPEG"))
    put(tmp_path, "Data/normal/N_1.jpg", encoded(picture(3), "JPEG"))
    assert {i.partition("/")[0] for i in _ids(tmp_path)} == set(PAPER_SOURCES)


def test_an_archive_beside_its_unpacked_copy_is_loaded_once(tmp_path: Path) -> None:
    class_folders(tmp_path / "scans", ("glioma", "notumor"))
    zipped(tmp_path / "scans", tmp_path / "scans.zip")
    extra = put(tmp_path / "scans", "glioma/only-here.png", encoded(picture(77)))
    listing = scan(tmp_path)
    found = gather(listing)
    assert len(found.items) == 7
    assert any(item.path.endswith(extra.name) for item in found.items)
    (note,) = found.problems
    assert note.action == "note"
    assert "6 files" in note.reason
    assert "loaded once" in note.reason


def test_two_sets_of_one_name_with_other_files_are_both_kept(tmp_path: Path) -> None:
    class_folders(tmp_path / "a" / "scans", ("glioma", "notumor"), first=0)
    class_folders(tmp_path / "b" / "scans", ("glioma", "notumor"), first=5000, prefix="other")
    found = gather(scan(tmp_path))
    assert {item.source for item in found.items} == {"scans", "scans-2"}
    assert len(found.items) == 12


def test_phantoms_without_their_manifest_are_not_taken_for_a_real_archive(tmp_path: Path) -> None:
    put(tmp_path, "phantom-a/glioma/Te-gl_0001.jpg", encoded(picture(1), "JPEG"))
    put(tmp_path, "phantom-a/notumor/Te-no_0001.jpg", encoded(picture(2), "JPEG"))
    assert {item.source for item in gather(scan(tmp_path)).items} == {"phantom-a"}
    assert {item.source for item in gather(scan(tmp_path / "phantom-a")).items} == {"phantom-a"}


def test_a_zip_is_never_unpacked_and_unsafe_names_are_reported(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with zipfile.ZipFile(data / "bad.zip", "w") as archive:
        archive.writestr("../glioma/outside.png", encoded(picture(1)))
        archive.writestr("/glioma/absolute.png", encoded(picture(2)))
        archive.writestr("C:\\glioma\\drive.png", encoded(picture(3)))
        archive.writestr("glioma/fine.png", encoded(picture(4)))
        archive.writestr("windows\\notumor\\fine.png", encoded(picture(5)))
    listing = scan(data)
    assert [item.path for item in gather(listing).items] == ["glioma/fine.png", "notumor/fine.png"]
    assert sorted(p.path for p in listing.problems) == [
        "../glioma/outside.png", "/glioma/absolute.png", "C:/glioma/drive.png",
    ]  # fmt: skip
    assert all("unsafe name" in p.reason for p in listing.problems)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["bad.zip", "data"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_in_one_zip_keeps_both_files(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("glioma/a.png", encoded(picture(1)))
        archive.writestr("glioma/a.png", encoded(picture(2)))
    listing = scan(tmp_path)
    assert [item.path for item in gather(listing).items] == ["glioma/a.png", "glioma/a.png#2"]
    assert "more than once" in listing.problems[0].reason


def test_system_files_and_other_archives_are_left_out_with_a_row(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("glioma/a.png", encoded(picture(1)))
        archive.writestr("__MACOSX/glioma/._a.png", b"junk")
        archive.writestr("glioma/Thumbs.db", b"junk")
    put(tmp_path, "glioma/.DS_Store", b"junk")
    put(tmp_path, "more.rar", b"junk")
    listing = scan(tmp_path)
    assert [entry.path for entry in listing.entries] == ["glioma/a.png"]
    reasons = " | ".join(p.reason for p in listing.problems)
    assert all(word in reasons for word in ("__MACOSX", "Thumbs.db", ".DS_Store", "unpack it"))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows lets administrators alone make links")
def test_a_link_back_up_the_tree_does_not_hang_the_scan(tmp_path: Path) -> None:
    class_folders(tmp_path, ("glioma",), each=1)
    (tmp_path / "glioma" / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert len(scan(tmp_path).entries) == 1


def test_a_change_of_any_file_changes_the_listings_key(tmp_path: Path) -> None:
    class_folders(tmp_path, ("glioma", "notumor"), each=1)
    before = scan(tmp_path).key()
    assert scan(tmp_path).key() == before
    put(tmp_path, "notumor/img_0.png", encoded(picture(999)))
    assert scan(tmp_path).key() != before


def test_missing_and_unsuitable_data_are_named(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match="does not exist"):
        scan(tmp_path / "nowhere")
    with pytest.raises(CourseError, match="single file"):
        scan(put(tmp_path, "notes.txt", b"x"))


# Decoding


def test_pixels_are_pillows_own_for_ordinary_files() -> None:
    pixels = picture(1, 120, 90)
    for size in (96, 32):
        expected = Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR)
        decoded = decode_image(encoded(pixels), size)
        np.testing.assert_array_equal(decoded.square, np.asarray(expected))
        assert (decoded.width, decoded.height, decoded.note) == (90, 120, "")


@pytest.mark.parametrize(
    ("height", "width"), [(512, 512), (401, 475), (993, 825), (192, 1000), (1365, 1365), (224, 224)]
)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_scaled_jpeg_decoding_agrees_with_full_decoding(height: int, width: int, mode: str) -> None:
    data = encoded(Image.fromarray(picture(7, height, width)).convert(mode), "JPEG", quality=90)
    full = Image.open(io.BytesIO(data)).convert("L").resize((96, 96), Image.Resampling.BILINEAR)
    fast = decode_image(data).square
    assert np.corrcoef(np.asarray(full).ravel(), fast.ravel())[0, 1] > 0.999
    assert np.abs(np.asarray(full).astype(int) - fast).mean() < 1.0


def test_scaled_decoding_holds_on_the_archives(archives: Path) -> None:
    values = []
    for path in archives.glob("*.zip"):
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist()[::60]:
                data = archive.read(info)
                full = Image.open(io.BytesIO(data)).convert("L").resize((96, 96), Image.Resampling.BILINEAR)
                values.append(np.corrcoef(np.asarray(full).ravel(), decode_image(data).square.ravel())[0, 1])
    assert len(values) > 100
    assert min(values) > 0.998
    assert np.median(values) > 0.9999


def _grey_of(image: Image.Image, kind: str, **options: object) -> tuple[np.ndarray, str]:
    decoded = decode_image(encoded(image, kind, **options), 64)
    return decoded.square.astype(int), decoded.note


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA", "LA", "CMYK", "1"])
def test_every_colour_mode_becomes_the_grey_one_sees(mode: str) -> None:
    pixels = picture(3)
    image = Image.fromarray(pixels)
    if mode in ("RGBA", "LA"):
        image = Image.merge("LA", (image, Image.new("L", image.size, 255))).convert(mode)
    elif mode == "1":
        pixels = np.where(pixels > 127, 255, 0)
        image = Image.fromarray(pixels.astype(np.uint8)).convert("1")
    else:
        image = image.convert("RGB")
        image = image.quantize(256) if mode == "P" else image.convert(mode)
    grey, _ = _grey_of(image, "JPEG" if mode == "CMYK" else "PNG", **({"quality": 98} if mode == "CMYK" else {}))
    assert np.abs(grey - pixels).mean() < (4 if mode in ("P", "CMYK") else 1)


def test_a_jpeg_with_rgb_components_is_read_as_grey() -> None:
    pixels = picture(3, 256, 256)
    data = encoded(Image.fromarray(pixels).convert("RGB"), "JPEG", quality=95, keep_rgb=True)
    expected = np.asarray(Image.fromarray(pixels).resize((96, 96), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(decode_image(data).square - expected).mean() < 2


def test_transparent_pixels_become_black() -> None:
    image = Image.new("RGBA", (64, 64), (255, 255, 255, 0))
    image.paste((200, 200, 200, 255), (16, 16, 48, 48))
    grey, _ = _grey_of(image, "PNG")
    assert grey[0, 0] == 0
    assert grey[32, 32] == 200


@pytest.mark.parametrize(("factor", "bits"), [(257, 16), (16, 12)])
def test_sixteen_bit_greys_are_scaled_by_the_bits_in_use(factor: int, bits: int) -> None:
    pixels = picture(5)
    grey, note = _grey_of(Image.fromarray(pixels.astype(np.uint16) * np.uint16(factor)), "PNG")
    assert np.abs(grey - pixels).max() <= 1
    assert f"{bits} bits" in note


def test_floating_point_tiffs_are_scaled_from_their_own_range() -> None:
    grey, note = _grey_of(Image.fromarray(picture(5).astype(np.float32) / 1e3 - 7), "TIFF")
    assert (grey.min(), grey.max()) == (0, 255)
    assert "floating-point" in note


def test_of_an_animation_the_first_frame_is_taken() -> None:
    frames = [Image.fromarray(picture(seed)) for seed in (1, 2, 3)]
    grey, note = _grey_of(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.abs(grey - picture(1)).mean() < 3
    assert note == "first of 3 frames taken"


@pytest.mark.parametrize("orientation", range(2, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    from PIL import ImageOps

    image = Image.fromarray(picture(4, 300, 200))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(image, "JPEG", quality=95, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    decoded = decode_image(data)
    expected = np.asarray(upright.resize((96, 96), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(decoded.square - expected).mean() < 2
    assert (decoded.width, decoded.height) == upright.size


def _huge_png() -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"only some words\n", "text file"),
        (bytes(range(256)), "not an image"),
        (b"\0" * 128 + b"DICM" + b"\0" * 50, "DICOM"),
        (encoded(picture(1), "JPEG")[:600], "truncated"),
        (encoded(picture(1), "PNG")[:300], "cannot be decoded"),
        (encoded(np.zeros((1, 1), np.uint8)), "too small: 1 x 1 px"),
        (encoded(np.zeros((15, 90), np.uint8)), "too small: 90 x 15 px"),
        (_huge_png(), "refused"),
    ],
)
def test_files_that_cannot_be_used_say_why(data: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        decode_image(data)


def test_hashes_are_those_of_imagehash() -> None:
    squares = np.stack([np.asarray(Image.fromarray(picture(seed, 96, 96))) for seed in range(40)])
    for found, seen in zip(perceptual_hashes(squares[:, None]), (squares, squares[..., ::-1])):
        hashes = [f"{value:016x}" for value in found.tolist()]
        assert hashes == [str(imagehash.phash(Image.fromarray(square))) for square in seen]
        assert len(set(hashes)) == 40


@pytest.mark.parametrize(("old", "new"), [(96, 48), (96, 32), (96, 40), (30, 64), (10, 7)])
def test_area_resize_equals_averaging_by_hand(old: int, new: int) -> None:
    images = np.stack([picture(seed, old, old) for seed in range(3)])[:, None]
    fine = np.repeat(np.repeat(images.astype(float), new, axis=2), new, axis=3)
    expected = fine.reshape(3, 1, new, old, new, old).mean(axis=(3, 5))
    assert np.abs(resize_area(images, new) - expected).max() <= 0.501
