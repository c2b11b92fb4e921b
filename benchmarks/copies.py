"""Search for copies at scale: seconds, peak memory, precision and recall on planted copies.

    python benchmarks/copies.py DATA [--sizes 7671 30000 100000] [--work DIR] [--out results.json]

DATA is a folder with the archives (or "phantoms"). One image of each of its groups of copies is an original. To reach
more originals than there are, originals are bent by a smooth random displacement: such look-alikes share texture and
layout with their source but are no copies, which makes them the hard non-copies of the test, beside the neighbouring
slices that the archives hold. Each original then gets copies: resized 0.5-2 x, JPEG quality 30-90, up to 10 % of width
and height cut off, gamma 0.7-1.4, mirrored, or several of these in a row. Decoding is done beforehand and not timed.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from brainssl_utils.compute.machine import available_cores, peak_memory

SIDE = 96
CHANGES = ("resize", "jpeg", "crop", "gamma", "flip")
BEND = 0.03  # root mean square displacement of a look-alike, as a share of the image's side


def change(image: Image.Image, kind: str, rng: np.random.Generator) -> Image.Image:
    """Apply one change of the given kind with a drawn strength."""
    width, height = image.size
    if kind == "resize":
        factor = 2 ** rng.uniform(-1, 1)
        return image.resize((round(width * factor), round(height * factor)), Image.Resampling.BICUBIC)
    if kind == "jpeg":
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=int(rng.integers(30, 91)))
        return Image.open(buffer).convert("L")
    if kind == "crop":
        cut_x, cut_y = rng.uniform(0, 0.1, 2) * (width, height)
        left, top = rng.uniform(0, 1, 2) * (cut_x, cut_y)
        return image.crop((round(left), round(top), round(left + width - cut_x), round(top + height - cut_y)))
    if kind == "gamma":
        power = rng.uniform(0.7, 1.4)
        return image.point([round(255 * (level / 255) ** power) for level in range(256)])
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def bend(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Displace the pixels smoothly at random: another head that looks alike."""
    from scipy.ndimage import map_coordinates, zoom

    pixels = np.asarray(image, dtype=np.float32)
    shift = np.stack([zoom(rng.normal(size=(6, 6)), np.array(pixels.shape) / 6, order=3) for _ in range(2)])
    shift *= BEND * np.array(pixels.shape)[:, None, None] / shift.std()
    grid = np.mgrid[: pixels.shape[0], : pixels.shape[1]] + shift
    return Image.fromarray(map_coordinates(pixels, grid, order=1, mode="nearest").astype(np.uint8))


