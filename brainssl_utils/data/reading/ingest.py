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
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from brainssl_utils.data.reading.archives import Entry, Listing, Problem, Unreadable, is_nested, open_place, read_entry
from brainssl_utils.data.reading.decode import Decoded, decode_image, squares
from brainssl_utils.data.reading.figshare import parse_folds, parse_slice
from brainssl_utils.data.reading.gather import FIGSHARE, Gathered, Item
from brainssl_utils.data.reading.sources import SOURCES
from brainssl_utils.errors import CourseError

WORTH_PROCESSES = 500  # files; starting processes for fewer costs more than it gains
_CHUNK = 32  # files a task: long enough to make hand-over cheap, short enough for a lively progress bar
_HELD = 1 << 23  # px of decoded pictures that wait to be resized together; more are resized at once


class _Read(NamedTuple):
    """What is known of one file that was read; its pixels are in the reader's squares."""

    width: int
    height: int
    note: str
    sha256: str
    class_name: str
    patient: str


def ingest(
    listing: Listing,
    gathered: Gathered,
    sizes: Sequence[int],
    threads: int,
    progress: bool,
    problems: list[Problem],
) -> tuple[list[np.ndarray], pd.DataFrame]:
    """Decode the gathered files; files that cannot be used become rows of `problems`, in the files' order.

    Returns:
        The images, a (N, 1, S, S) uint8 array for each of `sizes`, and a table of the files, row for row.

    Raises:
        CourseError: a decoding process was killed, for want of memory most likely.
    """
    items = gathered.items
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
        outcomes = _read_all(reader, threads, bar)
    for number, (item, read) in enumerate(zip(items, outcomes)):
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
    return reader.squares if len(kept) == len(items) else [array[kept] for array in reader.squares], table


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

    def __call__(self, rows: Sequence[int]) -> list[_Read | Unreadable]:
        outcomes: list[_Read | Unreadable] = []
        waiting: dict[int, Decoded] = {}
        held = 0
        last: tuple[str, Decoded, str, str] | None = None
        for row in rows:
            item = self.items[row]
            try:
                data = self._bytes(item)
                sha256 = hashlib.sha256(data).hexdigest()
                if last is None or last[0] != sha256:  # copies of a file come one after the other
                    last = sha256, *_decoded(item, data, max(self.sizes))
            except Unreadable as error:
                outcomes.append(error)
                continue
            _, picture, name, patient = last
            size = picture.width, picture.height
            outcomes.append(_Read(*size, picture.note, sha256, item.class_name or name, item.patient or patient))
            waiting[row] = picture
            held += picture.grey.width * picture.grey.height
            if held > _HELD:
                self._resize(waiting)
                waiting, held = {}, 0
        self._resize(waiting)
        return outcomes

    def _bytes(self, item: Item) -> bytes:
        with self._opening:
            opened = self._opened(item.entry.place)  # held while it is read, for it closes with its last holder
        return read_entry(opened.place, item.entry)

    def _resize(self, pictures: dict[int, Decoded]) -> None:
        for array, size in zip(self.squares, self.sizes):
            array[list(pictures), 0] = squares(list(pictures.values()), size)


class _Opened:
    """A zip (or folder) that stays open for as long as it is in use, by one thread or several."""

    def __init__(self, manager: AbstractContextManager[zipfile.ZipFile | Path]) -> None:
        self._manager = manager  # closes the zip when nobody holds it any more
        self.place = manager.__enter__()


def _decoded(item: Item, data: bytes, largest: int) -> tuple[Decoded, str, str]:
    """The picture in one file, and the class and patient where the file itself tells them."""
    if item.class_name is None:
        part = parse_slice(data)
        grey = Image.fromarray(part.grey())
        return Decoded(grey, grey.width, grey.height), part.label, part.patient
    return decode_image(data, largest), "", ""


def _shared(n: int, size: int) -> np.ndarray:
    """(n, 1, size, size) uint8 in memory that forked processes write into for their parent to see."""
    return np.frombuffer(mmap.mmap(-1, max(1, n * size * size)), np.uint8, n * size * size).reshape(n, 1, size, size)


def _read_all(reader: _Reader, threads: int, bar: tqdm) -> list[_Read | Unreadable]:
    """Return the outcome of every item, in order."""
    order = _copies_together(reader.items)
    chunks = [order[first : first + _CHUNK] for first in range(0, len(order), _CHUNK)]
    found: dict[int, _Read | Unreadable] = {}
    pool, work = _pool(reader, threads)
    try:
        for rows, outcomes in zip(chunks, pool.map(work, chunks)):
            found.update(zip(rows, outcomes))
            bar.update(len(rows))
        return [found[row] for row in range(len(order))]
    except BrokenProcessPool as error:
        reason = "a process that decoded images was killed, for want of memory most likely"
        raise CourseError(f"{reason}. Call load_corpus with threads=1.") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _copies_together(items: Sequence[Item]) -> list[int]:
    """Row numbers in order, but for files that are copies by their zip's checksum: they follow the first of them."""
    firsts: dict[object, int] = {}
    row_of = []
    for row, entry in enumerate(item.entry for item in items):
        key = (entry.place, entry.size, entry.info.CRC) if entry.info else row
        row_of.append(firsts.setdefault(key, row))
    return sorted(range(len(items)), key=row_of.__getitem__)


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


def _work(rows: Sequence[int]) -> list[_Read | Unreadable]:
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
