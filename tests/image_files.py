"""Small image files, archives and broken files for tests."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def picture(seed: int, height: int = 64, width: int = 64) -> np.ndarray:
    """(height, width) uint8: a smooth random pattern, unlike that of any other seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encoded(pixels: np.ndarray | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of an image file."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def put(folder: Path, path: str, data: bytes) -> Path:
    """Write a file and the folders above it."""
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    return target


def class_folders(folder: Path, names: tuple[str, ...], each: int = 3, first: int = 0, prefix: str = "img") -> Path:
    """Folders of PNG files, every picture different."""
    for i, name in enumerate(names):
        for k in range(each):
            put(folder, f"{name}/{prefix}_{k}.png", encoded(picture(first + 100 * i + k)))
    return folder


def zipped(folder: Path, target: Path) -> Path:
    """A zip of a folder's content."""
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            archive.write(path, path.relative_to(folder).as_posix())
    return target
