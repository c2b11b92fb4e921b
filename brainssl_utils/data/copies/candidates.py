"""Pairs of images worth comparing, found through indexes so that the cost grows little faster than their number.

Pairs are tables, the likeliest first: rows `a` < `b` (int64), `flipped` (b is mirrored) and `likeness` (float32).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from brainssl_utils.compute.chunks import over_chunks
from brainssl_utils.compute.machine import available_cores
from brainssl_utils.data.copies.signatures import Floats, mirrored_shape
from brainssl_utils.data.partition import Ints

Hashes = npt.NDArray[np.uint64]
_THUMB = 32  # px of the thumbnail
_LOWEST = 8  # lowest frequencies in each direction
_DIMENSIONS = 64  # principal components kept of the edge histograms
_EXACT_BELOW = 4000  # up to so many rows a plain search is faster than an index
_LISTS_ASKED = 16
_NEAR_BITS = 10  # of 64: perceptual hashes of copies differ by fewer


def perceptual_hashes(images: npt.NDArray[np.uint8]) -> tuple[Hashes, Hashes]:
    """64-bit DCT hashes of images and of their left-right mirror images: the bits of `imagehash.phash`, first bit highest.

    A bit says whether one of the 8 x 8 lowest DCT coefficients of a 32 x 32 thumbnail lies above their median. Mirroring
    a picture changes the sign of its odd columns, so one transform serves both. Images are (N, 1, S, S) or (N, S, S)
    uint8, hashes (N,) uint64.
    """
    from scipy.fft import dct

    waves = dct(np.eye(_THUMB), axis=0)[:_LOWEST]
    images = images.reshape(-1, *images.shape[-2:])
    across, down = (_lanczos(side) for side in images.shape[:0:-1])

    def coefficients(rows: slice) -> npt.NDArray[np.float64]:
        thumbs = _rounded(down @ _rounded(images[rows].astype(np.float64) @ across.T))
        return waves @ thumbs @ waves.T

    low = np.concatenate([np.empty((0, _LOWEST, _LOWEST)), *over_chunks(coefficients, len(images))])
    return _bits(low), _bits(low * np.where(np.arange(_LOWEST) % 2, -1, 1))


def _lanczos(side: int) -> npt.NDArray[np.float64]:
    """Weights with which Pillow resizes `side` pixels to a thumbnail's, (32, side): whole numbers, 2^22 for one."""
    scale = max(side / _THUMB, 1.0)
    centre = (np.arange(_THUMB)[:, None] + 0.5) * side / _THUMB
    place = (np.arange(side) - centre + 0.5) / scale
    first, last = np.floor(centre - 3 * scale + 0.5), np.floor(centre + 3 * scale + 0.5)
    inside = (np.arange(side) >= first) & (np.arange(side) < last) & (np.abs(place) < 3)
    weights = np.where(inside, np.sinc(place) * np.sinc(place / 3), 0)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.trunc(weights * 2**22 + np.copysign(0.5, weights))


