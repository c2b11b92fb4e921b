"""The cache of decoded corpora: one file each, written whole, checked on reading."""

from __future__ import annotations

import io
import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from brainssl_utils import files
from brainssl_utils.files import atomic_path

Content = tuple[dict[str, np.ndarray], dict[str, pd.DataFrame], dict[str, Any]]  # arrays, tables, facts

_PIECE = 1 << 20  # bytes; what a processor's cache holds between checksum and writing

_TEXT = {"id", "source", "class_name", "path", "sha256", "phash", "patient", "plane", "reason", "action", "test"}
_TYPES = {"label": "int8", "fold": "Int64", "flipped": "bool", "value": "float64"}


def cache_folder(cache_dir: str | Path | None = None) -> Path:
    """The folder of caches: `cache_dir`, else $BRAINSSL_CACHE, else ~/.cache/brainssl."""
    chosen = cache_dir or os.environ.get("BRAINSSL_CACHE") or Path.home() / ".cache" / "brainssl"
    return Path(chosen).expanduser()


def clear_leftovers(cache: Path) -> None:
    """Remove what loads that were killed left behind in the folder of caches."""
    files.clear_leftovers(cache, cache / "corpora", cache / "copies")


def save(path: Path, arrays: dict[str, np.ndarray], tables: dict[str, pd.DataFrame], facts: dict[str, Any]) -> None:
    """Write arrays, tables and facts into one uncompressed `.npz` file, whole or not at all.

    Raises:
        CourseError: the folder cannot be written.
    """
    texts = {name: frame.to_csv(index=False, lineterminator="\n") for name, frame in tables.items()}
    texts["facts"] = json.dumps(facts)
    coded = {name: np.frombuffer(text.encode(errors="surrogateescape"), np.uint8) for name, text in texts.items()}
    advice = "Make room there, or choose another folder for the cache by cache_dir or $BRAINSSL_CACHE."
    with atomic_path(path, advice) as temporary, zipfile.ZipFile(temporary, "w") as file:
        for name, array in (arrays | coded).items():
            with file.open(f"{name}.npy", "w", force_zip64=True) as member:
                _write(member, array)


def _write(member: IO[bytes], array: np.ndarray) -> None:
    """What `np.savez` writes, in a fifth of its time: it copies an array twice on the way into a zip."""
    array = np.ascontiguousarray(array)
    np.lib.format.write_array_header_1_0(member, np.lib.format.header_data_from_array_1_0(array))
    content = array.data.cast("B") if array.size else b""
    for start in range(0, len(content), _PIECE):
        member.write(content[start : start + _PIECE])


def load(path: Path, tables: tuple[str, ...]) -> Content | None:
    """Read what `save` wrote: arrays, tables, facts. None if there is no such file or it is damaged (it has checksums)."""
    try:
        with np.load(path, allow_pickle=False) as file:
            content = {name: file[name] for name in file.files}
        facts = json.loads(content.pop("facts").tobytes().decode(errors="surrogateescape"))
        frames = {name: _frame(content.pop(name).tobytes()) for name in tables}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError):
        return None
    return content, frames, facts


def typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Give each column the type it has after a round through the cache, so that both loads return the same."""
    return frame.astype({name: _type(name) for name in frame.columns})


def _type(column: str) -> str:
    return "str" if column in _TEXT else _TYPES.get(column, "int64")


def _frame(text: bytes) -> pd.DataFrame:
    header = text.partition(b"\n")[0].decode().split(",")
    return pd.read_csv(
        io.BytesIO(text),
        dtype={name: _type(name) for name in header},
        keep_default_na=False,
        na_values={name: [""] for name in header if name not in _TEXT},
        encoding_errors="surrogateescape",
        lineterminator="\n",
        float_precision="round_trip",
    )
