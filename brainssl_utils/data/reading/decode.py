"""Image files to small grey squares: common formats, by Pillow, each file decoded once."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from brainssl_utils.data.reading.archives import Unreadable

MIN_SIDE = 16  # px; a smaller picture shows nothing that can be classified
MAX_PIXELS = 36_000_000  # px; a file that declares more is refused before a byte of it is decoded
# Multi-picture JPEGs (MPO) open as JPEG.
FORMATS = ("PNG", "JPEG", "BMP", "DIB", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000")  # none of them runs a program
_LARGE = 4_000_000  # px; larger pictures are decoded one at a time, so that threads do not add up their memory
_ONE_AT_A_TIME = threading.Lock()
_BAND = 64  # rows of such a picture that are worked on at once
_DEPTHS = (8, 10, 12, 14)  # bits that scanners use; a little above one of them is that depth still
_OVERSHOOT = 1.25
_SAME_DEPTH = 3.0  # two pictures of one source whose brightest values differ by less are of one depth
_SIXTEEN_BIT = {"I", "I;16", "I;16B", "I;16L", "I;16N"}
# Pillow's names of colours of 16 bits, and of the same bytes read in the other order
_DEEP_COLOURS = {
    f"{colours};16{order}": f"{colours};16{other}"
    for colours in ("RGB", "RGBX", "RGBA")
    for order, other in (("B", "L"), ("L", "B"), ("N", "B" if sys.byteorder == "little" else "L"))
}
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


class Picture(NamedTuple):
    """One picture as a small grey square.

    Attributes:
        square: (size, size) uint8, whatever the picture's aspect ratio, as in the paper.
        width, height: of the original, in px, the right way up.
        note: what was done to it beyond decoding, for `Corpus.problems`.
        deep: of a picture of 16 bits the square before it is scaled to 8, uint16; None for others.
        top: its brightest value, 0 where `deep` is None.
    """

    square: np.ndarray
    width: int
    height: int
    note: str = ""
    deep: np.ndarray | None = None
    top: int = 0


def decode_image(data: bytes, size: int = 96) -> Picture:
    """Decode an image file to a grey square of `size` px.

    The pixels are those of `Image.open(f).convert("L").resize((size, size), BILINEAR)`, apart from JPEGs at least twice as
    large as the square: those are decoded at half, quarter or eighth scale (correlation of a square with that of the full
    decode above 0.998, its median above 0.9999 on the course's archives). Transparent pixels become black. Pictures
    of 16 bits, grey or colour, are scaled by the bits in use (see `depth_scales`; alone here, with all of its source on
    loading), other deep greys by their own range. EXIF orientation is applied; of an animation the first frame is taken.

    Raises:
        Unreadable: empty, not an image, cut short, smaller than 16 px a side, or larger than 36 million px.
    """
    if not data:
        raise Unreadable("empty file (0 bytes)")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height <= _LARGE:
                return _decoded(image, data, size)
            with _ONE_AT_A_TIME:
                return _decoded(image, data, size)
    except Unreadable:
        raise
    except Image.UnidentifiedImageError as error:
        raise Unreadable(_not_an_image(data)) from error
    except Image.DecompressionBombError as error:
        raise Unreadable(f"refused: declares far more pixels than the {MAX_PIXELS:,} allowed") from error
    except Exception as error:  # broken files make Pillow's readers raise nearly anything
        raise Unreadable(f"cannot be decoded: {error}") from error


def depth_scales(tops: Sequence[int]) -> list[tuple[float, int]]:
    """For pictures of 16 bits from one source the value that becomes white, and the bits in use, by their brightest values.

    Pictures share one scale unless a gap of a factor of three parts their brightest values (10-bit pictures beside
    16-bit ones): slices of one scanner keep their brightness to each other, whether the brightest is just below or just
    above 4095. White is the largest value of the bits in use, or the brightest value itself a little above 8, 10, 12 or
    14 bits.
    """
    order = np.argsort(tops, kind="stable")[::-1]
    scales: list[tuple[float, int]] = [(255.0, 8)] * len(tops)
    before = 0
    for row in order.tolist():
        if not before or tops[row] * _SAME_DEPTH <= before:
            scale = _white(tops[row])
        scales[row], before = scale, max(tops[row], 1)
    return scales


def _white(top: int) -> tuple[float, int]:
    for bits in _DEPTHS:
        if top < 2**bits:
            return 2.0**bits - 1, bits
        if bits > 8 and top <= _OVERSHOOT * (2**bits - 1):
            return float(top), bits
    return 65535.0, 16


def scaled_square(deep: np.ndarray, white: float) -> np.ndarray:
    """A uint16 square as uint8, 0..white becoming 0..255."""
    return np.minimum(np.rint(deep * (255.0 / white)), 255).astype(np.uint8)


def depth_note(bits: int) -> str:
    """What is said of a picture of 16 bits."""
    return f"16-bit picture, {bits} bits in use in its source, scaled to 8"


def scale_to_uint8(values: np.ndarray) -> np.ndarray:
    """Map a grey array of any depth linearly from its own minimum..maximum to 0..255; non-finite values become 0."""
    values = np.nan_to_num(values.astype(np.float64), copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = values.min(), values.max()
    if high <= low:
        return np.zeros(values.shape, dtype=np.uint8)
    values -= low
    values *= 255.0 / (high - low)
    return np.rint(values, out=values).astype(np.uint8)


def to_square(grey: Image.Image, size: int, box: tuple[float, float, float, float] | None = None) -> Image.Image:
    """Shrink (or enlarge) a picture, or the part of it in `box`, to size x size px."""
    # Pillow widens the filter to the reduction factor, so it averages areas (no aliasing).
    return grey.resize((size, size), Image.Resampling.BILINEAR, box)


def _decoded(image: Image.Image, data: bytes, size: int) -> Picture:
    width, height = image.size
    if min(width, height) < MIN_SIDE:
        raise Unreadable(f"too small: {width} x {height} px, at least {MIN_SIDE} px a side expected")
    if width * height > MAX_PIXELS:
        raise Unreadable(f"refused: {width} x {height} px, more than the {MAX_PIXELS:,} allowed")
    frames = getattr(image, "n_frames", 1)
    deep = _sixteen_bits(image, data)  # before EXIF is asked for: that decodes a PNG
    turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    if deep is not None:
        top, square, note = int(deep.max(initial=0)), _shrunk(deep, size), ""
    else:
        drafted = image.draft("L", (2 * size, 2 * size)) if image.format == "JPEG" else None
        grey, note = _grey(image)
        # The part that the picture covers, once scaled
        top, square = 0, np.asarray(to_square(grey, size, drafted[1] if drafted else None))
    notes = [f"first of {frames} frames taken" if frames > 1 else "", note]
    if turn is not None:
        square = _turned(square, turn)  # equals turning the picture first, and costs less
        notes.append("turned as its EXIF orientation says")
        if turn not in (_TURNS[2], _TURNS[3], _TURNS[4]):
            width, height = height, width
    said = "; ".join(filter(None, notes))
    if deep is None:
        return Picture(square, width, height, said)
    ((white, bits),) = depth_scales([top])
    said = "; ".join(filter(None, [said, depth_note(bits)]))
    return Picture(scaled_square(square, white), width, height, said, square, top)


def _turned(square: np.ndarray, turn: Image.Transpose) -> np.ndarray:
    """A square turned as Pillow turns pictures, of any type."""
    T = Image.Transpose
    turns = {
        T.FLIP_LEFT_RIGHT: lambda a: a[:, ::-1],
        T.FLIP_TOP_BOTTOM: lambda a: a[::-1],
        T.ROTATE_90: lambda a: np.rot90(a),
        T.ROTATE_180: lambda a: a[::-1, ::-1],
        T.ROTATE_270: lambda a: np.rot90(a, 3),
        T.TRANSPOSE: lambda a: a.T,
        T.TRANSVERSE: lambda a: a[::-1, ::-1].T,
    }
    return turns[turn](square)


def _shrunk(values: np.ndarray, size: int) -> np.ndarray:
    """(H, W) uint16 as (size, size) uint16, by the filter of `to_square`."""
    factor = min(values.shape) // (4 * size)
    if values.size > _LARGE and factor > 1:  # means of small blocks first: floats of all pixels would fill the memory
        rows, columns = (side // factor for side in values.shape)
        blocks = values[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
        values = blocks.mean(axis=(1, 3), dtype=np.float32)
    small = to_square(Image.fromarray(values.astype(np.float32, copy=False)), size)
    return np.clip(np.rint(np.asarray(small)), 0, 65535).astype(np.uint16)


def _sixteen_bits(image: Image.Image, data: bytes) -> np.ndarray | None:
    """(H, W) uint16 of a picture of 16 bits, grey or colour; None for all others."""
    if image.mode in _SIXTEEN_BIT:
        values = np.asarray(image)
        if values.dtype.kind == "u" or (values.min(initial=0) >= 0 and values.max(initial=0) <= 65535):
            return values.astype(np.uint16, copy=False)
        return None
    tiles = getattr(image, "tile", [])
    modes = [tile.args[0] if isinstance(tile.args, tuple) else tile.args for tile in tiles]
    colour = [mode for mode in modes if isinstance(mode, str) and mode in _DEEP_COLOURS]
    if not colour or len(colour) != len(tiles):
        return None
    # Pillow keeps eight of the sixteen bits of a colour. Read in the other byte order, it keeps the other eight.
    with Image.open(io.BytesIO(data), formats=FORMATS) as again:
        other = _DEEP_COLOURS[colour[0]]
        again.tile = [
            tile._replace(args=(other, *tile.args[1:]) if isinstance(tile.args, tuple) else other)
            for tile in again.tile
        ]
        low = np.asarray(again)[..., :3]
    high = np.asarray(image)
    weights = np.array([19595, 38470, 7471], dtype=np.float32) / 65536  # those of Pillow's convert("L")
    grey = np.zeros(high.shape[:2], dtype=np.uint16)
    for row in range(0, len(grey), _BAND):
        band = slice(row, row + _BAND)
        grey[band] = np.rint((high[band, :, :3].astype(np.float32) * 256 + low[band]) @ weights)
    if high.shape[-1] == 4:
        grey[high[..., 3] == 0] = 0
    return grey


def _grey(image: Image.Image) -> tuple[Image.Image, str]:
    if image.mode == "L" and "transparency" not in image.info:
        image.load()
        return image, ""
    if image.mode in _SIXTEEN_BIT:
        return Image.fromarray(scale_to_uint8(np.asarray(image))), "deep grey scaled from its own range to 8 bits"
    if image.mode == "F":
        return Image.fromarray(scale_to_uint8(np.asarray(image))), "floating-point grey scaled to 8 bits"
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        solid = Image.new("RGBA", image.size, (0, 0, 0, 255))
        solid.alpha_composite(image.convert("RGBA"))
        return solid.convert("RGB").convert("L"), ""
    return image.convert("RGB").convert("L"), ""


def _not_an_image(data: bytes) -> str:
    if data[128:132] == b"DICM":
        return "not read: a DICOM file; install pydicom (the extra `medical`), or convert it to PNG first"
    if data[:4] in (b"\x5c\x01\x00\x00", b"\x00\x00\x01\x5c") or data[344:347] in (b"n+1", b"ni1"):
        return "not read: a NIfTI volume whose name does not end in .nii or .nii.gz"
    if data[:4] == b"%!PS" or data[:4] == b"\xc5\xd0\xd3\xc6":
        return "refused: PostScript (EPS), which only a program can draw; save it as PNG"
    if b"\0" not in data[:1024]:
        return "not an image: a text file"
    return "not an image that can be read"
