"""Download the figshare set (0.9 GB), with resume and checksums: python data_scripts/download_figshare.py --out DIR"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from brainssl_utils.data.reading.sources import SOURCES
from brainssl_utils.errors import CourseError, exit_code
from brainssl_utils.files import check_writable

FIGSHARE_URL = "https://ndownloader.figshare.com/files"
_TIMEOUT = (15, 60)  # seconds to connect, seconds without a byte
_BLOCK = 2**20


@dataclass(frozen=True)
class PublishedFile:
    """A file of the figshare article: its number there, size in bytes and md5 ("" where none is known)."""

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


def _fetch(file: PublishedFile, out_dir: Path, base_url: str, progress: bool) -> Path:
    import requests

    path, part, url = out_dir / file.name, out_dir / f".{file.name}.part", file.url(base_url)
    if _is_whole(path, file):
        return path
    try:
        _resume(url, part, file, progress)
        if not _is_whole(part, file):
            found = part.stat().st_size
            part.unlink()
            reason = f"{found} bytes, {file.size} expected" if found != file.size else "its md5 does not fit"
            raise CourseError(f"{file.name} arrived damaged ({reason}) and was dropped. Run this again.")
        part.replace(path)
    except requests.RequestException as error:
        raise CourseError(
            f"{file.name} could not be downloaded from {url} ({short(error)}). Check the connection and run this again: "
            f"finished files are kept and this one goes on where it stopped. Or download it in a browser from "
            f"{SOURCES['figshare'].url} and put it into {out_dir}."
        ) from error
    except OSError as error:
        raise CourseError(f"{file.name} cannot be written in {out_dir}: {error.strerror or error}.") from error
    return path


def _resume(url: str, part: Path, file: PublishedFile, progress: bool) -> None:
    """Ask the server for what `part` lacks, and add it."""
    import requests

    done = part.stat().st_size if part.exists() else 0
    if done == file.size:
        return
    headers = {"Range": f"bytes={done}-"} if 0 < done < file.size else {}
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
        answer.raise_for_status()
        resumed = answer.status_code == requests.codes.partial_content
        start = done if resumed else 0
        with (
            open(part, "ab" if resumed else "wb") as target,
            tqdm(
                total=file.size, initial=start, desc=file.name, unit="B", unit_scale=True, file=sys.stdout,
                disable=not progress,
            ) as bar,
        ):  # fmt: skip
            for block in answer.iter_content(_BLOCK):
                target.write(block)
                bar.update(len(block))
    if part.stat().st_size < file.size:
        raise requests.ConnectionError("the connection ended early")


def _is_whole(path: Path, file: PublishedFile) -> bool:
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    with open(path, "rb") as opened:
        return file.md5 in ("", hashlib.file_digest(opened, "md5").hexdigest())


def short(error: Exception) -> str:
    """What went wrong, in a few words."""
    text = " ".join(str(error).split())
    if "Max retries exceeded" in text:
        return "no connection"
    return f"{type(error).__name__}: {text[:160]}" if text else type(error).__name__


def main() -> None:
    """Read the arguments, download, say where the files are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="data/figshare", help="folder for the files (default: data/figshare)")
    arguments = parser.parse_args()
    for path in download_figshare(arguments.out):
        print(path)
    source = SOURCES["figshare"]
    print(f"{source.total} slices, licence {source.licence}, {source.url}")


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