def _rounded(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Sums of weighted pixels as Pillow rounds them to 8 bits."""
    return np.floor((sums + 2**21) / 2**22).clip(0, 255)


def _bits(coefficients: npt.NDArray[np.float64]) -> Hashes:
    flat = coefficients.reshape(len(coefficients), _LOWEST**2)
    return np.packbits(flat > np.median(flat, axis=1, keepdims=True), axis=1).view(">u8").astype(np.uint64).ravel()


class ShapeIndex:
    """Edge histograms, `Signatures.shape`, reduced to 64 principal components; finds nearest ones in both orientations."""

    def __init__(self, shape: npt.NDArray[np.float16]):
        from sklearn.decomposition import PCA
        from sklearn.preprocessing import normalize

        sample = shape[:: max(len(shape) // 20_000, 1)].astype(np.float32)
        pca = PCA(min(_DIMENSIONS, len(sample)), svd_solver="covariance_eigh").fit(sample)
        both = shape, mirrored_shape(shape)
        self.plain, self.mirrored = (normalize(pca.transform(one.astype(np.float32))) for one in both)

    def pairs(self, rows: Ints, neighbours: int) -> pd.DataFrame:
        """Pair each of `rows` with its nearest others among `rows`, either way round."""
        k = min(neighbours + 1, len(rows))
        with _faiss_on_all_cores():
            index = _index(self.plain[rows])
            found = [index.search(queries[rows], k) for queries in (self.plain, self.mirrored)]
        value, place = (np.concatenate(both, axis=1) for both in zip(*found))
        own = (place == np.arange(len(rows))[:, None]) | (place < 0)  # faiss fills up with -1
        value[own] = -2
        best = np.argsort(-value, axis=1, kind="stable")[:, :neighbours]
        value, place = np.take_along_axis(value, best, 1).ravel(), np.take_along_axis(place, best, 1).ravel()
        ends = {"a": np.repeat(rows, best.shape[1]), "b": rows[place]}
        table = pd.DataFrame({**ends, "flipped": best.ravel() >= k, "likeness": value})
        return likeliest_first(table[value > -2])


@contextmanager
def _faiss_on_all_cores() -> Iterator[None]:
    """Let faiss use every core inside the block; PyTorch, which may share its OpenMP, has its own number back after it."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(available_cores())
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _index(base: Floats) -> Any:
    """Return a faiss index that holds `base`: exact for few rows, inverted lists for many."""
    import faiss

    n, width = base.shape
    index: Any = faiss.IndexFlatIP(width)
    if n >= _EXACT_BELOW:
        # 4 sqrt(N) lists of about sqrt(N) / 4 rows: filling and asking them costs N^1.5 at most.
        index = faiss.IndexIVFFlat(index, width, int(4 * np.sqrt(n)), faiss.METRIC_INNER_PRODUCT)
        index.cp.niter, index.cp.max_points_per_centroid, index.cp.min_points_per_centroid = 8, 64, 1
        index.nprobe = _LISTS_ASKED
        index.train(base)
    index.add(base)
    return index


def likeliest_first(pairs: pd.DataFrame) -> pd.DataFrame:
    """Order each pair as a < b, drop self-pairs and all but the likeliest of equals, sort by likeness."""
    low, high = np.sort(pairs[["a", "b"]].to_numpy(), axis=1).T
    pairs = pairs.assign(a=low, b=high)[low != high].sort_values("likeness", ascending=False, kind="stable")
    return pairs.drop_duplicates(["a", "b", "flipped"], ignore_index=True)


def hash_pairs(plain: Hashes, mirrored: Hashes, window: int = 2) -> pd.DataFrame:
    """Pair rows whose perceptual hashes, (N,) of the images and of their mirror images, differ by at most 10 of 64 bits.

    Sorted neighbourhood (Hernandez & Stolfo 1995): hashes are sorted four times, each time starting from another 16
    bits, and each is compared with the next `window`; the cost is that of sorting.
    """
    hashes = np.concatenate([plain, mirrored])
    row, side = np.tile(np.arange(len(plain)), 2), np.repeat([False, True], len(plain))
    words = hashes.astype(">u8").view(">u2").reshape(-1, 4)
    found = []
    for first in range(4):
        order = np.lexsort(np.roll(words, -first, axis=1).T[::-1])  # lexsort's last key decides first
        for ahead in range(1, window + 1):
            i, j = order[:-ahead], order[ahead:]
            apart = np.bitwise_count(hashes[i] ^ hashes[j])
            near = (apart <= _NEAR_BITS) & ~(side[i] & side[j])
            i, j = i[near], j[near]
            likeness = (1 - apart[near] / 64).astype(np.float32)
            found.append(pd.DataFrame({"a": row[i], "b": row[j], "flipped": side[i] != side[j], "likeness": likeness}))
    return likeliest_first(pd.concat(found))
