"""Copies of one picture: found, proved by the correlation of their pixels, and gathered in groups.

Candidates come from indexes (perceptual hashes, edge histograms), so that the cost grows little faster than the number
of images; every link is then confirmed on the decoded pixels, and groups are the connected components of the links.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from brainssl_utils.data.copies.alignment import aligned_correlation
from brainssl_utils.data.copies.candidates import hash_pairs
from brainssl_utils.data.copies.contrast import contrast_links
from brainssl_utils.data.copies.hashes import Hashes, perceptual_hashes
from brainssl_utils.data.copies.linking import Linker, links_table
from brainssl_utils.data.copies.signatures import Floats, signatures
from brainssl_utils.data.partition import Ints, components
from brainssl_utils.errors import CourseError

SMALLEST_SIDE = 48
_WIDE = 6  # followers in sorted order of the hashes, where copies of another contrast are looked for


@dataclass(frozen=True)
class Groups:
    """Groups of copies and why.

    Attributes:
        group: (N,) int64 group of each image, numbered in the order of first members; most groups have one member.
        links: evidence, one row a link: a, b (row numbers, a < b), test ("sha256": same file; "pixels": correlation
            after alignment; "plain": correlation of the pixels as they are, see `contrast`), value (1 for the same file),
            flipped (b is a mirrored copy). Links from `keep_links` to `threshold` are listed too (neighbouring slices,
            mostly) but join no groups. Not every pair of a group has a link: a chain of links is enough to join.
        compared: how many pairs of images were compared pixel by pixel.
        labels: (N,) labels, if `find_groups` was given them.
    """

    group: Ints
    links: pd.DataFrame
    compared: int = 0
    labels: Ints | None = None

    def largest(self, n: int = 10) -> pd.DataFrame:
        """List the `n` largest groups of two or more: group, size, weakest link inside, number of different labels.

        Groups are chains of links: a ~ b and b ~ c join a with c however far apart those are. A very large group with
        a weakest link near the threshold, or with several labels, is where to look for a chain that went too far.
        """
        first, second = self.group[self.links["a"]], self.group[self.links["b"]]
        weakest = self.links["value"][first == second].groupby(first[first == second]).min()
        table = pd.DataFrame({"size": pd.Series(np.bincount(self.group)), "weakest_link": weakest})
        if self.labels is not None:
            table["labels"] = pd.Series(self.labels).groupby(self.group).nunique()
        table = table[table["size"] > 1].sort_values("size", ascending=False, kind="stable")
        return table.head(n).rename_axis("group").reset_index()


def find_groups(
    images: npt.NDArray[np.uint8],
    sha256: Sequence[str] | npt.NDArray[np.str_],
    hashes: tuple[Hashes, Hashes] | None = None,
    labels: npt.ArrayLike | None = None,
    threshold: float = 0.98,
    keep_links: float = 0.90,
    neighbours: int = 6,
    threads: int | None = None,
) -> Groups:
    """Gather images that are copies of one picture: resized, recompressed, cropped, gamma-changed or mirrored.

    Args:
        images: (N, 1, S, S) uint8 decoded images, S even and at least 48; 96 is what the thresholds were measured at.
        sha256: (N,) content hashes of the files; equal ones are copies without further test.
        hashes: what `perceptual_hashes` gives for the images; computed if left out.
        labels: (N,) class codes; they play no part in the search and only appear in `Groups.largest`.
        threshold: correlation (0..1) of the band-passed pixels after alignment from which two images are copies.
            0.98 is met by nearly all copies and by few neighbouring slices of one patient; 0.90 includes most
            neighbouring slices. Copies with a starkly changed contrast, which fall below, are known by their pixels as they
            are (see `contrast`).
        keep_links: links from this correlation on are listed as evidence, for `leakage` at lower thresholds.
        neighbours: candidates an image from the index of edge histograms.
        threads: of this process; default: all cores.

    Returns:
        Groups.

    Raises:
        CourseError: lengths differ, or a parameter is out of range.
    """
    n = len(images)
    if len(sha256) != n or (hashes is not None and {len(found) for found in hashes} != {n}):
        raise CourseError(f"find_groups: {n} images need {n} sha256 and hash values, got {len(sha256)}.")
    if not 0 < keep_links <= threshold <= 1:
        raise CourseError(f"find_groups: need 0 < keep_links <= threshold <= 1, got {keep_links} and {threshold}.")
    codes = None if labels is None else np.asarray(labels, dtype=np.int64)
    pixels = _checked(images)
    same_pixels = [hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in pixels]
    exact = pd.concat([_same(sha256, "sha256"), _same(same_pixels, "pixels")])
    rows = np.unique(components(n, exact["a"], exact["b"]), return_index=True)[1]

    distinct = pixels if len(rows) == n else pixels[rows]
    plain, mirrored = perceptual_hashes(distinct, threads) if hashes is None else (found[rows] for found in hashes)
    linker = Linker(signatures(distinct, threads), threshold, threads)
    linker.run(plain, mirrored, neighbours)
    near = linker.compared[linker.compared["value"] >= keep_links]
    apart = pd.concat([linker.compared, hash_pairs(plain, mirrored, _WIDE)])[["a", "b", "flipped"]].drop_duplicates()
    apart = apart[linker.group[apart["a"]] != linker.group[apart["b"]]]
    near = pd.concat([near, contrast_links(distinct, linker.signs, apart, threshold, threads)])
    near = near.sort_values("value", ascending=False, kind="stable").drop_duplicates(["a", "b"]).sort_values(["a", "b"])
    near = near.assign(a=rows[near["a"]], b=rows[near["b"]])

    links = pd.concat([exact, near]).drop_duplicates(["a", "b"], ignore_index=True)
    strong = links[links["value"] >= threshold]
    return Groups(components(n, strong["a"], strong["b"]), links, len(linker.compared), codes)


def pair_correlation(
    images_a: npt.NDArray[np.uint8], images_b: npt.NDArray[np.uint8], threads: int | None = None
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Correlate images pair by pair as `find_groups` does, whichever way round fits better.

    Args:
        images_a, images_b: (P, 1, S, S) uint8, S even and at least 48.
        threads: of this process; default: all cores.

    Returns:
        (P,) float32 correlation in -1..1 of the band-passed pixels after alignment, and (P,) bool: the second image
        fits better mirrored.

    Raises:
        CourseError: the two shapes differ or are not of that form.
    """
    first, second = _checked(images_a), _checked(images_b)
    if first.shape != second.shape:
        raise CourseError(
            f"pair_correlation: shapes {first.shape} and {second.shape} differ; give one image b for each a."
        )
    n = len(first)
    signs = signatures(np.concatenate([first, second]), threads)
    a, b = np.arange(n), np.arange(n, 2 * n)
    values = [aligned_correlation(signs, a, b, np.full(n, flip), threads, hopeless=-1.0) for flip in (False, True)]
    return np.maximum(*values), values[1] > values[0]


def _checked(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return (N, 1, S, S) or (N, S, S) images as (N, S, S)."""
    n, side = len(images), images.shape[-1]
    if images.dtype != np.uint8 or images.shape not in ((n, side, side), (n, 1, side, side)):
        raise CourseError(f"images must be (N, 1, S, S) uint8, got {images.shape} {images.dtype}.")
    if side < SMALLEST_SIDE or side % 2:
        raise CourseError(f"images of {side} x {side} pixels: the side must be even and at least {SMALLEST_SIDE}.")
    return images.reshape(n, side, side)


def _same(values: Sequence[str] | npt.NDArray[np.str_], test: str) -> pd.DataFrame:
    """Link each row to the first one with an equal value."""
    number = pd.factorize(np.asarray(values, dtype=object))[0]
    origin = np.unique(number, return_index=True)[1][number]
    again = np.flatnonzero(origin != np.arange(len(number)))
    return links_table(origin[again], again, test)
