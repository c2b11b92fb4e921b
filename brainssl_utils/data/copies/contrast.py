"""Copies whose contrast was changed starkly: bright parts cut off at white, dark ones at black, edges sharpened.

Such a change moves the band of the picture that the search correlates, and a copy scores 0.85 to 0.98 there, no more than
a neighbouring slice. The pixels as they are, neither aligned nor filtered, still correlate above 0.98, which neighbouring
slices hardly do: on the study's archives this test alone links 86 pairs, which join 15 pairs of groups; one pair of each was
looked at, and all are copies.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from brainssl_utils.compute.chunks import over_chunks
from brainssl_utils.data.copies.alignment import aligned_correlation
from brainssl_utils.data.copies.linking import links_table
from brainssl_utils.data.copies.signatures import Floats, Signatures
from brainssl_utils.data.partition import Ints

STILL_ALIKE = 0.85
"""Aligned correlation that a copy keeps under such a change; smooth pictures that agree in outline alone fall below."""
_MARGIN = 0.03  # below the threshold, at which pairs are still looked at in full after blocks of pixels were compared


def contrast_links(
    images: npt.NDArray[np.uint8],
    signs: Signatures,
    pairs: pd.DataFrame,
    threshold: float,
) -> pd.DataFrame:
    """Link the pairs whose plain correlation reaches `threshold` and whose aligned one reaches `STILL_ALIKE`.

    Args:
        images: (N, S, S) uint8.
        signs: the same images reduced.
        pairs: candidates: a, b (rows), flipped (b is mirrored).
        threshold: plain correlation, 0..1.

    Returns:
        links as `links_table` has them, test "plain", value the plain correlation.
    """
    a, b, flipped = (pairs[name].to_numpy() for name in ("a", "b", "flipped"))
    # Blocks of pixels tell most pairs apart at a sixteenth of the price: a copy agrees there at least as well as in full.
    coarse = _blocks(images)
    promising = np.flatnonzero(_correlations(coarse, a, b, flipped) >= threshold - _MARGIN)
    a, b, flipped = a[promising], b[promising], flipped[promising]
    value = _correlations(images, a, b, flipped)
    close = value >= threshold
    a, b, flipped, value = a[close], b[close], flipped[close], value[close]
    alike = aligned_correlation(signs, a, b, flipped, hopeless=-1.0) >= STILL_ALIKE
    return links_table(a[alike], b[alike], "plain", value[alike], flipped[alike])


def _blocks(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint16]:
    """Sums over blocks of 4 x 4 pixels (2 x 2 where 4 does not divide the side), (N, S, S) -> (N, S / 4, S / 4)."""
    factor = 4 if images.shape[-1] % 4 == 0 else 2
    side = images.shape[-1] // factor

    def work(rows: slice) -> npt.NDArray[np.uint16]:
        lines = images[rows].reshape(-1, side, factor, side * factor).sum(axis=2, dtype=np.uint16)
        return lines.reshape(-1, side, side, factor).sum(axis=3, dtype=np.uint16)

    return np.concatenate([np.empty((0, side, side), np.uint16), *over_chunks(work, len(images))])


def _correlations(images: npt.NDArray[Any], a: Ints, b: Ints, flipped: npt.NDArray[np.bool_]) -> Floats:
    """Plain correlation of the pairs (P,) of images, the second mirrored where `flipped`."""

    def work(rows: slice) -> Floats:
        second = images[b[rows]]
        return plain_correlation(images[a[rows]], np.where(flipped[rows, None, None], second[:, :, ::-1], second))

    parts = over_chunks(work, len(a))
    return np.concatenate([np.empty(0, np.float32), *parts])


def plain_correlation(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> Floats:
    """Correlation of images (P, S, S) with others, pair by pair, as they are: (P,) float32; 0 for an image of one value."""
    x, y = (images.astype(np.float32) for images in (first, second))
    x, y = (z - z.mean(axis=(1, 2), keepdims=True) for z in (x, y))
    size = np.sqrt((x * x).sum(axis=(1, 2)) * (y * y).sum(axis=(1, 2)))
    return (x * y).sum(axis=(1, 2)) / np.maximum(size, 1e-6)
