"""Downloading the public archives: Kaggle's through kagglehub, figshare's through pooch with resume and checksums."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from brainssl_utils.data.reading.sources import PAPER_SOURCES, SOURCES, Source
from brainssl_utils.errors import CourseError
from brainssl_utils.files import check_writable, clear_leftovers, temporary_path

FIGSHARE_URL = "https://ndownloader.figshare.com/files"
_TIMEOUT = (15, 60)  # seconds to connect, seconds without a byte
_BLOCK = 2**20


@dataclass(frozen=True)
class PublishedFile:
    """A file of the figshare article: its number there, size in bytes and md5."""

    name: str
    number: int
    size: int
    md5: str

    def url(self, base: str = FIGSHARE_URL) -> str:
        """Where it is downloaded from."""
        return f"{base}/{self.number}"


FIGSHARE_FILES = (
    PublishedFile("brainTumorDataPublic_1-766.zip", 3381290, 214401279, "74b949ad33f042e6e103523091cd1428"),
    PublishedFile("brainTumorDataPublic_767-1532.zip", 3381296, 217848429, "7e8a875500d2c8a346f270538e29890e"),
    PublishedFile("brainTumorDataPublic_1533-2298.zip", 3381293, 215563856, "8227bf6080cb71f15a88be8d25c79ae7"),
    PublishedFile("brainTumorDataPublic_2299-3064.zip", 3381302, 231679762, "b378a80d6174e5317d59eb28430c6652"),
    PublishedFile("cvind.mat", 7005344, 5736, ""),
)


def download_figshare(
    out_dir: str | Path,
    files: Iterable[PublishedFile] = FIGSHARE_FILES,
    base_url: str = FIGSHARE_URL,
    progress: bool = True,
) -> list[Path]:
    """Download the figshare set's four zips (0.9 GB) and `cvind.mat` into `out_dir`; the zips stay zipped.

    Finished files with the right size and md5 are skipped; an interrupted one (`.NAME.part`) goes on where it stopped.
    No md5 is known for `cvind.mat`: its size alone is checked.

    Returns:
        The paths of the files, in the order given.

    Raises:
        CourseError: no connection, a refusal by the server, content that does not fit, or a folder that cannot be written.
    """
    out_dir = check_writable(out_dir)
    return [_fetch(file, out_dir, base_url, progress) for file in files]


def download_kaggle(
    out_dir: str | Path,
    names: Iterable[str] = PAPER_SOURCES,
    download: Callable[[str], str] | None = None,
) -> list[Path]:
    """Download the Kaggle archives the paper merges into `out_dir/NAME`, one folder each; existing folders are kept.

    Public datasets need no account. `download` maps a handle ("owner/name") to the folder with its files; by default
    `kagglehub.dataset_download`, which keeps its own copy and resumes by itself.

    Raises:
        CourseError: an unknown name, no connection, a refusal by Kaggle, or a folder that cannot be written.
    """
    names = list(names)
    for name in names:
        if name not in PAPER_SOURCES:
            raise CourseError(f'no Kaggle archive is called "{name}". Expected: {", ".join(PAPER_SOURCES)}.')
    out_dir = check_writable(out_dir)
    return [_fetch_kaggle(SOURCES[name], out_dir / name, download) for name in names]


def _fetch_kaggle(source: Source, target: Path, download: Callable[[str], str] | None) -> Path:
    if target.is_dir() and any(target.iterdir()):
        print(f"{target} is there already")
        return target
    clear_leftovers(target.parent)
    temporary = temporary_path(target)
    try:
        shutil.copytree((download or _kagglehub)(source.handle), temporary)
        shutil.rmtree(target, ignore_errors=True)
        temporary.rename(target)
    except Exception as error:  # kagglehub passes on whatever requests, its own classes or the disk raise
        raise CourseError(
            f"{source.handle} could not be downloaded ({_short(error)}). Without a connection or if Kaggle asks for an "
            f"account: open {source.url} in a browser, press Download, and put the zip into {target.parent} as it is. "
            "With an account: set KAGGLE_USERNAME and KAGGLE_KEY and run this again."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _kagglehub(handle: str) -> str:
    import kagglehub

    return kagglehub.dataset_download(handle)


def _fetch(file: PublishedFile, out_dir: Path, base_url: str, progress: bool) -> Path:
    import pooch
    import requests

    path = out_dir / file.name
    known_hash = f"md5:{file.md5}" if file.md5 else None
    if path.is_file() and _is_whole(path, file):
        return path
    path.unlink(missing_ok=True)
    pooch.get_logger().setLevel("WARNING")
    try:
        pooch.retrieve(
            file.url(base_url), known_hash, fname=file.name, path=out_dir, downloader=_Resuming(file, out_dir, progress)
        )
    except requests.RequestException as error:
        raise CourseError(
            f"{file.name} could not be downloaded from {file.url(base_url)} ({_short(error)}). Check the connection and "
            f"run this again: finished files are kept and this one goes on where it stopped. Or download it in a "
            f"browser from {SOURCES['figshare'].url} and put it into {out_dir}."
        ) from error
    except ValueError as error:
        raise CourseError(
            f"{file.name} arrived damaged (its md5 does not fit) and was dropped. Run this again."
        ) from error
    except OSError as error:
        raise CourseError(f"{file.name} cannot be written in {out_dir}: {error.strerror or error}.") from error
    if path.stat().st_size != file.size:
        found = path.stat().st_size
        path.unlink()
        raise CourseError(f"{file.name} has {found} bytes, {file.size} expected; it was dropped. Run this again.")
    return path


class _Resuming:
    """A pooch downloader that keeps what has arrived in `.NAME.part` and asks the server for the rest only."""

    def __init__(self, file: PublishedFile, folder: Path, progress: bool) -> None:
        self.file, self.progress = file, progress
        self.part = folder / f".{file.name}.part"

    def __call__(self, url: str, output_file: Any, pooch: Any, check_only: bool = False) -> None:
        import requests

        done = self.part.stat().st_size if self.part.exists() else 0
        if done > self.file.size:
            done = 0
        if done < self.file.size:
            headers = {"Range": f"bytes={done}-"} if done else {}
            with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
                answer.raise_for_status()
                resumed = answer.status_code == requests.codes.partial_content
                self._save(answer, done if resumed else 0)
            if self.part.stat().st_size < self.file.size:
                raise requests.ConnectionError("the connection ended early")
        shutil.move(self.part, output_file)

    def _save(self, answer: Any, done: int) -> None:
        with (
            open(self.part, "ab" if done else "wb") as target,
            tqdm(
                total=self.file.size, initial=done, desc=self.file.name, unit="B", unit_scale=True, file=sys.stdout,
                disable=not self.progress, mininterval=0.5,
            ) as bar,
        ):  # fmt: skip
            for block in answer.iter_content(_BLOCK):
                target.write(block)
                bar.update(len(block))


def _is_whole(path: Path, file: PublishedFile) -> bool:
    if path.stat().st_size != file.size:
        return False
    if not file.md5:
        return True
    with open(path, "rb") as opened:
        return hashlib.file_digest(opened, "md5").hexdigest() == file.md5


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "Max retries exceeded" in text:
        return "no connection"
    return f"{type(error).__name__}: {text[:160]}" if text else type(error).__name__
