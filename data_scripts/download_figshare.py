"""Download the figshare set (0.9 GB), with resume and checksums: python data_scripts/download_figshare.py --out DIR"""

from __future__ import annotations

import argparse
import sys

from brainssl_utils.data.downloads import download_figshare
from brainssl_utils.data.sources import SOURCES
from brainssl_utils.errors import CourseError


def main() -> int:
    """Read the arguments, download, say where the files are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="data/figshare", help="folder for the files (default: data/figshare)")
    arguments = parser.parse_args()
    try:
        for path in download_figshare(arguments.out):
            print(path)
    except CourseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    source = SOURCES["figshare"]
    print(f"{source.total} slices, licence {source.licence}, {source.url}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
