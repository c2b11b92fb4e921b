"""Loading a folder of archives: first load and cached load against a plain Pillow loop, interleaved in one run.

    python benchmarks/loading.py DATA --repeats 3

The plain loop opens each file of the zips, converts it to grey and resizes it to 96 x 96 on one thread; it computes
neither hashes nor groups. "read and decode" is this project's share of the same work (with SHA-256 and perceptual
hashes), "first load" adds duplicate groups and the writing of the cache.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from brainssl_utils.data.archives import expand, scan
from brainssl_utils.data.corpus import load_corpus
from brainssl_utils.data.gather import gather
from brainssl_utils.data.ingest import ingest


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
    return len(ingest(listing, gather(listing), 96, threads, False, []).images)


def seconds(work: Callable[[], int]) -> tuple[float, int]:
    """Wall time of one call, and the number of images it returned."""
    start = time.perf_counter()
    count = work()
    return time.perf_counter() - start, count


def main() -> None:
    """Measure in turns and print a table of medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with zips of images")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    data, threads = arguments.data, arguments.threads
    times: dict[str, list[float]] = {"plain loop": [], "read and decode": [], "first load": [], "cached load": []}
    for _ in range(arguments.repeats):
        with tempfile.TemporaryDirectory() as cache:

            def load(cache: str = cache) -> int:
                return len(load_corpus(data, cache_dir=cache, progress=False, threads=threads))

            turns = (lambda: plain_loop(data), lambda: read_and_decode(data, threads), load, load)
            counts = set()
            for name, work in zip(times, turns):
                spent, count = seconds(work)
                times[name].append(spent)
                counts.add(count)
            if len(counts) > 1:
                raise SystemExit(f"the variants do not load the same files: {counts}")
    plain = statistics.median(times["plain loop"])
    print(
        f"{counts.pop()} images, {threads} threads, {os.cpu_count()} cores, median of {arguments.repeats} interleaved runs"
    )
    print(f"{'':18}{'seconds':>9}{'lowest':>9}{'highest':>9}{'plain loop / this':>20}")
    for name, values in times.items():
        middle = statistics.median(values)
        print(f"{name:18}{middle:9.2f}{min(values):9.2f}{max(values):9.2f}{plain / middle:20.1f}")


if __name__ == "__main__":
    main()
