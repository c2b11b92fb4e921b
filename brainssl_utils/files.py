"""Writing files whole or not at all."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from brainssl_utils.errors import CourseError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it into place when the block ends well, delete it otherwise.

    Raises:
        CourseError: the folder cannot be made or written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except PermissionError as error:
        raise CourseError(f"cannot write {path}: permission denied. Choose a folder you can write to.") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | Path, content: Any) -> Path:
    """Write `content` as indented JSON, whole or not at all; return the path."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return Path(path)


def check_writable(folder: str | Path) -> Path:
    """Make `folder` and try a write in it, before any long work starts.

    Raises:
        CourseError: `folder` is a file, or cannot be made or written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".write-{uuid.uuid4().hex[:8]}.tmp"
        probe.touch()
        probe.unlink()
    except (FileExistsError, NotADirectoryError) as error:
        raise CourseError(f"{folder} is a file, not a folder. Choose another output folder.") from error
    except OSError as error:
        raise CourseError(f"cannot write in {folder}: {error.strerror}. Choose a folder you can write to.") from error
    return folder


@contextmanager
def only_one_run(out: Path) -> Iterator[None]:
    """Hold a run's folder during the block: two runs in one would overwrite each other's files.

    Raises:
        CourseError: another run holds it.
    """
    import filelock

    try:
        held = filelock.FileLock(out / ".lock").acquire(timeout=0)
    except filelock.Timeout:
        raise CourseError(f"another run is at work in {out}. Wait for it, or choose another --out.") from None
    with held:
        yield
