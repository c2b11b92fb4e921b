"""Loading a folder of archives: first load and cached load against a plain Pillow loop, interleaved in one run.

    python benchmarks/loading.py [DATA] [--repeats 3] [--out benchmarks/results]

The plain loop opens each file of the zips, converts it to grey and resizes it to 96 x 96 on one thread; it computes
neither hashes nor groups. "read and decode" is this project's share of the same work (with SHA-256), "first load" adds
the writing of the cache, "search for copies" what the first use of `Corpus.table` costs after a first load (perceptual
hashes and groups), "cached load" has the table too.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.loading import load_corpus
from brainssl_utils.data.phantoms.write import write_phantoms
from brainssl_utils.data.reading.archives import expand, scan
from brainssl_utils.data.reading.gather import gather
from brainssl_utils.data.reading.ingest import ingest
from brainssl_utils.files import atomic_path


def plain_loop(data: Path) -> int:
    """What one writes first: every file in turn."""
    images = []
    for path in sorted(data.rglob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    image = Image.open(io.BytesIO(archive.read(info))).convert("L")
                    images.append(np.asarray(image.resize((96, 96), Image.Resampling.BILINEAR)))
    return len(np.stack(images))


def read_and_decode(data: Path, threads: int) -> int:
    """Listing, reading, decoding and hashing, without groups and cache."""
    listing = scan(data)
    expand(listing)
    return len(ingest(listing, gather(listing), 96, threads, False, [])[1])


def zipped_phantoms(folder: Path) -> Path:
    """Write phantoms as three zips, as the archives come."""
    write_phantoms(folder / "phantoms", 1500, 0)
    for source in sorted((folder / "phantoms").iterdir()):
        if source.is_dir():
            shutil.make_archive(str(folder / "zips" / source.name), "zip", source)
    return folder / "zips"


def seconds(work: Callable[[], int]) -> tuple[float, int]:
    """Wall time of one call, and the number of images it returned."""
    start = time.perf_counter()
    count = work()
    return time.perf_counter() - start, count


def main() -> None:
    """Measure in turns, then print and keep a table of medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="phantoms", help='folder with zips of images, or "phantoms"')
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = zipped_phantoms(Path(folder)) if arguments.data == "phantoms" else Path(arguments.data)
        text = measure(data, arguments.threads, arguments.repeats)
    with atomic_path(arguments.out / "loading.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(text)


def one_round(data: Path, threads: int, cache: str) -> dict[str, tuple[float, int]]:
    """Seconds and number of images of each variant, the cache being empty at first."""
    corpora: list[Corpus] = []

    def load() -> Corpus:
        corpora.append(load_corpus(data, cache_dir=cache, progress=False, threads=threads))
        return corpora[-1]

    return {
        "plain loop": seconds(lambda: plain_loop(data)),
        "read and decode": seconds(lambda: read_and_decode(data, threads)),
        "first load": seconds(lambda: len(load())),
        "search for copies": seconds(lambda: len(corpora[0].table)),
        "cached load": seconds(lambda: len(load().table)),
    }


def measure(data: Path, threads: int, repeats: int) -> str:
    """The table, in Markdown."""
    times: dict[str, list[float]] = {}
    counts: set[int] = set()
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            for name, (spent, count) in one_round(data, threads, cache).items():
                times.setdefault(name, []).append(spent)
                counts.add(count)
    if len(counts) > 1:
        raise SystemExit(f"the variants do not load the same files: {counts}")
    plain = times["plain loop"]
    lines = [
        "# Loading",
        "",
        f"{counts.pop()} images, {threads} threads, {os.cpu_count()} cores, {repeats} interleaved rounds: medians, and the",
        "median of the rounds' own ratios.",
        "",
        "| | seconds | least | greatest | plain loop / this |",
        "|---|---|---|---|---|",
    ]
    for name, values in times.items():
        ratio = statistics.median(a / b for a, b in zip(plain, values))
        lines.append(
            f"| {name} | {statistics.median(values):.2f} | {min(values):.2f} | {max(values):.2f} | {ratio:.1f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
