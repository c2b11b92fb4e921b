"""What makes two files the same picture: each image reduced to a form that survives copying.

Copies differ by size, compression, crop, contrast curve and mirroring. Three steps take most of that away: a power law
that gives every image the same mean brightness (undoes gamma), a window set by the moments of the brightness (undoes
size, aspect and margins), and a band-pass filter (leaves the anatomy's edges, drops the smooth shading that all heads
share and the finest grain that compression changes).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from brainssl_utils.compute.chunks import over_chunks

Floats = npt.NDArray[np.floating[Any]]
FINE = 48  # side of the patches that are compared; their pixel is about the anatomy's detail at 96 x 96
BAND = (1.2, 5.0)  # sigmas of the two Gaussians whose difference is the band-pass, in pixels of a patch
CELLS, ANGLES = 8, 6
_MEAN = 0.35  # mean brightness that the power law aims at


@dataclass(frozen=True)
class Signatures:
    """Reduced images.

    Attributes:
        patch: (N, 48, 48) uint8 evened brightness in the window.
        fine: (N, 48, 48) float16 the same band-passed, mean square 1 (0 for a blank image), 0 outside the image.
        coarse: (N, 24, 24) float16, the same at half the resolution.
        inside_y, inside_x: (N, 48) bool, rows and columns of the patch that lie well inside the image.
        shape: (N, 384) float16 histograms of edge directions in 8 x 8 cells (6 directions), of unit length.
    """

    patch: npt.NDArray[np.uint8]
    fine: npt.NDArray[np.float16]
    coarse: npt.NDArray[np.float16]
    inside_y: npt.NDArray[np.bool_]
    inside_x: npt.NDArray[np.bool_]
    shape: npt.NDArray[np.float16]

    def __len__(self) -> int:
        return len(self.fine)


def signatures(images: npt.NDArray[np.uint8]) -> Signatures:
    """Reduce images, (N, 1, S, S) or (N, S, S) uint8 with S even, for comparison."""
    n = len(images)
    images = images.reshape(n, *images.shape[-2:])
    columns = [np.empty((n, *part.shape[1:]), dtype=part.dtype) for part in _reduce(images[:0])]

    def work(rows: slice) -> None:
        for column, part in zip(columns, _reduce(images[rows])):
            column[rows] = part

    list(over_chunks(work, n))
    return Signatures(*columns)


def mirrored_shape(shape: npt.NDArray[np.float16]) -> npt.NDArray[np.float16]:
    """Return what `shape` would be for the left-right mirrored images."""
    cells = shape.reshape(-1, ANGLES, CELLS, CELLS)[:, -np.arange(ANGLES) % ANGLES, :, ::-1]
    return cells.reshape(shape.shape)


def _reduce(images: npt.NDArray[np.uint8]) -> tuple[np.ndarray, ...]:
    """Return what `Signatures` holds of some images, in its order."""
    side = images.shape[-1]
    pixels: Floats = images.astype(np.float32)
    small = _halved(pixels)
    box = _window(_even_brightness(small, small))
    # A wide dark frame misleads the first curve; the second one is drawn from the window alone.
    box = _window(_even_brightness(small, _resampled(small, box))) * (side / small.shape[-1])
    patch = _resampled(pixels, box)
    centres = box[:, :, :1] + (box[:, :, 1:] - box[:, :, :1]) * (np.arange(FINE, dtype=np.float32) + 0.5) / FINE
    within = (centres > 0.5) & (centres < side - 0.5)
    patch = _even_brightness(patch, patch)
    # Beyond its border an image goes on as its last pixel: keep what the filter makes of that out of comparisons.
    cell = np.arange(FINE)
    inside = within[:, :, np.maximum(cell - 2, 0)] & within[:, :, np.minimum(cell + 2, FINE - 1)]
    inner = inside[:, 0, :, None] & inside[:, 1, None, :]
    fine = _unit((smooth(patch, BAND[0]) - smooth(patch, BAND[1])) * inner).astype(np.float16)
    coarse = _unit(_halved((smooth(patch, 1.5) - smooth(patch, 5.0)) * inner)).astype(np.float16)
    return np.rint(patch * 255).astype(np.uint8), fine, coarse, inside[:, 0], inside[:, 1], _edges(_halved(patch))


def _halved(x: Floats) -> Floats:
    """Average 2 x 2 pixels."""
    return (x[:, 0::2, 0::2] + x[:, 1::2, 0::2] + x[:, 0::2, 1::2] + x[:, 1::2, 1::2]) / 4


def _even_brightness(x: Floats, model: Floats) -> Floats:
    """Raise each (non-negative) image to the power that brings the mean of `model` to 0.35 of its brightest pixels."""
    flat = np.rint(model).astype(np.uint8).reshape(len(model), model.shape[1] * model.shape[2])
    ranks = ((np.arange(64) + 0.5) / 64 * flat.shape[1]).astype(np.int64)
    quantiles = np.sort(flat, axis=1, kind="stable")[:, ranks].astype(np.float32)
    top = np.maximum(quantiles[:, -1:], 1)
    logs = np.log(np.clip(quantiles / top, 1e-3, 1))
    low, high = np.full((len(flat), 1), np.log(0.15)), np.full((len(flat), 1), np.log(6.0))
    for _ in range(10):  # bisection: the mean falls as the power grows
        middle = (low + high) / 2
        bright = np.exp(logs * np.exp(middle)).mean(axis=1, keepdims=True) > _MEAN
        low, high = np.where(bright, middle, low), np.where(bright, high, middle)
    power = np.exp((low + high) / 2).astype(np.float32)[:, :, None]
    return np.exp(np.log(np.clip(x / top[:, :, None], 1e-3, 1)) * power)


def _window(x: Floats) -> Floats:
    """Find the window centre +- 1.8 standard deviations of evened brightness (N, S, S), each axis for itself.

    It lies just inside a head (a filled disc reaches to 2), so that a crop into the scalp hardly changes it. Returned
    as (N, 2, 2), from - to in pixels, for rows and columns.
    """
    n, side, _ = x.shape
    place = np.arange(side, dtype=np.float32) + 0.5
    centre = half = np.full((n, 2, 1), side / 2, dtype=np.float32)
    for _ in range(5):  # moments within the window move the window; five rounds settle it
        within = (np.abs(place - centre) <= half).astype(np.float32)
        rows = (x @ within[:, 1, :, None])[:, :, 0] * within[:, 0]
        columns = (within[:, 0, None] @ x)[:, 0] * within[:, 1]
        profile = np.stack([rows, columns], axis=1)
        total = np.maximum(profile.sum(axis=2, keepdims=True), 1e-6)
        centre = (profile * place).sum(axis=2, keepdims=True) / total
        spread = np.sqrt((profile * (place - centre) ** 2).sum(axis=2, keepdims=True) / total)
        half = np.maximum(2 * spread, side / 12)
    return np.concatenate([centre - 0.9 * half, centre + 0.9 * half], axis=2)


def _resampled(x: Floats, box: Floats) -> Floats:
    """Return the 48 x 48 patch of each image under its window, each cell the mean of the pixels it covers."""
    side = x.shape[-1]
    step = (box[:, :, 1:] - box[:, :, :1]) / FINE
    middle = np.clip(box[:, :, :1] + step * (np.arange(FINE, dtype=np.float32) + 0.5), 0.5, side - 0.5)[..., None]
    reach = np.maximum(step / 2, 0.5)[..., None]
    pixel = np.arange(side, dtype=np.float32)
    weight = np.clip(np.minimum(middle + reach, pixel + 1) - np.maximum(middle - reach, pixel), 0, None)
    weight /= np.maximum(weight.sum(axis=3, keepdims=True), 1e-6)
    return weight[:, 0] @ x @ weight[:, 1].transpose(0, 2, 1)


def gaussian(side: int, sigma: float) -> Floats:
    """Return the (side, side) matrix that smooths a column of pixels, renormalised at both ends."""
    place = np.arange(side, dtype=np.float32)
    kernel = np.exp(-0.5 * ((place[:, None] - place) / sigma) ** 2)
    kernel[kernel < 1e-6] = 0  # its far ends would be denormal numbers, which multiply a hundred times slower
    return kernel / kernel.sum(axis=1, keepdims=True)


def smooth(x: Floats, sigma: float) -> Floats:
    """Gaussian filter of (N, S, S), as two products of one tall matrix with a small one: far faster than N small ones."""
    side = x.shape[-1]
    kernel = gaussian(side, sigma).T
    across = (x.reshape(len(x) * side, side) @ kernel).reshape(x.shape).transpose(0, 2, 1)
    return (across.reshape(len(x) * side, side) @ kernel).reshape(x.shape).transpose(0, 2, 1)


def _unit(x: Floats) -> Floats:
    """Scale each image to mean square 1; blank images stay 0."""
    scale = np.sqrt((x * x).mean(axis=(1, 2), keepdims=True))
    return np.where(scale > 1e-4, x / np.maximum(scale, 1e-4), 0)


def _edges(x: Floats) -> npt.NDArray[np.float16]:
    """Histograms of unsigned edge direction, weighted by edge strength, in overlapping cells (Dalal & Triggs 2005)."""
    side = x.shape[-1]
    rise_y, rise_x = np.zeros_like(x), np.zeros_like(x)
    rise_y[:, 1:-1] = x[:, 2:] - x[:, :-2]
    rise_x[:, :, 1:-1] = x[:, :, 2:] - x[:, :, :-2]
    strength = np.sqrt(rise_x**2 + rise_y**2)
    angle = np.arctan2(rise_y, rise_x) % np.pi * (ANGLES / np.pi)
    centres = (np.arange(CELLS, dtype=np.float32) + 0.5) * side / CELLS
    tent = np.clip(1 - np.abs(np.arange(side) + 0.5 - centres[:, None]) * CELLS / side, 0, None).astype(np.float32)
    cells = np.empty((len(x), ANGLES, CELLS, CELLS), dtype=np.float32)
    for k in range(ANGLES):
        apart = np.abs(angle - k)
        share = np.clip(1 - np.minimum(apart, ANGLES - apart), 0, None) * strength
        cells[:, k] = tent @ share @ tent.T
    flat = np.sqrt(cells).reshape(len(x), ANGLES * CELLS * CELLS)
    return (flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)).astype(np.float16)
