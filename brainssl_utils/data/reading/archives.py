"""Listing and reading files in folders, zips and zips inside zips, without ever unpacking anything to disk."""

from __future__ import annotations

import hashlib
import io
import os
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from brainssl_utils.errors import CourseError

MAX_FILE_BYTES = 256 * 2**20  # a single image file beyond this is refused rather than read into memory
MAX_ZIP_BYTES = 4 * 2**30  # a zip inside a zip is read into memory whole; figshare's hold 0.2 GB each
_SYSTEM_NAMES = {"thumbs.db", "desktop.ini", "__macosx", "ehthumbs.db"}
_OTHER_ARCHIVES = (".rar", ".7z", ".tar", ".tgz", ".gz", ".bz2", ".xz")


class Problem(NamedTuple):
    """One row of `Corpus.problems`: where, why, and what was done ("skipped", "kept" or "note")."""

    source: str
    path: str
    reason: str
    action: str


class Unreadable(Exception):
    """A file that cannot be used; the message is the reason given to the user."""


@dataclass(frozen=True)
class Entry:
    """One file: `place` is "" for loose files, "a.zip" for members, "a.zip/b.zip" for members of an inner zip."""

    place: str
    path: str
    size: int
    stamp: str
    info: zipfile.ZipInfo | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        """The file's own name, without folders."""
        return self.path.rpartition("/")[2]

    @cached_property
    def folders(self) -> tuple[str, ...]:
        """The names of the folders above the file inside its place."""
        return tuple(self.path.split("/")[:-1])

    @property
    def shown(self) -> str:
        """The whole path as shown to the user."""
        return f"{self.place}/{self.path}" if self.place else self.path


@dataclass
class Listing:
    """Every file below one folder or in one zip, and what was left out of the listing with the reason."""

    root: Path
    entries: list[Entry] = field(default_factory=list)
    folders: list[tuple[str, str]] = field(default_factory=list)  # (place, path) of every folder seen
    problems: list[Problem] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Folder name, or the zip's name without its ending."""
        return self.root.stem if self.root.is_file() else self.root.resolve().name

    def key(self) -> str:
        """Hash of names, sizes and checksums (zips) or times of change (loose files): changes whenever a file does."""
        digest = hashlib.sha256(str(self.root.resolve()).encode(errors="surrogateescape"))
        lines = sorted(f"{e.place}|{e.path}|{e.size}|{e.stamp}" for e in self.entries)
        lines += sorted(f"{place}|{path}" for place, path in self.folders)
        lines += sorted("|".join(problem) for problem in self.problems)
        digest.update("\n".join(lines).encode(errors="surrogateescape"))
        return digest.hexdigest()


def scan(root: str | Path) -> Listing:
    """List a folder (at any depth) or one zip; zips are listed too, zips inside zips are left for `expand`.

    Raises:
        CourseError: `root` does not exist or is a single file that is not a zip.
    """
    root = Path(root).expanduser()
    listing = Listing(root)
    if root.is_dir():
        _list_folder(listing)
    elif root.is_file() and root.suffix.lower() == ".zip":
        _list_zip_file(listing, root, root.name)
    elif root.is_file():
        raise CourseError(f"data: {root} is a single file. Give a folder with archives or class folders, or a .zip.")
    else:
        raise CourseError(
            f'data: {root} does not exist. Give a folder with archives or class folders, a .zip, or "phantoms".'
        )
    return listing


def expand(listing: Listing) -> None:
    """Replace every zip inside a zip by its members, in place; a broken one becomes a row in `problems`."""
    inner = [entry for entry in listing.entries if entry.place and entry.path.lower().endswith(".zip")]
    for entry in inner:
        listing.entries.remove(entry)
        try:
            with _open_place(listing.root, entry.place) as outer:
                blob = read_entry(outer, entry, limit=MAX_ZIP_BYTES)
            with zipfile.ZipFile(io.BytesIO(blob)) as archive:
                _list_members(listing, archive, entry.shown)
        except (zipfile.BadZipFile, Unreadable, OSError) as error:
            listing.problems.append(_bad_zip(entry.shown, error))


def is_nested(place: str) -> bool:
    """Whether a place is a zip inside a zip."""
    return bool(_split_place(place)[1])


@contextmanager
def open_place(root: Path, place: str) -> Iterator[zipfile.ZipFile | Path]:
    """Yield what `read_entry` needs for the files of one place: an open zip, or the folder of loose files.

    Raises:
        Unreadable: the zip cannot be opened any more.
    """
    try:
        with _open_place(root, place) as opened:
            yield opened
    except zipfile.BadZipFile as error:
        raise Unreadable(str(error)) from error


