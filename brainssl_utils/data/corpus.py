"""A corpus: the images of several archives as one array, with a table that says what is known of each."""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from brainssl_utils.compute.machine import available_cores
from brainssl_utils.data.reading import cache as store
from brainssl_utils.data.reading.archives import Listing, Problem, expand, scan
from brainssl_utils.data.reading.sources import CLASSES
from brainssl_utils.errors import CourseError
from brainssl_utils.files import check_writable

__all__ = ["CLASSES", "Copies", "Corpus", "load_corpus"]

# Part of every fingerprint: raised whenever the same files would give other pixels, hashes or columns.
CODE_VERSION = 1
PHANTOM_FILES = 1500
_AREA_CHUNK = 512  # images a step: bounds the float32 copies to some tens of MB
_COPIES_SIZE = 96  # px at which copies are looked for, so that groups do not depend on the size asked for


class Copies(NamedTuple):
    """What comparing the images with each other told.

    Attributes:
        marks: columns of `Corpus.table`, row for row: `phash` and `group`.
        links: see `Corpus.links`.
    """

    marks: pd.DataFrame
    links: pd.DataFrame


@dataclass(frozen=True, eq=False, repr=False)
class Corpus:
    """Images and what is known of them, row for row; the arrays cannot be written to.

    Attributes:
        images: (N, 1, S, S) uint8, grey, 0 is black.
        files: one row an image, index 0..N-1: the columns of `table` that are known without comparing images.
        table: the same rows, complete. Columns: `id` ("source/path", unique), `source`, `label` (int8, index into
            `classes`), `class_name`, `path` (inside the archive), `sha256` (of the file), `width`, `height` (px, of the
            original), `phash` (64-bit DCT hash, 16 hex digits), `group` (near-duplicates share a number), `patient`,
            `plane` ("" where unknown), `fold` (figshare's patient fold 1..5, missing elsewhere). Its first use looks
            for copies among the images, which takes longer than loading them; that is kept, in the cache too.
        problems: what was odd about the files: `source`, `path`, `reason`, `action` ("skipped", "kept" or "note").
        fingerprint: hex digest of ids, labels, file contents and settings; independent of where the files lie and
            of whether they are zipped.
        name: "phantoms" or the folder's name.
        links: why rows were put into one group: `a`, `b` (row numbers), `test` ("sha256" or "pixels"), `value`, `flipped`.
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
        for column in self._found.marks:
            table.insert(place, column, self._found.marks[column].to_numpy())
            place += 1
        return table

    @property
    def links(self) -> pd.DataFrame:
        return self._found.links

    @property
    def labels(self) -> np.ndarray:
        """(N,) int64, indices into `classes`."""
        return self.files["label"].to_numpy(dtype=np.int64)

    @property
    def synthetic(self) -> bool:
        """Whether any image is a phantom rather than a scan."""
        return bool(self.files["source"].str.startswith("phantom-").any())

    def resized(self, size: int) -> np.ndarray:
        """The images as (N, 1, size, size) uint8, each new pixel the mean of the area it covers; kept once made.

        Raises:
            CourseError: `size` is not 8..1024.
        """
        if not 8 <= size <= 1024:
            raise CourseError(f"size is {size}: expected a side of 8 to 1024 px.")
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
        """Number of images a class (rows) and source (columns), with totals."""
        counts = pd.crosstab(self.files["class_name"], self.files["source"])
        counts = counts.reindex(index=list(self.classes), columns=list(self.files["source"].unique()), fill_value=0)
        counts["all"] = counts.sum(axis=1)
        counts.loc["all"] = counts.sum()
        return counts.rename_axis(index="class", columns="source")


def load_corpus(
    data: str | Path = "phantoms",
    image_size: int = 96,
    cache_dir: str | Path | None = None,
    progress: bool = True,
    threads: int | None = None,
) -> Corpus:
    """Load images into one corpus; the first load decodes every file once, later ones read the cache.

    Copies among the images are looked for when `Corpus.table` or `Corpus.links` is first used, and kept in the cache too.

    Args:
        data: "phantoms" (1500 synthetic files, made on first use), "phantoms:N" (about N), a folder that holds archives
            (zipped or unpacked, at any depth) or class folders, or one zip.
        image_size: side S of the square images in px, 16..1024.
        cache_dir: folder of the cache; by default $BRAINSSL_CACHE or ~/.cache/brainssl.
        progress: show a bar during the first load, and say when copies are looked for.
        threads: how many files are decoded side by side, in processes on Linux, in threads elsewhere; by default one a
            core.

    Returns:
        The corpus. What could not be read, or looks odd, is in `Corpus.problems`, a row a file.

    Raises:
        CourseError: no such folder, no class folders in it, not one readable image, or a parameter out of range.
    """
    if not 16 <= image_size <= 1024:
        raise CourseError(f"image_size is {image_size}: expected a side of 16 to 1024 px.")
    threads = threads if threads is not None else available_cores()
    if threads < 1:
        raise CourseError(f"threads is {threads}: expected 1 or more.")
    cache = store.cache_folder(cache_dir)
    check_writable(cache)
    store.clear_leftovers(cache)
    root, name = _locate(data, cache, progress)
    listing = scan(root)
    return _Loader(listing, name or listing.name, cache, threads, progress).corpus(image_size)


def _locate(data: str | Path, cache: Path, progress: bool) -> tuple[Path, str]:
    """The folder to read and the corpus's name if it is not the folder's."""
    word, _, number = str(data).partition(":")
    if word != "phantoms":
        return Path(data).expanduser(), ""
    if ":" in str(data) and not number.isdigit():
        raise CourseError(f'data is "{data}": expected "phantoms", "phantoms:N" with a whole number N, or a folder.')
    from brainssl_utils.data.phantoms import write as phantoms

    n_files = int(number) if number else PHANTOM_FILES
    folder = cache / f"phantoms-{n_files}-v{phantoms.VERSION}"
    if progress and not folder.exists():
        print(f"making {n_files} phantoms, once, in {folder}")
    return phantoms.write_phantoms(folder, n_files=n_files, seed=0), "phantoms"


def _code() -> str:
    """Hash of the modules that make a corpus: a cache written by other code, of groups above all, is left aside."""
    digest = hashlib.sha256()
    for module in sorted(Path(__file__).parent.glob("*.py")):
        if not module.name.startswith("phantom"):  # their files speak for themselves
            digest.update(module.read_bytes())
    return digest.hexdigest()


@contextlib.contextmanager
def _no_collections() -> Iterator[None]:
    """Pause Python's search for reference cycles: it would walk through thousands of new rows again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@dataclass(frozen=True)
