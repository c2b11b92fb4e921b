"""Merge a folder of archives into one .npz and one .csv: python data_scripts/merge_datasets.py DATA --out merged"""

from __future__ import annotations

import argparse

from brainssl_utils.data.corpus import load_corpus
from brainssl_utils.data.export import export_corpus
from brainssl_utils.errors import exit_code


def main() -> None:
    """Read the arguments, load, write, print the counts and what was odd."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help='folder with archives or class folders, one zip, or "phantoms"')
    parser.add_argument("--out", default="merged", help="path without ending of the .npz and .csv (default: merged)")
    parser.add_argument("--image-size", type=int, default=96, help="side of the square images in px (default: 96)")
    arguments = parser.parse_args()
    corpus = load_corpus(arguments.data, image_size=arguments.image_size)
    written = export_corpus(corpus, arguments.out)
    print(corpus.summary().to_string())
    if len(corpus.problems):
        print(f"\nremarks:\n{corpus.problems.to_string(index=False)}")
    print(f"\nwritten: {', '.join(str(path) for path in written)}")


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
