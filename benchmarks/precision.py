"""What bfloat16 costs in accuracy: the same trainings in float32 and in bfloat16, read by the same probes.

    python benchmarks/precision.py [DATA] [--seeds 3] [--profile quick] [--out benchmarks/results]

On a machine without fast bfloat16 the two are the same training and the difference is 0.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from brainssl_utils.compute import hardware
from brainssl_utils.data.loading import load_corpus
from brainssl_utils.data.splits.draw import grouped_split
from brainssl_utils.files import atomic_path
from brainssl_utils.intervals import t_interval
from brainssl_utils.methods import make_method
from brainssl_utils.settings import get_profile
from brainssl_utils.training.trainer import fit


def main() -> None:
    """Train in turns, print the table and the paired differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="phantoms", help='folder with archives, or "phantoms"')
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--method", default="simclr")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    corpus, profile = load_corpus(arguments.data, progress=False), get_profile(arguments.profile)
    native = hardware.precision()
    rows = []
    for seed in range(arguments.seeds):
        split = grouped_split(corpus, seed)
        for precision in ("32-true", native):
            hardware.precision = lambda precision=precision: precision
            method = make_method(arguments.method, "fair", profile.image_size, seed, len(corpus.classes))
            run = fit(method, corpus, split, profile, seed, progress=False)
            rows += [
                {"precision": precision, "seed": seed, "probe": kind, "accuracy": 100 * report["accuracy"]}
                for kind, report in run.record["evaluations"].items()
            ]
            print(f"seed {seed}, {precision}: {run.record['throughput']['views_per_second']:.0f} views/s", flush=True)
    wide = pd.DataFrame(rows).pivot(index=["probe", "seed"], columns="precision", values="accuracy")
    lines = [
        f"# {native} against float32",
        "",
        f"{arguments.method}, profile {profile.name}, {corpus.name}: {len(corpus)} images, grouped split, test accuracy in %.",
        "",
        "```",
        wide.round(1).to_string(),
        "```",
        "",
    ]
    for probe, mine in wide.groupby("probe"):
        mean, low, high = t_interval((mine[native] - mine["32-true"]).to_numpy())
        lines.append(f"- {probe}: {native} minus float32 {mean:+.1f} points, 95 % t interval [{low:+.1f}, {high:+.1f}]")
    text = "\n".join(lines) + "\n"
    with atomic_path(arguments.out / "precision.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
