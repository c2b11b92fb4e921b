"""Download the three Kaggle archives the paper merges: python data_scripts/download_kaggle.py --out data"""

from __future__ import annotations

import argparse

from brainssl_utils.data.reading.downloads import download_kaggle
from brainssl_utils.data.reading.sources import PAPER_SOURCES, SOURCES
from brainssl_utils.errors import exit_code


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
