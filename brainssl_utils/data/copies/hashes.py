"""Perceptual hashes: 64 bits that hardly change where a picture hardly changes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from brainssl_utils.compute.chunks import over_chunks

Hashes = npt.NDArray[np.uint64]
_SIDE = 32  # px of the thumbnail
_KEPT = 8  # lowest frequencies in each direction


def perceptual_hashes(images: npt.NDArray[np.uint8]) -> tuple[Hashes, Hashes]:
    """64-bit DCT hashes of images and of their left-right mirror images: the bits of `imagehash.phash`, first bit highest.

    A bit says whether one of the 8 x 8 lowest DCT coefficients of a 32 x 32 thumbnail lies above their median. Mirroring
    a picture changes the sign of its odd columns, so one transform serves both. Images are (N, 1, S, S) or (N, S, S)
    uint8, hashes (N,) uint64.
    """
    from scipy.fft import dct

    waves = dct(np.eye(_SIDE), axis=0)[:_KEPT]
    images = images.reshape(-1, *images.shape[-2:])

    def coefficients(rows: slice) -> npt.NDArray[np.float64]:
        thumbs = [Image.fromarray(image).resize((_SIDE, _SIDE), Image.Resampling.LANCZOS) for image in images[rows]]
        return waves @ np.stack([np.asarray(thumb) for thumb in thumbs]).astype(np.float64) @ waves.T

    low = np.concatenate([np.empty((0, _KEPT, _KEPT)), *over_chunks(coefficients, len(images))])
    return _bits(low), _bits(low * np.where(np.arange(_KEPT) % 2, -1, 1))


def _bits(coefficients: npt.NDArray[np.float64]) -> Hashes:
    flat = coefficients.reshape(len(coefficients), _KEPT**2)
    return np.packbits(flat > np.median(flat, axis=1, keepdims=True), axis=1).view(">u8").astype(np.uint64).ravel()
