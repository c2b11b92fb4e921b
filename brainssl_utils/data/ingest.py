"""First load of a corpus: read and decode every file once, several side by side, and keep what is known of each."""

from __future__ import annotations

import hashlib
import mmap
import multiprocessing
import signal
import sys
import threading
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from brainssl_utils.data.archives import Entry, Listing, Problem, Unreadable, is_nested, open_place, read_entry
from brainssl_utils.data.decode import Decoded, decode_image, squares_of
from brainssl_utils.data.figshare import parse_folds, parse_slice
from brainssl_utils.data.gather import FIGSHARE, Gathered, Item
from brainssl_utils.data.sources import SOURCES
from brainssl_utils.errors import CourseError

# Groups and hashes are always taken at this size, so that they do not depend on the size asked for.
STANDARD_SIZE = 96
WORTH_PROCESSES = 500  # files; starting processes for fewer costs more than it gains
_CHUNK = 32  # files a task: long enough to make hand-over cheap, short enough for a lively progress bar


@dataclass
class Pixels:
    """What decoding gave, row for row: `standard` (N, 1, 96, 96) and `images` (N, 1, S, S), both uint8."""

    standard: np.ndarray
    images: np.ndarray
    table: pd.DataFrame


@dataclass(frozen=True)
class _Read:
    """What is known of one file that was read; its pixels are in the reader's squares."""

    width: int
    height: int
    note: str
    sha256: str
    class_name: str
    patient: str


def ingest(
    listing: Listing, gathered: Gathered, image_size: int, threads: int, progress: bool, problems: list[Problem]
) -> Pixels:
    """Decode the gathered files; files that cannot be used become rows of `problems`, in the files' order.

    Raises:
        CourseError: a decoding process was killed, for want of memory most likely.
    """
    items = gathered.items
    sizes = (STANDARD_SIZE,) if image_size == STANDARD_SIZE else (STANDARD_SIZE, image_size)
    reader = _Reader(listing.root, items, sizes)
    kept: list[int] = []
    rows: list[tuple[object, ...]] = []
    with (
        warnings.catch_warnings(),
        tqdm(
            total=len(items), desc="reading images", unit="img", file=sys.stdout, disable=not progress, mininterval=0.5
        ) as bar,
    ):
        warnings.simplefilter("ignore")  # Pillow on odd files: what becomes of each is reported in `problems`
        for number, (item, read) in enumerate(zip(items, _read_all(reader, threads))):
            bar.update()
            if isinstance(read, Unreadable):
                problems.append(Problem(item.source, item.path, str(read), "skipped"))
                continue
            if read.note:
                problems.append(Problem(item.source, item.path, read.note, "kept"))
            kept.append(number)
            rows.append(_row(item, read))
    columns = ["id", "source", "class_name", "path", "sha256", "width", "height", "patient", "plane"]
    table = pd.DataFrame(rows, columns=columns)
    table.insert(2, "label", table["class_name"].map({name: i for i, name in enumerate(gathered.classes)}))
    table["label"] = table["label"].astype(np.int8)
    table["fold"] = _folds(listing, gathered, table, problems)
    _compare_counts(table, problems)
    squares = reader.squares if len(kept) == len(items) else [array[kept] for array in reader.squares]
    return Pixels(squares[0], squares[-1], table)


class _Reader:
    """Reads and decodes runs of files into arrays that threads or forked processes share.

    Attributes:
        squares: an (N, 1, S, S) uint8 array a size; the rows of files that cannot be read stay as they are.
    """

    def __init__(self, root: Path, items: Sequence[Item], sizes: Sequence[int]) -> None:
        self.items, self.sizes = items, sizes
        self.squares = [_shared(len(items), size) for size in sizes]
        # Files come place by place: where one zip ends and the next begins, threads read from both.
        self._opened = lru_cache(maxsize=2)(lambda place: _Opened(open_place(root, place)))
        self._opening = threading.Lock()  # or several threads would open (and a zip inside a zip: read) the same one

    def __call__(self, rows: range) -> list[_Read | Unreadable]:
        return [self._read(row) for row in rows]

    def _read(self, row: int) -> _Read | Unreadable:
        item = self.items[row]
        try:
            with self._opening:
                opened = self._opened(item.entry.place)  # held while it is read, for it closes with its last holder
            data = read_entry(opened.place, item.entry)
            decoded, name, patient = _decoded(item, data, self.sizes)
        except Unreadable as error:
            return error
        for array, square in zip(self.squares, decoded.squares):
            array[row, 0] = square
        sha256 = hashlib.sha256(data).hexdigest()
        return _Read(decoded.width, decoded.height, decoded.note, sha256, name, patient)


class _Opened:
    """A zip (or folder) that stays open for as long as it is in use, by one thread or several."""

    def __init__(self, manager: AbstractContextManager[zipfile.ZipFile | Path]) -> None:
        self._manager = manager  # closes the zip when nobody holds it any more
        self.place = manager.__enter__()


def _decoded(item: Item, data: bytes, sizes: Sequence[int]) -> tuple[Decoded, str, str]:
    """The pixels, class and patient of one file."""
    if item.class_name is None:
        part = parse_slice(data)
        return squares_of(part.grey(), sizes), part.label, part.patient
    return decode_image(data, sizes), item.class_name, item.patient


def _shared(n: int, size: int) -> np.ndarray:
    """(n, 1, size, size) uint8 in memory that forked processes write into for their parent to see."""
    return np.frombuffer(mmap.mmap(-1, max(1, n * size * size)), np.uint8, n * size * size).reshape(n, 1, size, size)


def _read_all(reader: _Reader, threads: int) -> Iterator[_Read | Unreadable]:
    """Yield the outcome of every item, in order."""
    n = len(reader.items)
    chunks = [range(first, min(first + _CHUNK, n)) for first in range(0, n, _CHUNK)]
    pool, work = _pool(reader, threads)
    try:
        for outcomes in pool.map(work, chunks):
            yield from outcomes
    except BrokenProcessPool as error:
        reason = "a process that decoded images was killed, for want of memory most likely"
        raise CourseError(f"{reason}. Call load_corpus with threads=1.") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _pool(reader: _Reader, threads: int) -> tuple[Executor, Any]:
    """Processes where they can be forked, for threads spend much of their time waiting for Python; threads elsewhere."""
    few = threads == 1 or len(reader.items) < WORTH_PROCESSES
    daemon = multiprocessing.current_process().daemon  # which may not have processes of its own
    # A zip inside a zip is read into memory whole: once for all threads, but once for each process.
    nested = any(is_nested(item.entry.place) for item in reader.items)
    if sys.platform != "linux" or few or daemon or nested:
        return ThreadPoolExecutor(threads), reader
    fork = multiprocessing.get_context("fork")
    return ProcessPoolExecutor(threads, mp_context=fork, initializer=_begin, initargs=(reader,)), _work


_reader: _Reader  # of a forked process


def _begin(reader: _Reader) -> None:
    global _reader
    _reader = reader
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends its processes


def _work(rows: range) -> list[_Read | Unreadable]:
    return _reader(rows)


def _row(item: Item, read: _Read) -> tuple[object, ...]:
    size = read.width, read.height
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