def family(content: bytes, bent: bool, copies: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Return (1 + copies, 96, 96) uint8 pixels of one original and its copies, and what was done to each."""
    rng = np.random.default_rng(seed)
    image = Image.open(io.BytesIO(content)).convert("L")
    image.thumbnail((200, 200), Image.Resampling.BOX)
    if bent:
        image = bend(image, rng)
    made, names = [image], ["original"]
    for _ in range(copies):
        kinds = [str(rng.choice(CHANGES))] if rng.random() < 0.5 else [k for k in CHANGES if rng.random() < 0.6]
        copy = image
        for kind in kinds:
            copy = change(copy, kind, rng)
        made.append(copy)
        names.append(kinds[0] if len(kinds) == 1 else "several")
    small = [np.asarray(x.resize((SIDE, SIDE), Image.Resampling.BOX)) for x in made]
    return np.stack(small), names


def originals(data: str) -> list[bytes]:
    """Return the file contents of one image of each group of copies of `data`."""
    from brainssl_utils import load_corpus

    table = load_corpus(data).table
    wanted = set(table.drop_duplicates("group")["sha256"])
    return [content for digest, content in _contents(data) if digest in wanted and not wanted.discard(digest)]


def _contents(data: str):
    """Yield (sha256, bytes) of every image file below a folder or in the zips there."""
    import hashlib

    if data == "phantoms":
        from brainssl_utils.data.phantoms.write import write_phantoms

        data = str(write_phantoms(Path(tempfile.mkdtemp()) / "phantoms"))
    for path in sorted(Path(data).rglob("*")):
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                files = [archive.read(name) for name in archive.namelist() if name.lower().endswith((".jpg", ".png"))]
        else:
            files = [path.read_bytes()] if path.suffix.lower() in (".jpg", ".png") else []
        yield from ((hashlib.sha256(content).hexdigest(), content) for content in files)


def plant(contents: list[bytes], size: int, path: Path) -> None:
    """Write `size` images with known families: a third originals, the rest copies, shuffled."""
    n_families = max(size // 3, 1)
    copies = np.full(n_families, 2) + (np.arange(n_families) < size - 3 * n_families)
    tasks = [(contents[i % len(contents)], i >= len(contents), int(copies[i]), i) for i in range(n_families)]
    with ProcessPoolExecutor() as pool:
        made = list(pool.map(family, *zip(*tasks), chunksize=64))
    pixels = np.concatenate([images for images, _ in made])
    names = np.array([name for _, batch in made for name in batch])
    member = np.repeat(np.arange(n_families), [len(images) for images, _ in made])
    order = np.random.default_rng(size).permutation(len(pixels))
    np.savez(path, images=pixels[order][:, None], family=member[order], change=names[order])


def measure(path: Path) -> dict[str, object]:
    """Search one planted set; return seconds, peak memory and what was found."""
    from brainssl_utils.data.copies.search import find_groups

    with np.load(path) as planted:
        images, truth, kind = planted["images"], planted["family"], planted["change"]
    start, busy = time.perf_counter(), time.process_time()
    found = find_groups(images, [str(i) for i in range(len(images))])
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    peak = peak_memory()
    links = found.links[found.links["value"] >= 0.98]
    own = np.full(truth.max() + 1, -1)
    own[truth[kind == "original"]] = found.group[kind == "original"]
    hit = pd.Series(found.group == own[truth])[kind != "original"].groupby(kind[kind != "original"]).mean()

    def pairs(*keys: np.ndarray) -> int:
        size = pd.Series(1, index=range(len(truth))).groupby(list(keys)).sum()
        return int((size * (size - 1) // 2).sum())

    both = pairs(found.group, truth)
    return {
        "images": len(images),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(busy, 1),
        "peak_gib": round(peak, 2),
        "pairs_compared": found.compared,
        "link_precision": round(float((truth[links["a"]] == truth[links["b"]]).mean()), 4),
        "pair_precision": round(both / max(pairs(found.group), 1), 4),
        "pair_recall": round(both / pairs(truth), 4),
        "recall": {name: round(float(value), 4) for name, value in hit.items()},
        "largest_group": int(np.bincount(found.group).max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--sizes", type=int, nargs="+", default=[7671, 30_000, 100_000])
    parser.add_argument("--work", type=Path, help="keep the planted sets here and use them again")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    arguments = parser.parse_args()
    if arguments.data.endswith(".npz"):  # one measurement in a process of its own, for its peak memory
        print(json.dumps(measure(Path(arguments.data))))
        return
    work = arguments.work or Path(tempfile.mkdtemp())
    work.mkdir(parents=True, exist_ok=True)
    contents: list[bytes] = []
    rows = []
    for size in arguments.sizes:
        path = work / f"planted-{size}.npz"
        if not path.exists():
            contents = contents or originals(arguments.data)
            plant(contents, size, path)
        run = subprocess.run([sys.executable, __file__, str(path)], check=True, capture_output=True, text=True)
        rows.append(json.loads(run.stdout.splitlines()[-1]))
        print(json.dumps(rows[-1]), flush=True)
    table = pd.DataFrame(rows)
    print(table.drop(columns="recall").to_string(index=False))
    print(pd.DataFrame(list(table["recall"]), index=table["images"]).to_string())
    # Processor time, unlike the clock, hardly depends on what else the machine is doing.
    slope = float(np.polyfit(np.log(table["images"]), np.log(table["cpu_seconds"]), 1)[0]) if len(table) > 1 else None
    print(f"processor time grows as N^{slope:.2f};" if slope else "", f"{available_cores()} cores")
    if arguments.out:
        arguments.out.write_text(json.dumps({"rows": rows, "exponent": slope}, indent=1) + "\n")


if __name__ == "__main__":
    main()
