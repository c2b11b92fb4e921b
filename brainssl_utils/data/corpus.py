"""A corpus: the images of several archives as one array, with a table that says what is known of each."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from brainssl_utils.checks import check_number
from brainssl_utils.data.reading.sources import CLASSES
from brainssl_utils.errors import CourseError

WITHOUT_CLASS = "(no class)"  # how tables and figures call what images without a class are in
_AREA_CHUNK = 512  # images a step: bounds the float32 copies to some tens of MB


class Copies(NamedTuple):
    """What comparing N images with each other told.

    Attributes:
        marks: columns of `Corpus.table`, row for row: `phash` and `group`, numbered in the order of first members.
        links: why images were put into one group, one row a link: `a`, `b` (row numbers, a < b), `test` ("sha256": same
            file; "pixels": correlation after alignment; "plain": correlation of the pixels as they are, see
            `copies.contrast`), `value` (1 for the same file), `flipped` (b is a mirrored copy).
            Weaker links (neighbouring slices, mostly) are listed too but join no groups. Not every pair of a group has
            a link: a chain of links is enough to join.
        compared: how many pairs the search compared pixel by pixel.
    """

    marks: pd.DataFrame
    links: pd.DataFrame
    compared: int = 0

    @property
    def group(self) -> np.ndarray:
        """(N,) int64 group of each image."""
        return self.marks["group"].to_numpy()


@dataclass(frozen=True, eq=False, repr=False)
class Corpus:
    """Images and what is known of them, row for row; the arrays cannot be written to.

    Attributes:
        images: (N, 1, S, S) uint8, grey, 0 is black.
        files: one row an image, index 0..N-1: the columns of `table` that are known without comparing images.
        table: the same rows, complete. Columns: `id` ("source/path", unique), `source`, `label` (int32, index into
            `classes`), `class_name` (an image without a class has label -1 and the name ""), `path` (inside the archive),
            `sha256` (of the file), `width`, `height` (px, of the original), `phash` (64-bit DCT hash, 16 hex digits),
            `group` (copies of one picture share a number), `patient`, `plane` ("" where unknown), `fold` (a patient fold
            that was published with the data, missing elsewhere), and `part` where a table of the data has one ("train").
            Its first use looks for copies among the images, which takes longer than loading them; that is kept, in the
            cache too.
        problems: what was odd about the files: `source`, `path`, `reason`, `action` ("skipped", "kept" or "note").
        fingerprint: hex digest of ids, labels, file contents and settings; independent of where the files lie and
            of whether they are zipped. For phantoms, of the plan they are made of in place of contents, which differ in
            single grey levels from processor to processor.
        name: "phantoms" or the folder's name.
        links: why rows were put into one group, see `Copies`.
        copies: what `table` and `links` take from comparing images, or a function that finds it when it is asked for.
        classes: names of the labels.
    """

    images: np.ndarray
    files: pd.DataFrame
    problems: pd.DataFrame
    fingerprint: str
    name: str
    copies: Copies | Callable[[], Copies]
    classes: tuple[str, ...] = CLASSES
    _resized: dict[int, np.ndarray] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.images.flags.writeable = False

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        side = self.images.shape[-1]
        sources = ", ".join(self.files["source"].unique())
        made = " synthetic" if self.synthetic else ""
        odd = f", {len(self.problems)} remarks in .problems" if len(self.problems) else ""
        return f"Corpus '{self.name}': {len(self)}{made} images of {side} x {side} px from {sources}{odd}"

    @functools.cached_property
    def _found(self) -> Copies:
        return self.copies if isinstance(self.copies, Copies) else self.copies()

    @functools.cached_property
    def table(self) -> pd.DataFrame:
        table = self.files.copy()
        place = list(table.columns).index("height") + 1 if "height" in table else len(table.columns)
        for column in reversed(self._found.marks.columns):
            table.insert(place, column, self._found.marks[column].to_numpy())
        return table

    @property
    def links(self) -> pd.DataFrame:
        return self._found.links

    @property
    def labels(self) -> np.ndarray:
        """(N,) int64, indices into `classes`; -1 for images without a class."""
        return self.files["label"].to_numpy(dtype=np.int64)

    @property
    def class_names(self) -> pd.Series:
        """(N,) text, each image's class as tables and figures call it; "(no class)" for images without one."""
        return self.files["class_name"].replace("", WITHOUT_CLASS)

    @property
    def synthetic(self) -> bool:
        """Whether any image is a phantom rather than a scan."""
        return bool(self.files["source"].str.startswith("phantom-").any())

    def resized(self, size: int) -> np.ndarray:
        """The images as (N, 1, size, size) uint8, each new pixel the mean of the area it covers; kept once made.

        Raises:
            CourseError: `size` is not 8..1024.
        """
        check_number("size", size, at_least=8, at_most=1024, whole=True)
        if size == self.images.shape[-1]:
            return self.images
        if size not in self._resized:
            small = resize_area(self.images, size)
            small.flags.writeable = False
            self._resized[size] = small
        return self._resized[size]

    def subset(self, rows: Sequence[int] | np.ndarray) -> Corpus:
        """The corpus of the given rows (numbers, or a mask of N), in that order; groups keep their numbers.

        Raises:
            CourseError: a row that does not exist, a mask of another length, or a row given twice.
        """
        chosen = np.asarray(rows)
        if chosen.dtype == bool:
            if chosen.shape != (len(self),):
                raise CourseError(f"rows is a mask of shape {chosen.shape}: expected ({len(self)},).")
            chosen = np.flatnonzero(chosen)
        chosen = chosen.astype(np.int64)
        if len(chosen) and (chosen.min() < 0 or chosen.max() >= len(self)):
            raise CourseError(f"rows has numbers outside 0..{len(self) - 1}.")
        if len(np.unique(chosen)) != len(chosen):
            raise CourseError("rows names a row more than once; a corpus holds each image once.")

        def copies() -> Copies:
            position = np.full(len(self), -1, dtype=np.int64)
            position[chosen] = np.arange(len(chosen))
            links = self.links.assign(a=position[self.links["a"]], b=position[self.links["b"]])
            links = links[(links["a"] >= 0) & (links["b"] >= 0)].reset_index(drop=True)
            return Copies(self._found.marks.iloc[chosen].reset_index(drop=True), links)

        digest = hashlib.sha256(self.fingerprint.encode() + chosen.tobytes()).hexdigest()
        files = self.files.iloc[chosen].reset_index(drop=True)
        return Corpus(self.images[chosen], files, self.problems, digest, self.name, copies, self.classes)

    def summary(self) -> pd.DataFrame:
        """Number of images a class (rows) and source (columns), with totals; images without a class have their own row."""
        counts = pd.crosstab(self.class_names, self.files["source"], margins=True, margins_name="all")
        unlabelled = [WITHOUT_CLASS] if (self.labels < 0).any() else []
        rows, columns = [*self.classes, *unlabelled, "all"], [*self.files["source"].unique(), "all"]
        return counts.reindex(index=rows, columns=columns, fill_value=0).rename_axis(index="class", columns="source")


def resize_area(images: np.ndarray, size: int) -> np.ndarray:
    """Resize (N, 1, H, W) uint8 to (N, 1, size, size) uint8; each new pixel is the mean of the area it covers.

    Partly covered pixels count with the covered part; for whole-number factors this is plain block averaging. When
    enlarging, new pixels take the value of the pixel they lie in, mixed where they straddle two.
    """

    def weights(old: int) -> np.ndarray:
        """(size, old) float32: the share of each old pixel in each new one; rows sum to 1."""
        edges, pixels = np.linspace(0.0, old, size + 1), np.arange(old)
        overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
        return (np.clip(overlap, 0.0, None) * (size / old)).astype(np.float32)

    rows, columns = weights(images.shape[2]), weights(images.shape[3])
    out = np.empty((len(images), 1, size, size), dtype=np.uint8)
    for start in range(0, len(images), _AREA_CHUNK):
        part = images[start : start + _AREA_CHUNK, 0].astype(np.float32)
        out[start : start + _AREA_CHUNK, 0] = np.rint(rows @ part @ columns.T)
    return out
