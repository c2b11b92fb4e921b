"""The cache of decoded corpora: a small folder each, in plain formats, checked on reading.

Arrays lie in it as `.npy`, tables as `.parquet`, plain values as `.json`. `checksums.json` is written last: a folder that
is damaged, cut short or half written does not fit it and counts as absent.
"""

from __future__ import annotations

import io
import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainssl_utils import files
from brainssl_utils.files import atomic_path, write_json

_CHECKSUMS = "checksums.json"
_READERS: dict[str, Callable[[io.BytesIO], Any]] = {".npy": np.load, ".parquet": pd.read_parquet, ".json": json.load}


def cache_folder(cache_dir: str | Path | None = None) -> Path:
    """The folder of caches: `cache_dir`, else $BRAINSSL_CACHE, else ~/.cache/brainssl."""
    chosen = cache_dir or os.environ.get("BRAINSSL_CACHE") or Path.home() / ".cache" / "brainssl"
    return Path(chosen).expanduser()


def clear_leftovers(cache: Path) -> None:
    """Remove what loads that were killed left behind in the folder of caches."""
    files.clear_leftovers(cache, *cache.glob("corpora/*"), *cache.glob("copies/*"))


def save(folder: Path, parts: dict[str, Any]) -> None:
    """Write arrays, tables and plain values into `folder`, a file each.

    Raises:
        CourseError: the folder cannot be written.
    """
    advice = "Make room there, or choose another folder for the cache by cache_dir or $BRAINSSL_CACHE."
    checksums = {}
    for name, part in parts.items():
        file, content = _encoded(name, part)
        with atomic_path(folder / file, advice) as temporary:
            temporary.write_bytes(content)
        checksums[file] = zlib.crc32(content)
    write_json(folder / _CHECKSUMS, checksums)


def load(folder: Path) -> dict[str, Any] | None:
    """Return the parts that `save` wrote, by name; None if they are not there or not whole."""
    parts = {}
    try:
        for file, checksum in json.loads((folder / _CHECKSUMS).read_bytes()).items():
            content = (folder / file).read_bytes()
            if zlib.crc32(content) != checksum:
                return None
            parts[Path(file).stem] = _READERS[Path(file).suffix](io.BytesIO(content))
    except (OSError, ValueError, AttributeError, KeyError):  # no such file; no JSON; JSON of another kind
        return None
    return parts


def _encoded(name: str, part: Any) -> tuple[str, bytes]:
    """The file's name and its content."""
    buffer = io.BytesIO()
    if isinstance(part, np.ndarray):
        np.save(buffer, part, allow_pickle=False)
        return f"{name}.npy", buffer.getvalue()
    if isinstance(part, pd.DataFrame):
        part.to_parquet(buffer, index=False)
        return f"{name}.parquet", buffer.getvalue()
    return f"{name}.json", json.dumps(part).encode()
