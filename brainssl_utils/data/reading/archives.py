"""Listing and reading files in folders, zips and zips inside zips, without ever unpacking anything to disk."""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from brainssl_utils.errors import CourseError
from brainssl_utils.validity import digest

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

    @property
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
        files = sorted((e.place, e.path, e.size, e.stamp) for e in self.entries)
        return digest(str(self.root.resolve()), files, sorted(self.folders), sorted(self.problems))

    def leave_out(self, source: str, path: str, reason: str) -> None:
        """Note that a file is skipped, and why; `source` is the archive's name, "" for a loose file."""
        self.problems.append(Problem(source, path, reason, "skipped"))


def as_text(name: str) -> str:
    r"""A file name as valid text: bytes that are none (Python keeps them as `surrogateescape`) read as "\xe9"."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


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
        _list_zip(listing, root, root.name)
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
            with open_place(listing.root, entry.place) as outer:
                content = io.BytesIO(read_entry(outer, entry, MAX_ZIP_BYTES))
            _list_zip(listing, content, entry.shown)
        except Unreadable as error:
            listing.leave_out(entry.shown, "", _bad_zip(error))


@contextmanager
def open_place(root: Path, place: str) -> Iterator[zipfile.ZipFile | Path]:
    """Yield what `read_entry` needs for the files of one place: an open zip, or the folder of loose files.

    Raises:
        Unreadable: the zip cannot be opened any more.
    """
    if not place:
        yield root
        return
    inner = re.match(r"(.*?\.zip)/(.+)$", place, flags=re.IGNORECASE)
    with ExitStack() as stack:
        try:
            # A single zip given as data is its own place.
            path = root if root.is_file() else root / (inner[1] if inner else place)
            opened = stack.enter_context(zipfile.ZipFile(path))
            if inner:
                opened = stack.enter_context(zipfile.ZipFile(io.BytesIO(opened.read(inner[2]))))
        except (zipfile.BadZipFile, OSError) as error:
            raise Unreadable(f"cannot be opened as a zip: {error}") from error
        yield opened


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
        return opened.read(entry.info or entry.path)
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror or error}") from error
    except Exception as error:  # zipfile raises BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError
        raise Unreadable(f"cannot be read from its zip: {error}") from error


def _list_folder(listing: Listing) -> None:
    seen: set[tuple[int, int]] = set()
    system: list[str] = []

    def denied(error: OSError) -> None:
        listing.leave_out("", str(error.filename), f"folder cannot be read: {error.strerror}")

    for current, folders, files in os.walk(listing.root, followlinks=True, onerror=denied):
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
    if path.lower().endswith(".zip"):
        _list_zip(listing, file, path)
    elif path.lower().endswith(_OTHER_ARCHIVES):
        listing.leave_out(path, "", "an archive of a kind that is not read: unpack it")
    else:
        try:
            status = file.stat()
            listing.entries.append(Entry("", path, status.st_size, str(status.st_mtime_ns)))
        except OSError as error:
            listing.leave_out("", path, f"cannot be read: {error.strerror}")


def _list_zip(listing: Listing, file: Path | io.BytesIO, place: str) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        listing.leave_out(place, "", _bad_zip(error))
        return
    times: Counter[str] = Counter()
    system: list[str] = []
    for info in members:
        # Written by all sorts of tools: "a\\b", "./a/b" and "a//b" are all a/b.
        path = re.sub(r"(?<=/)(\./|/)+", "", info.filename.replace("\\", "/").removeprefix("./"))
        parts = path.rstrip("/").split("/")
        if path.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:", path):
            listing.leave_out(place, path, "unsafe name that points outside its archive")
        elif any(map(_is_system, parts)):
            system.append(path)
        elif path.endswith("/"):
            listing.folders.append((place, path.rstrip("/")))
        else:
            times[path] += 1
            kept = f"{path}#{times[path]}" if times[path] > 1 else path
            if kept != path:
                reason = f"the name occurs more than once in its zip; occurrence {times[path]} is kept as {kept}"
                listing.problems.append(Problem(place, path, reason, "kept"))
            listing.entries.append(Entry(place, kept, info.file_size, f"{info.CRC:08x}", info))
    _note_system(listing, place, system)


def _bad_zip(error: Exception) -> str:
    return f"cannot be opened as a zip ({error}): cut short or damaged, download it again"


def _is_system(name: str) -> bool:
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def _note_system(listing: Listing, place: str, names: Iterable[str]) -> None:
    names = sorted(names)
    if names:
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        listing.leave_out(place or listing.name, "", f"hidden or system files ({len(names)}): {shown}")
