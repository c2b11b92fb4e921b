"""Download the three Kaggle archives the paper merges: python data_scripts/download_kaggle.py --out data"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from download_figshare import short

from brainssl_utils.data.reading.sources import PAPER_SOURCES, SOURCES, Source
from brainssl_utils.errors import CourseError, exit_code
from brainssl_utils.files import check_writable, clear_leftovers, temporary_path


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
    return [_fetch(SOURCES[name], out_dir / name, download) for name in names]


def _fetch(source: Source, target: Path, download: Callable[[str], str] | None) -> Path:
    if target.is_dir() and any(target.iterdir()):
        print(f"{target} is there already")
        return target
    clear_leftovers(target.parent)
    temporary = temporary_path(target)
    try:
        if download is None:
            import kagglehub

            download = kagglehub.dataset_download
        shutil.copytree(download(source.handle), temporary)
        shutil.rmtree(target, ignore_errors=True)
        temporary.rename(target)
    except Exception as error:  # kagglehub passes on whatever requests, its own classes or the disk raise
        raise CourseError(
            f"{source.handle} could not be downloaded ({short(error)}). Without a connection or if Kaggle asks for an "
            f"account: open {source.url} in a browser, press Download, and put the zip into {target.parent} as it is. "
            "With an account: set KAGGLE_USERNAME and KAGGLE_KEY and run this again."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def main() -> None:
    """Read the arguments, download, say where the files are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="data", help="folder that receives one folder an archive (default: data)")
    parser.add_argument("names", nargs="*", help=f"some of: {', '.join(PAPER_SOURCES)} (default: all)")
    arguments = parser.parse_args()
    for path in download_kaggle(arguments.out, arguments.names or PAPER_SOURCES):
        source = SOURCES[path.name]
        print(f"{path}: {source.total} images published, licence {source.licence}, {source.url}")


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
