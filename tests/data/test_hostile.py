"""Hostile files: refused with a sentence, within seconds and little memory, and nothing is written outside the cache."""

from __future__ import annotations

import io
import os
import stat
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from image_files import class_folders, encoded, picture, put
from PIL import Image

from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.loading import load_corpus
from brainssl_utils.data.reading import archives
from brainssl_utils.data.reading.archives import Unreadable
from brainssl_utils.data.reading.decode import FORMATS, decode_image
from brainssl_utils.data.reading.figshare import parse_folds, parse_slice

ROOT = Path(__file__).parents[2]
linux = pytest.mark.skipif(sys.platform != "linux", reason="pipes, links and limits of memory as Linux has them")


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return class_folders(tmp_path / "data", ("cats", "dogs"))


def load(folder: Path, cache: Path) -> Corpus:
    return load_corpus(folder, cache_dir=cache, progress=False)


def said(corpus: Corpus) -> str:
    return " | ".join(f"{p.path}: {p.reason}" for p in corpus.problems.itertuples())


def zip_member(archive: zipfile.ZipFile, name: str, data: bytes, mode: int) -> None:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    archive.writestr(info, data)


def png(width: int, height: int, depth: int = 8, rows: int = 1) -> bytes:
    """A PNG that declares a size and holds `rows` black rows."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    row = b"\0" * (1 + width * depth // 8)
    packer = zlib.compressobj()
    body = b"".join(packer.compress(row) for _ in range(rows)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_members_that_point_outside_or_are_links_are_left_out_and_nothing_is_written(
    good: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(good / "bad.zip", "w") as archive:
        for name in ("../cats/up.png", "/cats/root.png", "cats/../../up.png", "C:/cats/drive.png"):
            archive.writestr(name, encoded(picture(70)))
        zip_member(archive, "cats/link.png", b"/etc/passwd", stat.S_IFLNK | 0o777)
        zip_member(archive, "cats/pipe.png", b"", stat.S_IFIFO | 0o644)
    before = set(tmp_path.rglob("*"))
    corpus = load(good, tmp_path / "cache")
    assert len(corpus) == 6
    assert said(corpus).count("unsafe name") == 4
    assert said(corpus).count("a link or a device inside a zip") == 2
    assert all((tmp_path / "cache") in (*path.parents, path) for path in set(tmp_path.rglob("*")) - before)


def test_a_zip_of_very_many_files_is_refused_before_it_is_listed(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(good / "many.zip", "w") as archive:
        for k in range(300):
            archive.writestr(f"cats/{k}", b"")
    with monkeypatch.context() as context:
        context.setattr(archives, "MAX_MEMBERS", 200)
        assert "300 files in one zip, more than the 200" in said(load(good, tmp_path / "one"))
    monkeypatch.setattr(archives, "_MAX_DIRECTORY", 10_000)
    monkeypatch.setattr(zipfile.ZipFile, "infolist", None)
    assert "far more files than are read" in said(load(good, tmp_path / "two"))


def test_zips_five_deep_are_opened_twice_and_said(good: Path, tmp_path: Path) -> None:
    data = encoded(picture(71))
    for level in range(5):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("cats/deep.png" if level == 0 else "inner.zip", data)
        data = buffer.getvalue()
    put(good, "deep.zip", data)
    corpus = load(good, tmp_path / "cache")
    assert len(corpus) == 6
    assert "a zip inside a zip inside a zip is not opened" in said(corpus)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_members_that_unpack_to_very_much_are_refused_unread(good: Path, tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(good / "bomb.zip", "w", method) as archive, archive.open("cats/zeros.png", "w") as member:
        for _ in range(20):
            member.write(b"\0" * 2**20)
    corpus = load(good, tmp_path / "cache")
    assert len(corpus) == 6
    assert ("no picture" if method == zipfile.ZIP_DEFLATED else "LZMA") in said(corpus)


@pytest.mark.parametrize("size", [(60_000, 60_000), (6_001, 6_001), (1_000, 59_000)])
def test_pictures_that_declare_too_many_pixels_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(Unreadable, match="refused"):
        decode_image(png(*size))


def test_of_a_tiff_of_many_pages_the_first_is_taken() -> None:
    pages = [Image.fromarray(picture(seed, 32, 32)) for seed in range(50)]
    found = decode_image(encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:]), 32)
    np.testing.assert_array_equal(found.square, picture(0, 32, 32))
    assert found.note == "first of 50 frames taken"


def test_no_format_that_runs_a_program_is_opened(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object, **__: object) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", run)
    monkeypatch.setattr(os, "system", run)
    assert not {"EPS", "WMF", "PDF", "MPEG", "FITS"} & set(FORMATS)
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\nshowpage\n%%EOF\n"
    put(good, "cats/drawing.jpg", eps)
    corpus = load(good, tmp_path / "cache")
    assert len(corpus) == 6
    assert "PostScript" in said(corpus)


def hdf5(image: object, place: Path, **options: object) -> bytes:
    """A slice of the figshare set whose image is made by `image(group)`."""
    path = place / "slice.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        group = file.create_group("cjdata")
        for name, value in {"tumorBorder": np.zeros((1, 2)), "label": np.ones((1, 1)), "PID": np.ones((1, 1))}.items():
            group[name] = value
        group["tumorMask"] = np.zeros((20, 20), np.uint8)
        image(group)  # type: ignore[operator]
    return path.read_bytes()


def _external_link(group: h5py.Group) -> None:
    group["image"] = h5py.ExternalLink("/etc/passwd", "/image")


def _soft_link(group: h5py.Group) -> None:
    group["image"] = h5py.SoftLink("/cjdata/tumorMask")


def _external_storage(group: h5py.Group) -> None:
    group.create_dataset("image", (20, 20), np.uint8, external=[("/etc/passwd", 0, 400)])


def _virtual(group: h5py.Group) -> None:
    layout = h5py.VirtualLayout((20, 20), np.uint8)
    layout[:] = h5py.VirtualSource("/etc/other.h5", "image", (20, 20))
    group.create_virtual_dataset("image", layout)


def _zeros(group: h5py.Group) -> None:
    group.create_dataset("image", (50_000, 50_000), np.int16, compression="gzip")


def _wide_chunk(group: h5py.Group) -> None:
    group.create_dataset("image", (20, 20), np.int8, maxshape=(None, None), chunks=(20_000, 20_000), compression="gzip")


def _text(group: h5py.Group) -> None:
    group["image"] = "words"


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (_external_link, "link to somewhere else"),
        (_soft_link, "link to somewhere else"),
        (_external_storage, "lie in another file"),
        (_virtual, "lie in another file"),
        (_zeros, "at most"),
        (_wide_chunk, "at most"),
        (_text, "no array of numbers"),
    ],
)
def test_hdf5_that_leads_elsewhere_or_is_huge_is_refused(tmp_path: Path, image: object, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        parse_slice(hdf5(image, tmp_path))


def test_a_large_file_of_folds_is_refused() -> None:
    with pytest.raises(Unreadable, match="more than"):
        parse_folds(b"MATLAB 5.0 MAT-file" + b"\0" * 2**18)


@linux
def test_pipes_devices_and_links_that_leave_are_said_and_not_opened(good: Path, tmp_path: Path) -> None:
    os.mkfifo(good / "cats" / "pipe.png")
    os.mkfifo(good / "pipe.zip")
    (good / "cats" / "endless.png").symlink_to("/dev/zero")
    (good / "system").symlink_to("/usr")
    outside = put(tmp_path, "outside/secret.png", encoded(picture(77)))
    (good / "cats" / "secret.png").symlink_to(outside)
    (good / "dogs" / "inside.png").symlink_to(good / "cats" / "img_0.png")
    corpus = load(good, tmp_path / "cache")
    assert len(corpus) == 7, "a link within the folder is followed"
    assert said(corpus).count("not a regular file") == 2
    assert said(corpus).count("a link that leaves the folder") == 3


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP", "JPEG2000"])
def test_files_cut_short_anywhere_are_refused_or_read(kind: str) -> None:
    data = encoded(picture(3), kind)
    for end in range(0, len(data) - 1, max(len(data) // 40, 1)):
        try:
            assert decode_image(data[:end], 32).square.shape == (32, 32)
        except Unreadable as error:
            assert str(error)


def test_a_zip_cut_short_anywhere_is_said(good: Path, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("cats/a.png", encoded(picture(5)))
    data = buffer.getvalue()
    for end in range(0, len(data) - 1, len(data) // 10):
        put(good, "cut.zip", data[:end])
        assert "cut short or damaged" in said(load(good, tmp_path / "cache"))


_LOAD = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2 * 2**30, 2 * 2**30))
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
from brainssl_utils.data.loading import load_corpus
corpus = load_corpus(sys.argv[1], cache_dir=sys.argv[2], progress=False, threads=2)
# VmHWM is this program's own peak: ru_maxrss starts at that of the process that started it.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(len(corpus), int(peak.split()[1]) // 1024)
print(corpus.problems["reason"].tolist())
"""


@linux
def test_all_of_it_together_stays_below_a_gibibyte(good: Path, tmp_path: Path) -> None:
    for k in range(2):
        put(good, f"cats/large{k}.png", png(6_000, 6_000, depth=16, rows=6_000))
        put(good, f"cats/wide{k}.png", png(60_000, 60_000))
    put(good, "1.mat", hdf5(_zeros, tmp_path))
    with zipfile.ZipFile(good / "zeros.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("cats/zeros.png", "w", force_zip64=True) as member:
            for _ in range(300):
                member.write(b"\0" * 2**20)
        with archive.open("inner.zip", "w", force_zip64=True) as member:
            for _ in range(300):
                member.write(b"\0" * 2**20)
    done = subprocess.run(
        [sys.executable, "-c", _LOAD, str(good), str(tmp_path / "cache")],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    n, megabytes = map(int, done.stdout.splitlines()[0].split())
    assert n == 8, done.stdout
    assert megabytes < 1024
