"""First load of a corpus: read and decode every file once, several side by side, and keep what is known of each."""

from __future__ import annotations

import hashlib
import sys
import warnings
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from brainssl_utils.data.reading.archives import Listing, Problem, Unreadable, as_text, open_place, read_entry
from brainssl_utils.data.reading.decode import (
    Picture,
    decode_image,
    depth_note,
    depth_scales,
    scaled_square,
    to_square,
)
from brainssl_utils.data.reading.figshare import parse_folds, parse_slice
from brainssl_utils.data.reading.gather import FIGSHARE, Gathered
from brainssl_utils.data.reading.names import patient_in_path
from brainssl_utils.data.reading.packing import Item
from brainssl_utils.data.reading.sources import SOURCES
from brainssl_utils.data.reading.volumes import cut, is_dicom_data

_TASK = 16  # files handed to a thread at once: one by one, handing over would cost a fifth of the time


class _Read(NamedTuple):
    """What one file told; its pixels are in the array of images. Class, patient and plane are "" where it tells none."""

    sha256: str
    width: int
    height: int
    note: str
    class_name: str
    patient: str
    plane: str


def ingest(
    listing: Listing, gathered: Gathered, size: int, threads: int, progress: bool, problems: list[Problem]
) -> tuple[np.ndarray, pd.DataFrame]:
    """Decode the gathered files; files that cannot be used become rows of `problems`, in the files' order.

    Returns:
        The images, a (N, 1, size, size) uint8 array, and a table of the files, row for row.
    """
    reader = _Reader(gathered.items, size)
    outcomes = reader.read_all(listing.root, threads, progress)
    kept, rows = [], []
    for row, (item, read) in enumerate(zip(gathered.items, outcomes)):
        if isinstance(read, Unreadable):
            problems.append(Problem(item.source, item.path, str(read), "skipped"))
            continue
        blank = "blank: one grey value all over" if np.ptp(reader.images[row]) == 0 else ""
        if note := "; ".join(filter(None, (read.note, blank))):
            problems.append(Problem(item.source, item.path, note, "kept"))
        kept.append(row)
        class_name = item.class_name or read.class_name
        label = gathered.classes.index(class_name) if class_name else -1
        names = map(as_text, (item.id, item.source, class_name, item.path))
        patient = item.patient or read.patient or patient_in_path(item.entry.path)
        rows.append((*names, label, read.sha256, read.width, read.height, patient, item.plane or read.plane))
    columns = ["id", "source", "class_name", "path", "label", "sha256", "width", "height", "patient", "plane"]
    table = pd.DataFrame(rows, columns=columns)
    table.insert(2, "label", table.pop("label").astype(np.int32))
    table["fold"] = _folds(listing, gathered, table, problems)
    told = [gathered.items[row] for row in kept]
    if any(item.fold for item in told):
        table["fold"] = pd.array([int(item.fold) if item.fold else pd.NA for item in told], dtype="Int64")
    if any(item.part for item in told):
        table["part"] = [item.part for item in told]
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
        self._first: dict[tuple[str, bool, int | None], int] = {}  # the row that decodes a content
        self._deep: dict[int, Picture] = {}  # rows of 16 bits, to be scaled once all of their source are known

    def read_all(self, root: Path, threads: int, progress: bool) -> list[_Read | Unreadable]:
        """Return what became of each file."""
        found: dict[int, _Read | Unreadable] = {}
        same: dict[int, int] = {}
        bar = tqdm(total=len(self.items), desc="reading images", unit="img", file=sys.stdout, disable=not progress)
        pool = ThreadPoolExecutor(threads)
        with bar, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow on odd files: what becomes of each is reported in `problems`
            try:
                for row, outcome in self._outcomes(root, pool):
                    if isinstance(outcome, int):
                        same[row] = outcome
                    else:
                        found[row] = outcome
                    bar.update()
            finally:
                pool.shutdown(cancel_futures=True)  # Ctrl-C would otherwise wait for every file
        for row, first in same.items():
            self.images[row], found[row] = self.images[first], found[first]
            if first in self._deep:
                self._deep[row] = self._deep[first]
        self._scale_deep(found)
        return [found[row] for row in range(len(self.items))]

    def _scale_deep(self, found: dict[int, _Read | Unreadable]) -> None:
        """Scale pictures of 16 bits to 8, those of one source alike."""
        sources = defaultdict(list)
        for row in sorted(self._deep):
            sources[self.items[row].source].append(row)
        for rows in sources.values():
            scales = depth_scales([self._deep[row].top for row in rows])
            for row, (white, bits) in zip(rows, scales):
                read, picture = found[row], self._deep[row]
                if isinstance(read, _Read) and picture.deep is not None:
                    self.images[row, 0] = scaled_square(picture.deep, white)
                    before = picture.note.rpartition("; ")[0]
                    found[row] = read._replace(note="; ".join(filter(None, (before, depth_note(bits)))))

    def _outcomes(self, root: Path, pool: ThreadPoolExecutor) -> Iterator[tuple[int, _Read | Unreadable | int]]:
        """Read archive by archive, so that one is open at a time."""
        places = defaultdict(list)
        for row, item in enumerate(self.items):
            places[item.entry.place].append(row)
        for place, rows in places.items():
            try:
                with open_place(root, place) as opened:
                    tasks = [rows[first : first + _TASK] for first in range(0, len(rows), _TASK)]
                    for outcomes in pool.map(partial(self._read_some, opened), tasks):
                        yield from outcomes
            except Unreadable as error:  # an archive that can no longer be opened
                yield from ((row, error) for row in rows)

    def _read_some(self, opened: zipfile.ZipFile | Path, rows: list[int]) -> list[tuple[int, _Read | Unreadable | int]]:
        return [(row, self._read(opened, row)) for row in rows]

    def _read(self, opened: zipfile.ZipFile | Path, row: int) -> _Read | Unreadable | int:
        """Read one file; the number of another row is returned where that one decodes the same content."""
        item, size = self.items[row], self.images.shape[-1]
        try:
            data = read_entry(opened, item.entry)
            # The slices of a volume share a file, and are other pictures all the same.
            number = b"" if item.slice is None else f"#{item.slice}".encode()
            sha256 = hashlib.sha256(data + number).hexdigest()
            first = self._first.setdefault((sha256, item.class_name is None, item.slice), row)
            if first != row:
                return first
            picture, class_name, patient, plane = _decoded(item, data, size)
        except Unreadable as error:
            return error
        self.images[row, 0] = picture.square
        if picture.deep is not None:
            self._deep[row] = picture
        return _Read(sha256, picture.width, picture.height, picture.note, class_name, patient, plane)


def _decoded(item: Item, data: bytes, size: int) -> tuple[Picture, str, str, str]:
    """The picture in one file, and the class, patient and plane where the file itself tells them."""
    if item.class_name is None:
        part = parse_slice(data)
        grey = Image.fromarray(part.grey())
        return Picture(np.asarray(to_square(grey, size)), grey.width, grey.height), part.label, part.patient, ""
    if item.slice is not None or is_dicom_data(data):
        piece = cut(data, item.slice, size)
        return piece.picture, "", piece.patient, piece.plane
    return decode_image(data, size), "", "", ""


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
    # "7.mat#2" is slice 7 of another set, whose folds nobody published.
    slices &= table["path"].str.fullmatch(r"\d+\.mat")
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
