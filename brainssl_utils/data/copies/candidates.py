"""Pairs of images worth comparing, found through indexes so that the cost grows little faster than their number."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from brainssl_utils.data.chunks import over_chunks
from brainssl_utils.data.copies.signatures import Floats, Ints, mirrored_shape

Hashes = npt.NDArray[np.uint64]
_DIMENSIONS = 64  # principal components kept of the edge histograms
_EXACT_BELOW = 4000  # up to so many rows a plain search is faster than an index
_LISTS_ASKED = 16
_NEAR_BITS = 10  # of 64: perceptual hashes of copies differ by fewer


@dataclass(frozen=True)
class Pairs:
    """Candidate pairs, the likeliest first: rows a < b (int64), whether b is mirrored, and how alike they seem."""

    a: Ints
    b: Ints
    flipped: npt.NDArray[np.bool_]
    likeness: Floats

    def __len__(self) -> int:
        return len(self.a)


class ShapeIndex:
    """Edge histograms reduced to 64 principal components, for nearest-neighbour search in both orientations.

    Args:
        shape: (N, 384) histograms (`Signatures.shape`).
        threads: of the search; default: all cores.
    """

    def __init__(self, shape: npt.NDArray[np.float16], threads: int | None = None):
        sample = shape[:: max(len(shape) // 20_000, 1)].astype(np.float32)
        self.mean = sample.mean(axis=0)
        _, axes = np.linalg.eigh((sample - self.mean).T @ (sample - self.mean))
        self.axes = np.ascontiguousarray(axes[:, ::-1][:, :_DIMENSIONS])
        self.plain, self.mirrored = self._project(shape), self._project(mirrored_shape(shape))
        self.threads = threads

    def _project(self, shape: npt.NDArray[np.float16]) -> Floats:
        chunks = [slice(start, start + 8192) for start in range(0, len(shape), 8192)]
        flat = [(shape[rows].astype(np.float32) - self.mean) @ self.axes for rows in chunks]
        x = np.concatenate(flat) if flat else np.empty((0, self.axes.shape[1]), dtype=np.float32)
        return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-6)

    def pairs(self, rows: Ints, neighbours: int) -> Pairs:
        """Pair each of `rows` with its nearest others among `rows`, either way round."""
        base = np.ascontiguousarray(self.plain[rows])
        k = min(neighbours + 1, len(rows))
        found, near = [], []
        with _faiss_threads(self.threads):
            index = _index(base)
            for queries in (base, np.ascontiguousarray(self.mirrored[rows])):
                value, place = index.search(queries, k)
                found.append(place)
                near.append(value)
        return self._best(rows, np.concatenate(found, axis=1), np.concatenate(near, axis=1), k, neighbours)

    @staticmethod
    def _best(rows: Ints, place: Ints, value: Floats, k: int, neighbours: int) -> Pairs:
        """Keep each row's best `neighbours` of the 2 k found, itself left out."""
        own = (place == np.arange(len(rows))[:, None]) | (place < 0)
        value = np.where(own, -2, value)
        best = np.argsort(-value, axis=1, kind="stable")[:, :neighbours]
        flipped = best >= k
        value, place = np.take_along_axis(value, best, 1), np.take_along_axis(place, best, 1)
        keep = value > -2
        first = np.repeat(rows[:, None], place.shape[1], axis=1)
        return unique_pairs(first[keep], rows[place[keep]], flipped[keep], value[keep])


