"""The archives' downloads: whole or not at all, resumed, and with a word on what to do."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from download_figshare import FIGSHARE_FILES, PublishedFile, download_figshare
from download_kaggle import download_kaggle
from image_files import put

from brainssl_utils.data.reading.sources import SOURCES
from brainssl_utils.errors import CourseError

CONTENT = {n: np.random.default_rng(n).bytes(3_000_000) for n in (11, 12)}
FILES = [PublishedFile(f"part{n}.zip", n, len(data), hashlib.md5(data).hexdigest()) for n, data in CONTENT.items()]


class _Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[int, str]] = []
        self.cut_after: int | None = None
        self.ranges = True
        self.content = dict(CONTENT)
        self.url = f"http://127.0.0.1:{self.server_port}/files"


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        number, asked = int(self.path.rpartition("/")[2]), self.headers.get("Range", "")
        self.server.asked.append((number, asked))
        if number not in self.server.content:
            self.send_error(404)
            return
        data = self.server.content[number]
        start = int(re.findall(r"\d+", asked)[0]) if asked and self.server.ranges else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        end = len(data) if self.server.cut_after is None else start + self.server.cut_after
        self.wfile.write(data[start:end])
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server() as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def fetch(out: Path, server: _Server) -> list[Path]:
    return download_figshare(out, FILES, base_url=server.url, progress=False)


def test_published_files_are_the_articles() -> None:
    assert [file.number for file in FIGSHARE_FILES] == [3381290, 3381296, 3381293, 3381302, 7005344]
    assert all(re.fullmatch("[0-9a-f]{32}", file.md5) for file in FIGSHARE_FILES if file.name.endswith(".zip"))
    assert FIGSHARE_FILES[0].url() == "https://ndownloader.figshare.com/files/3381290"


def test_finished_downloads_are_verified_and_not_repeated(tmp_path: Path, server: _Server) -> None:
    paths = fetch(tmp_path, server)
    assert [path.read_bytes() for path in paths] == list(CONTENT.values())
    assert fetch(tmp_path, server) == paths
    assert len(server.asked) == 2
    paths[1].write_bytes(b"x" * len(CONTENT[12]))
    assert fetch(tmp_path, server)[1].read_bytes() == CONTENT[12]
    assert len(server.asked) == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["part11.zip", "part12.zip"]


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_download_goes_on_where_it_stopped(tmp_path: Path, server: _Server, ranges: bool) -> None:
    server.cut_after, server.ranges = 2_200_000, ranges
    with pytest.raises(CourseError, match=r"part11\.zip could not be downloaded.*goes on where it stopped"):
        fetch(tmp_path, server)
    arrived = (tmp_path / ".part11.zip.part").stat().st_size
    assert 0 < arrived < len(CONTENT[11])
    server.cut_after = None
    assert [path.read_bytes() for path in fetch(tmp_path, server)] == list(CONTENT.values())
    assert server.asked[1] == (11, f"bytes={arrived}-")


def test_wrong_content_is_dropped(tmp_path: Path, server: _Server) -> None:
    server.content[11] = b"?" * len(CONTENT[11])
    with pytest.raises(CourseError, match="damaged"):
        fetch(tmp_path, server)
    assert not list(tmp_path.iterdir())
    server.content[11] = CONTENT[11]
    assert fetch(tmp_path, server)[0].read_bytes() == CONTENT[11]


def test_no_connection_and_refusals_say_what_to_do(tmp_path: Path, server: _Server) -> None:
    del server.content[11]
    with pytest.raises(CourseError, match="404"):
        fetch(tmp_path, server)
    server.shutdown()
    server.server_close()
    with pytest.raises(CourseError, match=r"no connection.*in a browser from https://figshare\.com"):
        fetch(tmp_path, server)


def test_kaggle_archives_land_in_folders_of_their_own(tmp_path: Path) -> None:
    def download(handle: str) -> str:
        put(tmp_path / "hub" / handle, "Data/normal/N_1.jpg", b"picture")
        return str(tmp_path / "hub" / handle)

    (path,) = download_kaggle(tmp_path / "out", ["thomasdubail"], download)
    assert (path / "Data/normal/N_1.jpg").read_bytes() == b"picture"
    (path / "mine.txt").touch()
    assert download_kaggle(tmp_path / "out", ["thomasdubail"], download) == [path]
    assert (path / "mine.txt").exists(), "an existing folder is left alone"


def test_kaggle_without_a_connection_says_what_to_do(tmp_path: Path) -> None:
    def offline(_: str) -> str:
        raise ConnectionError("Name or service not known")

    with pytest.raises(CourseError, match=rf"{re.escape(SOURCES['sartajbhuvaji'].url)} in a browser"):
        download_kaggle(tmp_path, ["sartajbhuvaji"], offline)
    assert not list(tmp_path.iterdir())
    with pytest.raises(CourseError, match="shreyag1103, sartajbhuvaji, thomasdubail"):
        download_kaggle(tmp_path, ["somebody"], offline)
