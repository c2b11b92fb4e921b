"""Make the bands of the panel "is my run healthy?" from records of runs that differ in their seed.

for seed in 0 1 2; do brainssl train simclr --profile quick --seed $seed --out runs/health; done
python benchmarks/health_bands.py runs/health

Writes results/reference/health.csv: for each method, settings, sizes and data with three seeds or more the 95 % prediction
interval of a further run, a row a measure and epoch, with profile, split, seeds and device beside it. What the file holds
of other trainings stays.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from brainssl_utils.results.health import FILE, add_bands
from brainssl_utils.results.records import read_records


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs, or records")
    parser.add_argument("--out", type=Path, default=FILE, help="the file of bands")
    given = parser.parse_args(arguments)
    made = add_bands(read_records(given.runs), given.out)
    about = ["method", "protocol", "tag", "data", "profile", "split", "seeds"]
    print(made[about].drop_duplicates().to_string(index=False))


if __name__ == "__main__":
    main()
