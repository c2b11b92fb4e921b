"""Resizing a whole stack of images at once by area."""

from __future__ import annotations

import numpy as np

_CHUNK = 512  # images a step: bounds the float32 copies to some tens of MB


def resize_area(images: np.ndarray, size: int) -> np.ndarray:
    """Resize (N, 1, H, W) uint8 to (N, 1, size, size) uint8; each new pixel is the mean of the area it covers.

    Partly covered pixels count with the covered part; for whole-number factors this is plain block averaging. When
    enlarging, new pixels take the value of the pixel they lie in, mixed where they straddle two.
    """
    rows, columns = area_weights(images.shape[2], size), area_weights(images.shape[3], size)
    out = np.empty((len(images), 1, size, size), dtype=np.uint8)
    for start in range(0, len(images), _CHUNK):
        part = images[start : start + _CHUNK, 0].astype(np.float32)
        out[start : start + _CHUNK, 0] = np.rint(rows @ part @ columns.T)
    return out


def area_weights(old: int, new: int) -> np.ndarray:
    """(new, old) float32 matrix whose row i holds the share of each old pixel in new pixel i; rows sum to 1."""
    edges = np.linspace(0.0, old, new + 1)
    pixels = np.arange(old)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (np.clip(overlap, 0.0, None) * (new / old)).astype(np.float32)
