"""Download the figshare set (0.9 GB), with resume and checksums: python data_scripts/download_figshare.py --out DIR"""

from __future__ import annotations

import argparse

from brainssl_utils.data.reading.downloads import download_figshare
from brainssl_utils.data.reading.sources import SOURCES
from brainssl_utils.errors import exit_code


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
