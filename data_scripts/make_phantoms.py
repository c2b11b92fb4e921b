"""Write a set of synthetic phantoms: python data_scripts/make_phantoms.py data/phantoms --files 1500 --seed 0"""

from __future__ import annotations

import argparse

from brainssl_utils.data.phantoms.write import write_phantoms
from brainssl_utils.errors import exit_code


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="new or empty folder for the three sources and manifest.csv")
    parser.add_argument("--files", type=int, default=1500, help="files in all, 60 or more (default 1500)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same bytes (default 0)")
    parser.add_argument("--workers", type=int, default=None, help="threads (default: one a core, four at most)")
    arguments = parser.parse_args()
    print(write_phantoms(arguments.folder, arguments.files, arguments.seed, arguments.workers))


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
