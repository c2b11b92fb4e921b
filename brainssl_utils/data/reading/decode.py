"""Image files to small grey squares: every format Pillow reads, each file decoded once."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from brainssl_utils.data.reading.archives import Unreadable

MIN_SIDE = 16  # px; a smaller picture shows nothing that can be classified
MAX_PIXELS = 60_000_000  # px; a file that declares more is refused before a byte of it is decoded
_FILTER = Image.Resampling.BILINEAR  # Pillow widens it to the reduction factor, so it averages areas (no aliasing)
_SIXTEEN_BIT = {"I", "I;16", "I;16B", "I;16L", "I;16N"}
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = {_TURNS[k] for k in (5, 6, 7, 8)}


@dataclass(frozen=True)
class Decoded:
    """One picture, decoded once.

    Attributes:
        grey: mode "L"; of a large JPEG at half, quarter or eighth scale.
        width, height: of the original, in px, the right way up.
        note: what was done to it beyond decoding, for `Corpus.problems`.
        box: the part of `grey` that the picture covers, where it was scaled (left, upper, right, lower).
        turn: what brings a square the right way up.
    """

    grey: Image.Image
    width: int
    height: int
    note: str = ""
    box: tuple[float, float, float, float] | None = None
    turn: Image.Transpose | None = None

    def square(self, size: int) -> np.ndarray:
        """(size, size) uint8, whatever the aspect ratio, as in the paper: `grey.resize((size, size), BILINEAR)`."""
        made = self.grey.resize((size, size), _FILTER, self.box)
        # Turning the small square equals turning the picture first, and costs less.
        return np.asarray(made if self.turn is None else made.transpose(self.turn))


def decode_image(data: bytes, largest: int = 96) -> Decoded:
    """Decode an image file to grey, for squares of up to `largest` px.

    The pixels are those of `Image.open(f).convert("L")`, apart from JPEGs at least twice as large as the largest square:
    those are decoded at half, quarter or eighth scale (correlation of a square with that of the full decode above 0.998,
    its median above 0.9999 on the course's archives). Transparent pixels become black. 16-bit greys are scaled by the
    bits in use (12 or 16), other deep greys by their own range. EXIF orientation is applied; of an animation the first
    frame is taken.

    Raises:
        Unreadable: empty, not an image, cut short, smaller than 16 px a side, or larger than 60 million px.
    """
    if not data:
        raise Unreadable("empty file (0 bytes)")
    try:
        with Image.open(io.BytesIO(data)) as image:
            return _decoded(image, largest)
    except Unreadable:
        raise
    except Image.UnidentifiedImageError as error:
        raise Unreadable(_not_an_image(data)) from error
    except Image.DecompressionBombError as error:
        raise Unreadable(f"refused: declares far more pixels than the {MAX_PIXELS:,} allowed") from error
    except Exception as error:  # broken files make Pillow's readers raise nearly anything
        raise Unreadable(f"cannot be decoded: {error}") from error


def scale_to_uint8(values: np.ndarray) -> np.ndarray:
    """Map a grey array of any depth linearly from its own minimum..maximum to 0..255; non-finite values become 0."""
    values = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = values.min(), values.max()
    if high <= low:
        return np.zeros(values.shape, dtype=np.uint8)
    return np.rint((values - low) * (255.0 / (high - low))).astype(np.uint8)


def _decoded(image: Image.Image, largest: int) -> Decoded:
    width, height = image.size
    if min(width, height) < MIN_SIDE:
        raise Unreadable(f"too small: {width} x {height} px, at least {MIN_SIDE} px a side expected")
    if width * height > MAX_PIXELS:
        raise Unreadable(f"refused: {width} x {height} px, more than the {MAX_PIXELS:,} allowed")
    frames = getattr(image, "n_frames", 1)
    turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    drafted = image.draft("L", (2 * largest, 2 * largest)) if image.format == "JPEG" else None
    grey, note = _grey(image)
    notes = [f"first of {frames} frames taken" if frames > 1 else "", note]
    if turn is not None:
        notes.append("turned as its EXIF orientation says")
        if turn in _SIDEWAYS:
            width, height = height, width
    return Decoded(grey, width, height, "; ".join(filter(None, notes)), drafted[1] if drafted else None, turn)


def _grey(image: Image.Image) -> tuple[Image.Image, str]:
    if image.mode == "L" and "transparency" not in image.info:
        image.load()
        return image, ""
    if image.mode in _SIXTEEN_BIT:
        values = np.asarray(image)
        top = int(values.max(initial=0))
        if values.min(initial=0) < 0 or top > 65535:
            return Image.fromarray(scale_to_uint8(values)), "deep grey scaled from its own range to 8 bits"
        bits = 8 if top <= 255 else 12 if top <= 4095 else 16
        scaled = np.rint(values * (255.0 / (2**bits - 1))).astype(np.uint8)
        return Image.fromarray(scaled), f"16-bit grey with {bits} bits in use scaled to 8"
    if image.mode == "F":
        return Image.fromarray(scale_to_uint8(np.asarray(image))), "floating-point grey scaled to 8 bits"
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        solid = Image.new("RGBA", image.size, (0, 0, 0, 255))
        solid.alpha_composite(image.convert("RGBA"))
        return solid.convert("RGB").convert("L"), ""
    return image.convert("RGB").convert("L"), ""


def _not_an_image(data: bytes) -> str:
    if data[128:132] == b"DICM":
        return "not read: a DICOM file; convert it to PNG first"
    if data[:4] in (b"\x5c\x01\x00\x00", b"\x00\x00\x01\x5c") or data[344:347] in (b"n+1", b"ni1"):
        return "not read: a NIfTI volume; export slices as PNG first"
    if b"\0" not in data[:1024]:
        return "not an image: a text file"
    return "not an image that can be read"
