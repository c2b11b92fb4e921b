"""First load of a corpus: read and decode every file once, several side by side, and keep what is known of each."""

from __future__ import annotations

import hashlib
import sys
import warnings
import zipfile
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from brainssl_utils.data.reading.archives import Listing, Problem, Unreadable, as_text, open_place, read_entry
from brainssl_utils.data.reading.decode import Decoded, decode_image
from brainssl_utils.data.reading.figshare import parse_folds, parse_slice
from brainssl_utils.data.reading.gather import FIGSHARE, Gathered, Item
from brainssl_utils.data.reading.sources import SOURCES


class _Read(NamedTuple):
    """What one file told; its pixels are in the array of images. Class and patient are "" where only its place tells."""

    sha256: str
    width: int
    height: int
    note: str
    class_name: str
    patient: str


def ingest(
    listing: Listing, gathered: Gathered, size: int, threads: int, progress: bool, problems: list[Problem]
) -> tuple[np.ndarray, pd.DataFrame]:
    """Decode the gathered files; files that cannot be used become rows of `problems`, in the files' order.

    Returns:
        The images, a (N, 1, size, size) uint8 array, and a table of the files, row for row.
    """
    reader = _Reader(gathered.items, size)
    reader.read_all(listing.root, threads, progress)
    kept, rows = [], []
    for row, item in enumerate(gathered.items):
        read = reader.outcome(row)
        if isinstance(read, Unreadable):
            problems.append(Problem(item.source, item.path, str(read), "skipped"))
            continue
        if read.note:
            problems.append(Problem(item.source, item.path, read.note, "kept"))
        kept.append(row)
        class_name = item.class_name or read.class_name
        label = gathered.classes.index(class_name)
        names = map(as_text, (item.id, item.source, class_name, item.path))
        known = read.sha256, read.width, read.height, item.patient or read.patient, item.plane
        rows.append((*names, label, *known))
    columns = ["id", "source", "class_name", "path", "label", "sha256", "width", "height", "patient", "plane"]
    table = pd.DataFrame(rows, columns=columns)
    table.insert(2, "label", table.pop("label").astype(np.int8))
    table["fold"] = _folds(listing, gathered, table, problems)
    _compare_counts(table, problems)
    return reader.images[kept], table


class _Reader:
    """Reads and decodes files in threads, each content once: Pillow decodes and resizes outside Python's lock.

    Attributes:
        images: (N, 1, S, S) uint8; the rows of files that cannot be read stay black.
    """

    def __init__(self, items: Sequence[Item], size: int) -> None:
        self.items = items
        self.images = np.zeros((len(items), 1, size, size), dtype=np.uint8)
        self._outcomes: list[_Read | Unreadable] = [Unreadable("not read")] * len(items)
        self._first: dict[tuple[str, bool], int] = {}  # the row that decodes a content
        self._same: dict[int, int] = {}  # rows whose content another row decodes

    def read_all(self, root: Path, threads: int, progress: bool) -> None:
        """Read archive by archive, so that one is open at a time."""
        places = defaultdict(list)
        for row, item in enumerate(self.items):
            places[item.entry.place].append(row)
        bar = tqdm(
            total=len(self.items), desc="reading images", unit="img", file=sys.stdout, disable=not progress, mininterval=0.5
        )  # fmt: skip
        pool = ThreadPoolExecutor(threads)
        with bar, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow on odd files: what becomes of each is reported in `problems`
            try:
                for place, rows in places.items():
                    self._read_place(root, place, rows, pool, bar)
            finally:
                pool.shutdown(cancel_futures=True)  # Ctrl-C would otherwise wait for every file
        for row, first in self._same.items():
            self.images[row] = self.images[first]

    def outcome(self, row: int) -> _Read | Unreadable:
        """What became of a file."""
        return self._outcomes[self._same.get(row, row)]

    def _read_place(self, root: Path, place: str, rows: list[int], pool: ThreadPoolExecutor, bar: tqdm) -> None:
        try:
            with open_place(root, place) as opened:
                for _ in pool.map(partial(self._read, opened), rows):
                    bar.update()
        except Unreadable as error:  # an archive that can no longer be opened
            for row in rows:
                self._outcomes[row] = error

    def _read(self, opened: zipfile.ZipFile | Path, row: int) -> None:
        item = self.items[row]
        try:
            data = read_entry(opened, item.entry)
            sha256 = hashlib.sha256(data).hexdigest()
            first = self._first.setdefault((sha256, item.class_name is None), row)
            if first != row:
                self._same[row] = first
                return
            picture, class_name, patient = _decoded(item, data, self.images.shape[-1])
            self.images[row, 0] = picture.square(self.images.shape[-1])
            self._outcomes[row] = _Read(sha256, picture.width, picture.height, picture.note, class_name, patient)
        except Unreadable as error:
            self._outcomes[row] = error


def _decoded(item: Item, data: bytes, size: int) -> tuple[Decoded, str, str]:
    """The picture in one file, and the class and patient where the file itself tells them."""
    if item.class_name is None:
        part = parse_slice(data)
        grey = Image.fromarray(part.grey())
        return Decoded(grey, grey.width, grey.height), part.label, part.patient
    return decode_image(data, size), "", ""


def _folds(listing: Listing, gathered: Gathered, table: pd.DataFrame, problems: list[Problem]) -> pd.Series:
    """The figshare set's own patient fold (1..5) of each row, missing elsewhere."""
    folds = pd.Series(pd.NA, index=table.index, dtype="Int64")
    slices = table["source"] == FIGSHARE
    if not slices.any():
        return folds
    if gathered.folds is None:
        problems.append(Problem(FIGSHARE, "cvind.mat", "not found: the set's own patient folds are missing", "note"))
        return folds
    try:
        with open_place(listing.root, gathered.folds.place) as opened:
            published = parse_folds(read_entry(opened, gathered.folds))
    except Unreadable as error:
        problems.append(Problem(FIGSHARE, gathered.folds.shown, str(error), "skipped"))
        return folds
    numbers = table["path"].where(slices, "0").str.partition(".")[0].astype(np.int64)
    known = slices & numbers.between(1, len(published))
    folds[known] = published[numbers[known].to_numpy() - 1]
    return folds


def _compare_counts(table: pd.DataFrame, problems: list[Problem]) -> None:
    for name in table["source"].unique():
        found = table.loc[table["source"] == name, "class_name"].value_counts()
        for class_name, published in SOURCES[name].counts.items() if name in SOURCES else ():
            count = int(found.get(class_name, 0))
            if count != published:
                reason = f"{class_name}: {count} images loaded, {published} published"
                problems.append(Problem(name, "", reason, "note"))
