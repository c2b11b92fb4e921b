"""List what each lesson promised and showed, over runs of the course at several seeds.

brainssl course --seed 0 --out runs/seed0        (and so on for 1 and 2)
python benchmarks/lesson_effects.py runs/seed0 runs/seed1 runs/seed2
"""

from __future__ import annotations

import argparse
from pathlib import Path

from brainssl_utils.results.effects import effects_table


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs of the course")
    table = effects_table(parser.parse_args(arguments).runs)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