def read_entry(opened: zipfile.ZipFile | Path, entry: Entry, limit: int = MAX_FILE_BYTES) -> bytes:
    """Return a file's bytes.

    Raises:
        Unreadable: larger than `limit`, damaged inside its zip, encrypted, or not permitted.
    """
    if entry.size > limit:
        raise Unreadable(f"{entry.size / 2**20:.0f} MB, more than the {limit / 2**20:.0f} MB that are read")
    try:
        if isinstance(opened, Path):
            return (opened / entry.path).read_bytes()
        with opened.open(entry.info or entry.path) as member:
            return member.read()
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror or error}") from error
    except Exception as error:  # zipfile raises BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError
        raise Unreadable(f"cannot be read from its zip: {error}") from error


@contextmanager
def _open_place(root: Path, place: str) -> Iterator[zipfile.ZipFile | Path]:
    if not place:
        yield root
        return
    outer, inner = _split_place(place)
    # A single zip given as data is its own place.
    with zipfile.ZipFile(root if root.is_file() else root / outer) as archive:
        if not inner:
            yield archive
        else:
            with zipfile.ZipFile(io.BytesIO(archive.read(inner))) as nested:
                yield nested


def _split_place(place: str) -> tuple[str, str]:
    match = re.match(r"(.*?\.zip)/(.+)$", place, flags=re.IGNORECASE)
    return (match.group(1), match.group(2)) if match else (place, "")


def _list_folder(listing: Listing) -> None:
    seen: set[tuple[int, int]] = set()
    system: list[str] = []
    for current, folders, files in os.walk(listing.root, followlinks=True, onerror=lambda e: _denied(listing, e)):
        status = os.stat(current)
        if (status.st_dev, status.st_ino) in seen:  # a link back up the tree
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        base = Path(current).relative_to(listing.root).as_posix()
        prefix = "" if base == "." else f"{base}/"
        system += [prefix + name for name in (*folders, *files) if _is_system(name)]
        folders[:] = sorted(name for name in folders if not _is_system(name))
        listing.folders += [("", prefix + name) for name in folders]
        for name in sorted(files):
            if not _is_system(name):
                _list_file(listing, Path(current) / name, prefix + name)
    _note_system(listing, "", system)


def _list_file(listing: Listing, file: Path, path: str) -> None:
    lower = path.lower()
    if lower.endswith(".zip"):
        _list_zip_file(listing, file, path)
        return
    if lower.endswith(_OTHER_ARCHIVES):
        listing.problems.append(Problem(path, "", "an archive of a kind that is not read: unpack it", "skipped"))
        return
    try:
        status = file.stat()
    except OSError as error:
        listing.problems.append(Problem("", path, f"cannot be read: {error.strerror}", "skipped"))
        return
    listing.entries.append(Entry("", path, status.st_size, str(status.st_mtime_ns)))


def _list_zip_file(listing: Listing, file: Path, place: str) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            _list_members(listing, archive, place)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        listing.problems.append(_bad_zip(place, error))


def _list_members(listing: Listing, archive: zipfile.ZipFile, place: str) -> None:
    times: Counter[str] = Counter()
    system: list[str] = []
    for info in archive.infolist():
        # Written by all sorts of tools: "a\\b", "./a/b" and "a//b" are all a/b.
        path = info.filename.replace("\\", "/").removeprefix("./")
        if "//" in path or "/./" in path:
            path = re.sub(r"(?<=/)(\./|/)+", "", path)
        parts = path.rstrip("/").split("/")
        if path.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:", path):
            reason = "unsafe name that points outside its archive"
            listing.problems.append(Problem(place, path, reason, "skipped"))
        elif any(map(_is_system, parts)):
            system.append(path)
        elif path.endswith("/"):
            listing.folders.append((place, path.rstrip("/")))
        else:
            times[path] += 1
            entry = Entry(place, path, info.file_size, f"{info.CRC:08x}", info)
            if times[path] > 1:
                again = f"{path}#{times[path]}"
                reason = f"the name occurs more than once in its zip; occurrence {times[path]} is kept as {again}"
                listing.problems.append(Problem(place, path, reason, "kept"))
                entry = replace(entry, path=again)
            listing.entries.append(entry)
    _note_system(listing, place, system)


def _bad_zip(place: str, error: Exception) -> Problem:
    reason = f"cannot be opened as a zip ({error}): cut short or damaged, download it again"
    return Problem(place, "", reason, "skipped")


def _denied(listing: Listing, error: OSError) -> None:
    reason = f"folder cannot be read: {error.strerror}"
    listing.problems.append(Problem("", str(error.filename), reason, "skipped"))


def _is_system(name: str) -> bool:
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def _note_system(listing: Listing, place: str, names: Iterable[str]) -> None:
    names = sorted(names)
    if names:
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        reason = f"hidden or system files ({len(names)}): {shown}"
        listing.problems.append(Problem(place or listing.name, "", reason, "skipped"))
