"""Copies of one picture: found, proved by the correlation of their pixels, and gathered in groups.

Candidates come from indexes (perceptual hashes, edge histograms), so that the cost grows little faster than the number
of images; every link is then confirmed on the decoded pixels, and groups are the connected components of the links.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from brainssl_utils.data.copies.alignment import aligned_correlation
from brainssl_utils.data.copies.candidates import perceptual_hashes
from brainssl_utils.data.copies.linking import Linker, links_table
from brainssl_utils.data.copies.signatures import Floats, signatures
from brainssl_utils.data.corpus import Copies
from brainssl_utils.data.partition import components
from brainssl_utils.errors import CourseError

SMALLEST_SIDE = 48


def find_groups(
    images: npt.NDArray[np.uint8],
    sha256: Sequence[str],
    threshold: float = 0.98,
    keep_links: float = 0.90,
    neighbours: int = 6,
) -> Copies:
    """Gather images that are copies of one picture: resized, recompressed, cropped, gamma-changed or mirrored.

    Args:
        images: (N, 1, S, S) uint8 decoded images, S even and at least 48; 96 is what the thresholds were measured at.
        sha256: (N,) content hashes of the files; equal ones are copies without further test.
        threshold: correlation (0..1) of the band-passed pixels after alignment from which two images are copies.
            0.98 is met by nearly all copies and by few neighbouring slices of one patient; 0.90 includes most
            neighbouring slices.
        keep_links: links from this correlation on are listed as evidence, for `leakage` at lower thresholds.
        neighbours: candidates an image from the index of edge histograms.

    Raises:
        CourseError: lengths differ, or a parameter is out of range.
    """
    n = len(images)
    if len(sha256) != n:
        raise CourseError(f"find_groups: {n} images need {n} sha256 values, got {len(sha256)}.")
    if not 0 < keep_links <= threshold <= 1:
        raise CourseError(f"find_groups: need 0 < keep_links <= threshold <= 1, got {keep_links} and {threshold}.")
    pixels = _checked(images)
    same_pixels = [hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in pixels]
    exact = pd.concat([_same(sha256, "sha256"), _same(same_pixels, "pixels")])
    rows = np.unique(components(n, exact["a"], exact["b"]), return_index=True)[1]

    plain, mirrored = perceptual_hashes(pixels)
    distinct = pixels if len(rows) == n else pixels[rows]  # a copy of 100,000 images takes 0.9 GB
    linker = Linker(signatures(distinct), threshold)
    linker.run(plain[rows], mirrored[rows], neighbours)
    near = linker.compared[linker.compared["value"] >= keep_links]
    near = near.sort_values("value", ascending=False, kind="stable").drop_duplicates(["a", "b"]).sort_values(["a", "b"])
    near = near.assign(a=rows[near["a"]], b=rows[near["b"]])

    links = pd.concat([exact, near]).drop_duplicates(["a", "b"], ignore_index=True)
    strong = links[links["value"] >= threshold]
    group = components(n, strong["a"], strong["b"])
    marks = pd.DataFrame({"phash": [f"{value:016x}" for value in plain], "group": group})
    return Copies(marks, links, len(linker.compared))


def pair_correlation(
    images_a: npt.NDArray[np.uint8], images_b: npt.NDArray[np.uint8]
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Correlate images pair by pair as `find_groups` does, whichever way round fits better.

    Args:
        images_a, images_b: (P, 1, S, S) uint8, S even and at least 48.

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
    signs = signatures(np.concatenate([first, second]))
    a, b = np.arange(n), np.arange(n, 2 * n)
    values = [aligned_correlation(signs, a, b, np.full(n, flip), hopeless=-1.0) for flip in (False, True)]
    return np.maximum(*values), values[1] > values[0]


def _checked(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return (N, 1, S, S) or (N, S, S) images as (N, S, S)."""
    n, side = len(images), images.shape[-1]
    if images.dtype != np.uint8 or images.shape not in ((n, side, side), (n, 1, side, side)):
        raise CourseError(f"images must be (N, 1, S, S) uint8, got {images.shape} {images.dtype}.")
    if side < SMALLEST_SIDE or side % 2:
        raise CourseError(f"images of {side} x {side} pixels: the side must be even and at least {SMALLEST_SIDE}.")
    return images.reshape(n, side, side)


def _same(values: Sequence[str], test: str) -> pd.DataFrame:
    """Link each row to the first one with an equal value."""
    number = pd.factorize(np.asarray(values, dtype=object))[0]
    origin = np.unique(number, return_index=True)[1][number]
    again = np.flatnonzero(origin != np.arange(len(number)))
    return links_table(origin[again], again, test)
