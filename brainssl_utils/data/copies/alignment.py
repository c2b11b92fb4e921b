"""Correlation of two pictures after the best shift and stretch has been found."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from brainssl_utils.data.chunks import over_chunks
from brainssl_utils.data.copies.signatures import BAND, Floats, Ints, Signatures, gaussian, smooth

SMALLEST_OVERLAP = 0.3  # of the patch; less common area proves nothing
_COARSE_STEPS, _FINE_STEPS = 4, 1
_HOPELESS = 0.75  # coarse correlation below which 0.90 is out of reach (of 12,600 such pairs four fell below)


def aligned_correlation(
    signs: Signatures,
    a: Ints,
    b: Ints,
    flipped: npt.NDArray[np.bool_],
    threads: int | None = None,
    hopeless: float = _HOPELESS,
) -> Floats:
    """Correlate pairs of reduced images after aligning them.

    Shift and stretch of both axes (no rotation) are found by Gauss-Newton steps on the squared difference, first at
    24 x 24, then at 48 x 48 pixels (Lucas & Kanade 1981, in the inverse form of Baker & Matthews 2004).

    Args:
        signs: reduced images.
        a, b: (P,) row numbers; b is mirrored left-right where `flipped` (P,) is true.
        threads: of this process; default: all cores.
        hopeless: pairs whose coarse correlation stays below this are not refined; their coarse value is returned.

    Returns:
        (P,) float32 correlation in -1..1 of the band-passed pixels where both images have any.
    """

    def work(rows: slice) -> Floats:
        return _correlate(signs, a[rows], b[rows], flipped[rows], hopeless)

    parts = list(over_chunks(work, len(a), threads, size=128))
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.float32)


def _correlate(signs: Signatures, a: Ints, b: Ints, flipped: npt.NDArray[np.bool_], hopeless: float) -> Floats:
    warp = np.zeros((len(a), 4), dtype=np.float32)
    value, warp = _descend(signs.coarse[a], _take(signs.coarse, b, flipped), warp, _COARSE_STEPS)
    keep = np.flatnonzero(value >= hopeless)
    a, b, flipped = a[keep], b[keep], flipped[keep]
    first, second = signs.fine[a].astype(np.float32), _take(signs.fine, b, flipped)
    _, warp = _descend(first, second, warp[keep], _FINE_STEPS)
    first, second = signs.patch[a].astype(np.float32), _take(signs.patch, b, flipped)
    value[keep] = _compare(first, signs.inside[a], second, _take(signs.inside, b, flipped), warp)
    return value


def _take(x: np.ndarray, rows: Ints, flipped: npt.NDArray[np.bool_]) -> Floats:
    """Gather images (or row-and-column masks) as float32, mirrored where asked for."""
    y = x[rows].astype(np.float32)
    if x.shape[1] == 2:
        y[flipped, 1] = y[flipped, 1, ::-1]
    else:
        y[flipped] = y[flipped, :, ::-1]
    return y


def _interpolation(stretch: Floats, shift: Floats, side: int) -> Floats:
    """Return (P, side, side) linear-interpolation weights at (1 + stretch) u + shift, u in -1..1; zero outside."""
    u = np.linspace(-1, 1, side, dtype=np.float32)
    place = ((1 + stretch)[:, None] * u + shift[:, None] + 1) * np.float32((side - 1) / 2)
    weights = place[:, :, None] - np.arange(side, dtype=np.float32)
    np.abs(weights, out=weights)
    np.subtract(1, weights, out=weights)
    return np.maximum(weights, 0, out=weights)


def _warped(x: Floats, warp: Floats) -> Floats:
    side = x.shape[-1]
    rows = _interpolation(warp[:, 0], warp[:, 1], side)
    columns = _interpolation(warp[:, 2], warp[:, 3], side)
    return rows @ x @ columns.transpose(0, 2, 1)


def _descend(first: np.ndarray, second: Floats, warp: Floats, steps: int) -> tuple[Floats, Floats]:
    """Improve the warp of `second` onto `first`; return the best correlation met and its warp.

    The slopes are those of `first`, so that the normal equations are solved once a pair.
    """
    first = first.astype(np.float32)
    n, side, _ = first.shape
    u = np.linspace(-1, 1, side, dtype=np.float32)
    slopes = np.zeros((n, 4, side, side), dtype=np.float32)
    by_y, by_x = slopes[:, 1], slopes[:, 3]
    np.subtract(first[:, 2:], first[:, :-2], out=by_y[:, 1:-1])
    np.subtract(first[:, :, 2:], first[:, :, :-2], out=by_x[:, :, 1:-1])
    slopes *= (side - 1) / 4
    np.multiply(by_y, u[:, None], out=slopes[:, 0])
    np.multiply(by_x, u, out=slopes[:, 2])
    flat = slopes.reshape(n, 4, side * side)
    normal = flat @ flat.transpose(0, 2, 1)
    damping = 1e-3 * np.trace(normal, axis1=1, axis2=2)[:, None, None] / 4 + 1e-6
    solve = np.linalg.inv(normal + damping * np.eye(4, dtype=np.float32))
    length = np.sqrt(np.einsum("nij,nij->n", first, first))
    best, best_warp = np.full(n, -1, dtype=np.float32), warp.copy()
    for step in range(steps + 1):
        moved = _warped(second, warp)
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


def _compare(first: Floats, inside: np.ndarray, second: Floats, other: Floats, warp: Floats) -> Floats:
    """Correlate the band-passed `first` and warped `second` over the area inside both; 0 when that is too small.

    Both are filtered after the warp and under the same mask, so that what the mask's edge does to one it does to both.
    """
    side = first.shape[-1]
    rows = _interpolation(warp[:, 0], warp[:, 1], side)
    columns = _interpolation(warp[:, 2], warp[:, 3], side)
    common_y = (inside[:, 0] & ((rows @ other[:, 0, :, None])[:, :, 0] > 0.99)).astype(np.float32)
    common_x = (inside[:, 1] & ((columns @ other[:, 1, :, None])[:, :, 0] > 0.99)).astype(np.float32)
    area = common_y[:, :, None] * common_x[:, None, :]
    # The mask is a product of rows and columns, so its smoothed form is one too.
    near, far = (
        np.maximum((common_y @ kernel.T)[:, :, None] * (common_x @ kernel.T)[:, None, :], 1e-3)
        for kernel in (gaussian(side, sigma) for sigma in BAND)
    )
    x, y = (
        (smooth(z, BAND[0]) / near - smooth(z, BAND[1]) / far) * area
        for z in (first * area, (rows @ second @ columns.transpose(0, 2, 1)) * area)
    )
    size = area.sum(axis=(1, 2))
    scale = np.sqrt((x * x).sum(axis=(1, 2)) * (y * y).sum(axis=(1, 2)))
    value = (x * y).sum(axis=(1, 2)) / np.maximum(scale, 1e-6)
    return np.where(size >= SMALLEST_OVERLAP * side * side, value, 0).astype(np.float32)
