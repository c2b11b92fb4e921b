"""First load of a corpus: read and decode every file once, on several threads, and keep what is known of each."""

from __future__ import annotations

import hashlib
import sys
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from brainssl_utils.data.archives import Entry, Listing, Problem, Unreadable, open_place, read_entry
from brainssl_utils.data.decode import HASH_SIDE, Decoded, decode_image, perceptual_hashes, squares_of
from brainssl_utils.data.figshare import parse_folds, parse_slice
from brainssl_utils.data.gather import FIGSHARE, Gathered, Item
from brainssl_utils.data.sources import SOURCES

# Groups and hashes are always taken at this size, so that they do not depend on the size asked for.
STANDARD_SIZE = 96
_CHUNK = 32  # files a task: long enough to make hand-over cheap, short enough for a lively progress bar


@dataclass
class Pixels:
    """What decoding gave, row for row: `standard` (N, 1, 96, 96) and `images` (N, 1, S, S), both uint8."""

    standard: np.ndarray
    images: np.ndarray
    table: pd.DataFrame


@dataclass(frozen=True)
class _Read:
    """One file that was read."""

    decoded: Decoded
    sha256: str
    class_name: str
    patient: str


def ingest(
    listing: Listing, gathered: Gathered, image_size: int, threads: int, progress: bool, problems: list[Problem]
) -> Pixels:
    """Decode the gathered files; files that cannot be used become rows of `problems`, in the files' order."""
    items = gathered.items
    sizes = (STANDARD_SIZE,) if image_size == STANDARD_SIZE else (STANDARD_SIZE, image_size)
    squares = [np.empty((len(items), 1, size, size), dtype=np.uint8) for size in sizes]
    thumbs = np.empty((len(items), HASH_SIDE, HASH_SIDE), dtype=np.uint8)
    kept: list[int] = []
    rows: list[tuple[object, ...]] = []
    with (
        warnings.catch_warnings(),
        tqdm(
            total=len(items), desc="reading images", unit="img", file=sys.stdout, disable=not progress, mininterval=0.5
        ) as bar,
    ):
        warnings.simplefilter("ignore")  # Pillow on odd files: what becomes of each is reported in `problems`
        for item, read in _read_all(listing.root, items, sizes, threads):
            bar.update()
            if isinstance(read, Unreadable):
                problems.append(Problem(item.source, item.path, str(read), "skipped"))
                continue
            if read.decoded.note:
                problems.append(Problem(item.source, item.path, read.decoded.note, "kept"))
            row = len(kept)
            for array, square in zip(squares, read.decoded.squares):
                array[row, 0] = square
            thumbs[row] = read.decoded.thumb
            kept.append(row)
            rows.append(_row(item, read))
    count = len(kept)
    columns = ["id", "source", "class_name", "path", "sha256", "width", "height", "patient", "plane"]
    table = pd.DataFrame(rows, columns=columns)
    table.insert(2, "label", table["class_name"].map({name: i for i, name in enumerate(gathered.classes)}))
    table["label"] = table["label"].astype(np.int8)
    table.insert(8, "phash", [f"{value:016x}" for value in perceptual_hashes(thumbs[:count]).tolist()])
    table["fold"] = _folds(listing, gathered, table, problems)
    _compare_counts(table, problems)
    return Pixels(squares[0][:count], squares[-1][:count], table)


def _read_all(
    root: Path, items: Sequence[Item], sizes: Sequence[int], threads: int
) -> Iterator[tuple[Item, _Read | Unreadable]]:
    """Yield every item with its outcome, in order; files of one zip are read through one handle."""
    pool = ThreadPoolExecutor(threads)
    try:
        for place, group in groupby(items, key=lambda item: item.entry.place):
            members = list(group)
            try:
                with open_place(root, place) as opened:
                    chunks = [members[i : i + _CHUNK] for i in range(0, len(members), _CHUNK)]
                    for chunk, outcomes in zip(chunks, pool.map(lambda c: _read_chunk(opened, c, sizes), chunks)):
                        yield from zip(chunk, outcomes)
            except Unreadable as error:
                yield from ((item, error) for item in members)
    finally:
        pool.shutdown(cancel_futures=True)


def _read_chunk(
    opened: zipfile.ZipFile | Path, items: Sequence[Item], sizes: Sequence[int]
) -> list[_Read | Unreadable]:
    outcomes: list[_Read | Unreadable] = []
    for item in items:
        try:
            outcomes.append(_read_one(opened, item, sizes))
        except Unreadable as error:
            outcomes.append(error)
    return outcomes


def _read_one(opened: zipfile.ZipFile | Path, item: Item, sizes: Sequence[int]) -> _Read:
    data = read_entry(opened, item.entry)
    sha256 = hashlib.sha256(data).hexdigest()
    if item.class_name is None:
        part = parse_slice(data)
        return _Read(squares_of(part.grey(), sizes), sha256, part.label, part.patient)
    return _Read(decode_image(data, sizes), sha256, item.class_name, item.patient)


def _row(item: Item, read: _Read) -> tuple[object, ...]:
    size = read.decoded.width, read.decoded.height
    return item.id, item.source, read.class_name, item.path, read.sha256, *size, read.patient, item.plane


def _folds(listing: Listing, gathered: Gathered, table: pd.DataFrame, problems: list[Problem]) -> pd.Series:
    """The figshare set's own patient fold (1..5) of each row, missing elsewhere."""
    folds = pd.Series(pd.NA, index=table.index, dtype="Int64")
    entry: Entry | None = gathered.folds
    slices = table["source"] == FIGSHARE
    if not slices.any():
        return folds
    if entry is None:
        problems.append(Problem(FIGSHARE, "cvind.mat", "not found: the set's own patient folds are missing", "note"))
        return folds
    try:
        with open_place(listing.root, entry.place) as opened:
            published = parse_folds(read_entry(opened, entry))
    except Unreadable as error:
        problems.append(Problem(FIGSHARE, entry.shown, str(error), "skipped"))
        return folds
    numbers = table["path"].where(slices, "0").str.partition(".")[0].astype(np.int64)
    known = slices & numbers.between(1, len(published))
    folds[known] = published[numbers[known].to_numpy() - 1]
    return folds


def _compare_counts(table: pd.DataFrame, problems: list[Problem]) -> None:
    for name in table["source"].unique():
        if name in SOURCES:
            found = table.loc[table["source"] == name, "class_name"].value_counts()
            for class_name, published in SOURCES[name].counts.items():
                count = int(found.get(class_name, 0))
                if count != published:
                    reason = f"{class_name}: {count} images loaded, {published} published"
                    problems.append(Problem(name, "", reason, "note"))
