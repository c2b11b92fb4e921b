"""Writing files whole or not at all, one process at a time, and with an error that says what the disk refused."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import filelock

from brainssl_utils.errors import CourseError

_ROOM = "Make room on that disk, then give the same command again."
_CLOSED = "Choose a folder you can write to."
_ADVICE = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "Choose a folder on a disk that takes files of this size.",
    errno.EROFS: _CLOSED,
    errno.EACCES: _CLOSED,
    errno.EPERM: _CLOSED,
    errno.EIO: "The disk itself reports a fault: choose a folder on another one.",
    errno.EISDIR: "A folder of that name lies there: move it away.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
}
JOURNAL = "BRAINSSL_JOURNAL"  # environment variable: a file that is told of all that `atomic_path` writes
_A_DAY = 24 * 3600  # seconds
_TEMPORARY = re.compile(r"\..+\.brainssl-(?P<place>[0-9a-f]{6})-(?P<process>\d+)-[0-9a-f]{8}\.tmp")


def shipped(name: str) -> Path:
    """Path of a file or folder that the course reads beside its package, such as `notebooks`.

    It lies in the root of a checkout; an installed wheel carries it inside the package.
    """
    inside = Path(__file__).parent / "shipped"
    return (inside if inside.is_dir() else inside.parents[1]) / name


def temporary_path(path: str | Path) -> Path:
    """A new name beside `path` to write under: hidden, and it tells which process writes (see `clear_leftovers`)."""
    path = Path(path)
    return path.with_name(f".{path.name}.brainssl-{_place()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")


@contextmanager
def atomic_path(path: str | Path, advice: str = "") -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it into place when the block ends well, delete it otherwise.

    Raises:
        CourseError: the folder cannot be made or written, as in `naming`.
    """
    path = Path(path)
    temporary = temporary_path(path)
    with naming(path, advice):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            _tell_journal(path)
            os.replace(temporary, path)
        finally:
            with suppress(OSError):  # what stopped the block is told, not that nothing can be deleted either
                temporary.unlink(missing_ok=True)


def _tell_journal(path: Path) -> None:
    if journal := os.environ.get(JOURNAL):
        with open(journal, "a", encoding="utf-8", errors="surrogateescape") as file:
            file.write(f"{os.path.abspath(path)}\n")


def read_journal(journal: Path) -> set[Path]:
    """Return the files, by absolute paths, that were written by processes whose JOURNAL is this file."""
    return set(map(Path, journal.read_text(encoding="utf-8", errors="surrogateescape").split("\n")))


@contextmanager
def naming(path: str | Path, advice: str = "") -> Iterator[None]:
    """Tell a write that the disk refuses in the block as an error that names `path` and what to do.

    Args:
        path: what is being written, by its final name.
        advice: what to do about it; by default what helps against this refusal.

    Raises:
        CourseError: the disk is full, read-only, closed to this user or faulty.
    """
    try:
        yield
    except CourseError:
        raise
    except Exception as error:
        if told := refusal(path, error, advice):
            raise told from error
        raise


def refusal(path: str | Path, error: BaseException, advice: str = "") -> CourseError | None:
    """Return what to tell of `error` if the disk's refusal to write `path` is behind it, else None.

    Libraries put errors of their own around the system's (PyTorch's says "unexpected pos"): those it came from count.
    """
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.errno in _ADVICE:
            reason = (inner.strerror or str(inner)).lower()
            return CourseError(f"cannot write {path}: {reason}. {advice or _ADVICE[inner.errno]}")
        inner = inner.__cause__ or inner.__context__
    return None


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
        probe = temporary_path(folder / "write")
        probe.touch()
        probe.unlink()
    except (FileExistsError, NotADirectoryError) as error:
        raise CourseError(f"{folder} is a file, not a folder. Choose another output folder.") from error
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, _CLOSED)
        raise CourseError(f"cannot write in {folder}: {error.strerror}. {advice}") from error
    return folder


@contextmanager
def hold(lock: Path, busy: Callable[[], object]) -> Iterator[None]:
    """Hold the lock file `lock` during the block; the system lets go of it when the process ends, however it ends.

    Args:
        lock: the file; it stays.
        busy: called if another holds it. It raises, or says that this one waits: then it does.

    Raises:
        CourseError: the file cannot be made.
    """
    held = filelock.FileLock(lock)
    with naming(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            held.acquire(timeout=0)
        except filelock.Timeout:
            busy()
            held.acquire()
    try:
        yield
    finally:
        held.release()


def clear_leftovers(*folders: str | Path) -> list[Path]:
    """Remove from `folders` the temporary files and folders that killed processes left behind; return them.

    Only names that `temporary_path` makes count. One of this machine goes as soon as the process that its name tells
    of is gone, and never before. Whether a process of another machine (or container, or of Windows, which has no
    harmless question) still runs cannot be asked: what such a one left goes after a day in which nothing changed it.
    """
    removed = []
    for path in (path for folder in folders for path in Path(folder).glob(".*.tmp")):
        if _is_left_over(path):
            with suppress(OSError):  # another process may be clearing too
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
                removed.append(path)
    return removed


def _is_left_over(path: Path) -> bool:
    found = _TEMPORARY.fullmatch(path.name)
    if found is None:
        return False
    if found["place"] == _place() and os.name == "posix":
        return not _runs(int(found["process"]))
    try:
        return time.time() - path.lstat().st_mtime > _A_DAY
    except OSError:
        return False


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)  # asks, and sends nothing
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's
        return True
    return True


@cache
def _place() -> str:
    """Where process numbers mean what they mean here: this machine, and on Linux this container."""
    try:
        space = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        space = 0
    return hashlib.sha256(f"{platform.node()} {space}".encode()).hexdigest()[:6]


@contextmanager
def only_one_run(out: Path, *folders: Path) -> Iterator[None]:
    """Hold a run's folder during the block: two runs in one would overwrite each other's files.

    What killed runs left in it and in `folders` is cleared first.

    Raises:
        CourseError: another run holds it.
    """

    def refuse() -> None:
        raise CourseError(f"another run is at work in {out}. Wait for it, or choose another --out.") from None

    with hold(out / ".lock", refuse):
        clear_leftovers(out, *folders)
        yield
