"""Correlation of two pictures after the best shift and stretch has been found."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from brainssl_utils.compute.chunks import over_chunks
from brainssl_utils.data.copies.signatures import BAND, Floats, Signatures, gaussian, smooth
from brainssl_utils.data.partition import Ints

SMALLEST_OVERLAP = 0.3  # of the patch; less common area proves nothing
_COARSE_STEPS, _FINE_STEPS = 4, 1
_HOPELESS = 0.75  # coarse correlation below which 0.90 is out of reach (of 12,600 such pairs four fell below)


def aligned_correlation(
    signs: Signatures, a: Ints, b: Ints, flipped: npt.NDArray[np.bool_], hopeless: float = _HOPELESS
) -> Floats:
    """Correlate pairs of reduced images after aligning them.

    Shift and stretch of both axes (no rotation) are found by Gauss-Newton steps on the squared difference, first at
    24 x 24, then at 48 x 48 pixels (Lucas & Kanade 1981, in the inverse form of Baker & Matthews 2004).

    Args:
        signs: reduced images.
        a, b, flipped: (P,) row numbers, and whether b is mirrored left-right.
        hopeless: pairs whose coarse correlation stays below this are not refined; their coarse value is returned.

    Returns:
        (P,) float32 correlation in -1..1 of the band-passed pixels where both images have any.
    """

    def work(rows: slice) -> Floats:
        return _correlate(signs, a[rows], b[rows], flipped[rows], hopeless)

    return np.concatenate([np.empty(0, dtype=np.float32), *over_chunks(work, len(a))])


def _correlate(signs: Signatures, a: Ints, b: Ints, flipped: npt.NDArray[np.bool_], hopeless: float) -> Floats:
    warp = np.zeros((len(a), 4), dtype=np.float32)
    value, warp = _descend(signs.coarse[a], _take(signs.coarse, b, flipped), warp, _COARSE_STEPS)
    keep = np.flatnonzero(value >= hopeless)
    a, b, flipped = a[keep], b[keep], flipped[keep]
    _, warp = _descend(signs.fine[a], _take(signs.fine, b, flipped), warp[keep], _FINE_STEPS)
    first, second = signs.patch[a].astype(np.float32), _take(signs.patch, b, flipped)
    rows, columns = _warp_weights(warp, first.shape[-1])
    other_y, other_x = signs.inside_y[b].astype(np.float32), _take(signs.inside_x, b, flipped)
    common_y = signs.inside_y[a] & ((rows @ other_y[:, :, None])[:, :, 0] > 0.99)
    common_x = signs.inside_x[a] & ((columns @ other_x[:, :, None])[:, :, 0] > 0.99)
    value[keep] = _compare(first, rows @ second @ columns.transpose(0, 2, 1), common_y, common_x)
    return value


def _take(x: np.ndarray, rows: Ints, flipped: npt.NDArray[np.bool_]) -> Floats:
    """Gather images (or what describes their columns) as float32, mirrored where asked for."""
    y = x[rows].astype(np.float32)
    y[flipped] = y[flipped][..., ::-1]
    return y


def _warp_weights(warp: Floats, side: int) -> tuple[Floats, Floats]:
    """Return the (P, side, side) linear-interpolation weights that warp rows and columns; zero outside the image.

    A warp is (stretch, shift) of the rows and of the columns: u in -1..1 is taken from (1 + stretch) u + shift.
    """
    u, pixel = np.linspace(-1, 1, side, dtype=np.float32), np.arange(side, dtype=np.float32)
    place = ((1 + warp[:, 0::2, None]) * u + warp[:, 1::2, None] + 1) * np.float32((side - 1) / 2)
    weights = place[..., None] - pixel
    np.abs(weights, out=weights)  # in place: new arrays of this size would make an alignment a third slower
    np.maximum(np.subtract(1, weights, out=weights), 0, out=weights)
    return weights[:, 0], weights[:, 1]


def _descend(first: np.ndarray, second: Floats, warp: Floats, steps: int) -> tuple[Floats, Floats]:
    """Improve the warp of `second` onto `first`; return the best correlation met and its warp.

    The slopes are those of `first`, so that the normal equations are solved once a pair.
    """
    first = first.astype(np.float32)
    n, side, _ = first.shape
    u = np.linspace(-1, 1, side, dtype=np.float32)
    slopes = np.zeros((n, 4, side, side), dtype=np.float32)  # of the warp's four numbers
    slopes[:, 1, 1:-1] = (first[:, 2:] - first[:, :-2]) * ((side - 1) / 4)
    slopes[:, 3, :, 1:-1] = (first[:, :, 2:] - first[:, :, :-2]) * ((side - 1) / 4)
    slopes[:, 0], slopes[:, 2] = slopes[:, 1] * u[:, None], slopes[:, 3] * u
    flat = slopes.reshape(n, 4, side * side)
    normal = flat @ flat.transpose(0, 2, 1)
    damping = 1e-3 * np.trace(normal, axis1=1, axis2=2)[:, None, None] / 4 + 1e-6
    solve = np.linalg.inv(normal + damping * np.eye(4, dtype=np.float32))
    length = np.sqrt(np.einsum("nij,nij->n", first, first))
    best, best_warp = np.full(n, -1, dtype=np.float32), warp.copy()
    for step in range(steps + 1):
        rows, columns = _warp_weights(warp, side)
        moved = rows @ second @ columns.transpose(0, 2, 1)
        product = np.einsum("nij,nij->n", first, moved)
        power = np.maximum(np.einsum("nij,nij->n", moved, moved), 1e-6)
        value = product / np.maximum(length * np.sqrt(power), 1e-6)
        better = value > best
        best, best_warp = np.where(better, value, best), np.where(better[:, None], warp, best_warp)
        if step < steps:
            gain = np.maximum(product, 0) / power
            rest = (first - gain[:, None, None] * moved).reshape(n, side * side, 1)
            change = (solve @ (flat @ rest))[:, :, 0]
            warp = np.clip(warp + np.clip(change, -0.1, 0.1), -0.4, 0.4)
    return best, best_warp


def _compare(first: Floats, second: Floats, common_y: np.ndarray, common_x: np.ndarray) -> Floats:
    """Correlate two aligned pictures, band-passed, over their common rows and columns; 0 when those are too few.

    Both are filtered after the warp and under the same mask, so that what the mask's edge does to one it does to both.
    """
    side = first.shape[-1]
    common_y, common_x = common_y.astype(np.float32), common_x.astype(np.float32)
    area = common_y[:, :, None] * common_x[:, None, :]
    # The mask is a product of rows and columns, so its smoothed form is one too.
    near, far = (
        np.maximum((common_y @ kernel.T)[:, :, None] * (common_x @ kernel.T)[:, None, :], 1e-3)
        for kernel in (gaussian(side, sigma) for sigma in BAND)
    )
    x, y = ((smooth(z, BAND[0]) / near - smooth(z, BAND[1]) / far) * area for z in (first * area, second * area))
    scale = np.sqrt((x * x).sum(axis=(1, 2)) * (y * y).sum(axis=(1, 2)))
    value = (x * y).sum(axis=(1, 2)) / np.maximum(scale, 1e-6)
    return np.where(area.sum(axis=(1, 2)) >= SMALLEST_OVERLAP * side * side, value, 0).astype(np.float32)