@contextmanager
def _faiss_threads(threads: int | None) -> Iterator[None]:
    """Let faiss use so many threads inside the block; PyTorch, which may share its OpenMP, has its own back after it."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads or before)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _index(base: Floats) -> Any:
    """Return a faiss index that holds `base`: exact for few rows, inverted lists for many."""
    import faiss

    n, width = base.shape
    flat = faiss.IndexFlatIP(width)
    if n < _EXACT_BELOW:
        flat.add(base)
        return flat
    # 4 sqrt(N) lists of about sqrt(N) / 4 rows: filling and asking them costs N^1.5 at most.
    index = faiss.IndexIVFFlat(flat, width, int(4 * np.sqrt(n)), faiss.METRIC_INNER_PRODUCT)
    index.cp.niter, index.cp.max_points_per_centroid, index.cp.min_points_per_centroid = 8, 64, 1
    index.nprobe = _LISTS_ASKED
    index.train(base)
    index.add(base)
    return index


def unique_pairs(a: Ints, b: Ints, flipped: npt.NDArray[np.bool_], likeness: Floats) -> Pairs:
    """Order each pair as a < b, drop self-pairs and all but the likeliest of equals, sort by likeness."""
    low, high = np.minimum(a, b), np.maximum(a, b)
    order = np.argsort(-likeness, kind="stable")
    order = order[low[order] != high[order]]
    low, high, flipped, likeness = low[order], high[order], flipped[order], likeness[order]
    key = pair_keys(low, high, flipped)
    _, first = np.unique(key, return_index=True)
    first.sort()
    return Pairs(low[first], high[first], flipped[first], likeness[first].astype(np.float32))


def pair_keys(a: Ints, b: Ints, flipped: npt.NDArray[np.bool_]) -> Ints:
    """Return one number a pair; distinct for distinct (a, b, flipped) up to a billion rows."""
    return (a << 33) | (b << 1) | flipped.astype(np.int64)


def hashes_both_ways(images: npt.NDArray[np.uint8], threads: int | None = None) -> tuple[Hashes, Hashes]:
    """Return the 64-bit DCT hashes of images and of their left-right mirror images.

    As `imagehash.phash`: signs of the 8 x 8 lowest cosine coefficients of a 32 x 32 reduction, against their median.
    Mirroring changes the sign of the odd columns, so one transform serves both.

    Args:
        images: (N, 1, S, S) or (N, S, S) uint8.
        threads: of this process; default: all cores.
    """
    side = images.shape[-1]
    images = images.reshape(len(images), side, side)
    edges = np.linspace(0, side, 33)
    pixel = np.arange(side)
    cells = np.clip(np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel), 0, None)
    waves = np.cos(np.pi * np.arange(8)[:, None] * (2 * np.arange(32) + 1) / 64)
    transform = (waves @ (cells / cells.sum(axis=1, keepdims=True))).astype(np.float32)
    parts = over_chunks(lambda rows: transform @ images[rows].astype(np.float32) @ transform.T, len(images), threads)
    low = np.concatenate([np.empty((0, 8, 8), dtype=np.float32), *parts])
    mirrored = low * np.where(np.arange(8) % 2, -1, 1).astype(np.float32)
    return _bits(low), _bits(mirrored)


def _bits(coefficients: Floats) -> Hashes:
    flat = coefficients.reshape(len(coefficients), 64)
    return np.packbits(flat > np.median(flat, axis=1, keepdims=True), axis=1).view(">u8").astype(np.uint64).ravel()


def hash_pairs(plain: Hashes, mirrored: Hashes, window: int = 2) -> Pairs:
    """Pair rows whose perceptual hashes differ by at most 10 of 64 bits, in either orientation.

    Sorted neighbourhood (Hernandez & Stolfo 1995): hashes are sorted four times, each time starting from another 16
    bits, and each is compared with the next few; the cost is that of sorting.

    Args:
        plain, mirrored: (N,) hashes of the images and of their mirror images.
        window: how many followers in sorted order are compared.
    """
    n = len(plain)
    hashes = np.concatenate([plain, mirrored])
    row, side = np.tile(np.arange(n), 2), np.repeat([False, True], n)
    found: list[Pairs] = []
    for turn in (0, 16, 32, 48):
        turned = (hashes << np.uint64(turn)) | (hashes >> np.uint64((64 - turn) % 64)) if turn else hashes
        order = np.argsort(turned, kind="stable")
        for ahead in range(1, window + 1):
            i, j = order[:-ahead], order[ahead:]
            apart = np.bitwise_count(hashes[i] ^ hashes[j])
            near = (apart <= _NEAR_BITS) & ~(side[i] & side[j])
            i, j = i[near], j[near]
            likeness = (1 - apart[near] / 64).astype(np.float32)
            found.append(Pairs(row[i], row[j], side[i] != side[j], likeness))
    columns = [np.concatenate([getattr(p, name) for p in found]) for name in ("a", "b", "flipped", "likeness")]
    return unique_pairs(*columns)