class _Loader:
    """Makes a corpus of a listing, by way of the cache."""

    listing: Listing
    name: str
    cache: Path
    threads: int
    progress: bool

    def corpus(self, size: int) -> Corpus:
        """The images at `size`, out of the cache or out of their files, without a search for copies."""
        with _no_collections():
            images, tables, facts = store.load(self._path(size), ("files", "problems")) or self._decode(size)
        files = tables["files"]
        return Corpus(
            images=images["images"],
            files=files,
            problems=tables["problems"],
            fingerprint=facts["fingerprint"],
            name=self.name,
            copies=functools.partial(self._copies, files["sha256"].tolist(), images["images"]),
            classes=tuple(facts["classes"]),
        )

    def _path(self, size: int) -> Path:
        key = hashlib.sha256(f"{self.listing.key()}|{self.name}|{size}|{_code()}".encode()).hexdigest()
        return self.cache / "corpora" / f"{key[:32]}.npz"

    def _decode(self, size: int) -> store.Content:
        """Decode every file at `size`, and by the way at the size at which copies are looked for; cache both."""
        from brainssl_utils.data.reading.gather import gather
        from brainssl_utils.data.reading.ingest import ingest

        expand(self.listing)
        gathered = gather(self.listing)
        problems: list[Problem] = [*self.listing.problems, *gathered.problems]
        # Not beside a larger size: JPEGs are then decoded at another scale, and every load at 96 px is to give the same.
        sizes = [size] if size >= _COPIES_SIZE else [size, _COPIES_SIZE]
        squares, files = ingest(self.listing, gathered, sizes, self.threads, self.progress, problems)
        if files.empty:
            reasons = "; ".join(f"{p.path}: {p.reason}" for p in problems[:3])
            raise CourseError(f"data: not one image in {self.listing.root} could be read. {reasons}")
        remarks = store.typed(pd.DataFrame(problems, columns=list(Problem._fields)))
        tables = {"files": store.typed(files), "problems": remarks}
        content = {}
        for side, images in zip(sizes, squares):
            facts = {"fingerprint": _fingerprint(files, side), "classes": gathered.classes}
            content[side] = {"images": images}, tables, facts
            store.save(self._path(side), *content[side])
        return content[size]

    def _copies(self, sha256: list[str], images: np.ndarray) -> Copies:
        """Search for copies, unless the cache tells what a search among these very files found."""
        key = hashlib.sha256("|".join([*sha256, _code()]).encode()).hexdigest()
        path = self.cache / "copies" / f"{key[:32]}.npz"
        found = store.load(path, ("marks", "links"))
        if found is not None:
            return Copies(found[1]["marks"], found[1]["links"])
        from brainssl_utils.data.copies.search import find_groups
        from brainssl_utils.data.reading.decode import perceptual_hashes

        if self.progress:
            print(f"looking for copies among {len(sha256)} images, once")
        if images.shape[-1] != _COPIES_SIZE:
            images = self.corpus(_COPIES_SIZE).images
        phash = perceptual_hashes(images, self.threads)
        groups = find_groups(images, sha256, phash, threads=self.threads)
        marks = pd.DataFrame({"phash": [f"{value:016x}" for value in phash.tolist()], "group": groups.group})
        copies = Copies(store.typed(marks), store.typed(groups.links))
        store.save(path, {}, copies._asdict(), {})
        return copies


def _fingerprint(files: pd.DataFrame, image_size: int) -> str:
    lines = sorted(f"{i} {label} {sha}" for i, label, sha in zip(files["id"], files["class_name"], files["sha256"]))
    text = "\n".join([f"version {CODE_VERSION}, {image_size} px", *lines])
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def resize_area(images: np.ndarray, size: int) -> np.ndarray:
    """Resize (N, 1, H, W) uint8 to (N, 1, size, size) uint8; each new pixel is the mean of the area it covers.

    Partly covered pixels count with the covered part; for whole-number factors this is plain block averaging. When
    enlarging, new pixels take the value of the pixel they lie in, mixed where they straddle two.
    """
    rows, columns = area_weights(images.shape[2], size), area_weights(images.shape[3], size)
    out = np.empty((len(images), 1, size, size), dtype=np.uint8)
    for start in range(0, len(images), _AREA_CHUNK):
        part = images[start : start + _AREA_CHUNK, 0].astype(np.float32)
        out[start : start + _AREA_CHUNK, 0] = np.rint(rows @ part @ columns.T)
    return out


def area_weights(old: int, new: int) -> np.ndarray:
    """(new, old) float32 matrix whose row i holds the share of each old pixel in new pixel i; rows sum to 1."""
    edges = np.linspace(0.0, old, new + 1)
    pixels = np.arange(old)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (np.clip(overlap, 0.0, None) * (new / old)).astype(np.float32)
