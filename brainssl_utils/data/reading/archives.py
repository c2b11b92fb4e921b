"""Listing and reading files in folders, zips and zips inside zips, without ever unpacking anything to disk."""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import struct
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from brainssl_utils.errors import CourseError
from brainssl_utils.validity import digest

MAX_FILE_BYTES = 128 * 2**20  # a single image file beyond this is refused rather than read into memory
MAX_ZIP_BYTES = 512 * 2**20  # a zip inside a zip is read into memory whole; figshare's hold 0.2 GB each
MAX_MEMBERS = 100_000  # of one zip
_MAX_DIRECTORY = 2**24  # bytes of a zip's list of members, looked at before it is read
_BOMB = 8 * 2**20, 100  # a member larger than this that shrank by more than this factor is no picture
_CHUNK = 2**20
_LEAVES = "a link that leaves the folder is not followed: copy what it points to, or give that folder as data"
_SYSTEM_NAMES = {"thumbs.db", "desktop.ini", "__macosx", "ehthumbs.db"}
_OTHER_ARCHIVES = (".rar", ".7z", ".tar", ".tgz", ".gz", ".bz2", ".xz")
_VOLUMES = (".nii.gz", ".mgh.gz")  # a packed volume is a file, not an archive


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

    @property
    def unzipped(self) -> str:
        """The path the file has, or would have if its zips were folders."""
        return re.sub(r"\.zip/", "/", self.shown, flags=re.IGNORECASE)


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

    def leave_out_zip(self, place: str, error: Exception) -> None:
        """Note that a zip cannot be opened."""
        self.leave_out(place, "", f"cannot be opened as a zip ({error}): cut short or damaged, download it again")

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
    elif root.exists():
        raise CourseError(f"data: {root} is neither a folder nor a file. Give a folder or a .zip.")
    else:
        raise CourseError(
            f'data: {root} does not exist. Give a folder with archives or class folders, a .zip, or "phantoms".'
        )
    return listing


def expand(listing: Listing) -> None:
    """Replace every zip inside a zip by its members, in place; a broken one becomes a row in `problems`."""
    inner = [entry for entry in listing.entries if _is_inner_zip(entry)]
    listing.entries = [entry for entry in listing.entries if not _is_inner_zip(entry)]
    for entry in inner:
        try:
            with open_place(listing.root, entry.place) as outer:
                content = io.BytesIO(read_entry(outer, entry, MAX_ZIP_BYTES))
            _list_zip(listing, content, entry.shown)
        except Unreadable as error:
            listing.leave_out(entry.shown, "", f"not opened: {error}")
    for entry in filter(_is_inner_zip, listing.entries):
        listing.leave_out(
            entry.place, entry.path, "a zip inside a zip inside a zip is not opened: unpack the outer ones"
        )
    listing.entries = [entry for entry in listing.entries if not _is_inner_zip(entry)]


def _is_inner_zip(entry: Entry) -> bool:
    return bool(entry.place) and entry.path.lower().endswith(".zip")


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
                member = next(i for i in opened.infolist() if _member_path(i) == inner[2])
                opened = stack.enter_context(zipfile.ZipFile(io.BytesIO(_read_member(opened, member, MAX_ZIP_BYTES))))
        except (zipfile.BadZipFile, OSError, StopIteration) as error:
            raise Unreadable(f"cannot be opened as a zip: {error}") from error
        yield opened


def read_entry(opened: zipfile.ZipFile | Path, entry: Entry, limit: int = MAX_FILE_BYTES) -> bytes:
    """Return a file's bytes.

    Raises:
        Unreadable: larger than `limit`, damaged inside its zip, encrypted, not permitted, or no file at all.
    """
    if entry.size > limit:
        raise Unreadable(f"{entry.size / 2**20:.0f} MB, more than the {limit / 2**20:.0f} MB that are read")
    try:
        if isinstance(opened, Path):
            with open(opened / entry.path, "rb") as file:
                data = file.read(limit + 1)  # it may have grown since it was listed
            if len(data) > limit:
                raise Unreadable(f"more than the {limit / 2**20:.0f} MB that are read")
            return data
        return _read_member(opened, entry.info or opened.getinfo(entry.path), limit)
    except Unreadable:
        raise
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror or error}") from error
    except Exception as error:  # zipfile raises BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError
        raise Unreadable(f"cannot be read from its zip: {error}") from error


def _read_member(opened: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> bytes:
    """Unpack one member in pieces, so that no more memory is used than it needs."""
    size, packed = info.file_size, max(info.compress_size, 1)
    if size > limit:
        raise Unreadable(f"{size / 2**20:.0f} MB, more than the {limit / 2**20:.0f} MB that are read")
    if info.compress_type == zipfile.ZIP_LZMA:  # its header says how much memory unpacking takes
        raise Unreadable("packed by LZMA, which is not read: pack it again as an ordinary zip")
    if size > _BOMB[0] and size > _BOMB[1] * packed:
        raise Unreadable(f"refused: {packed:,} bytes that unpack to {size / 2**20:.0f} MB are no picture")
    buffer = io.BytesIO()
    with opened.open(info) as member:
        while piece := member.read(_CHUNK):
            buffer.write(piece)
    return buffer.getvalue()


def first_bytes(opened: zipfile.ZipFile | Path, entry: Entry, n: int) -> bytes:
    """The first n bytes of a file.

    Raises:
        Unreadable: they cannot be read.
    """
    try:
        if isinstance(opened, Path):
            with open(opened / entry.path, "rb") as loose:
                return loose.read(n)
        with opened.open(entry.info or entry.path) as member:
            return member.read(n)
    except Exception as error:  # as in `read_entry`
        raise Unreadable(f"cannot be read: {error}") from error


def content_hashes(root: Path, entries: Iterable[Entry]) -> dict[Entry, str]:
    """SHA-256 of each file; a file that cannot be read has a value of its own."""
    places: dict[str, list[Entry]] = {}
    for entry in entries:
        places.setdefault(entry.place, []).append(entry)
    found = {}
    for place, members in places.items():
        try:
            with open_place(root, place) as opened:
                for entry in members:
                    try:
                        found[entry] = hashlib.sha256(read_entry(opened, entry)).hexdigest()
                    except Unreadable:
                        found[entry] = f"unreadable {entry.shown}"
        except Unreadable:
            found.update({entry: f"unreadable {entry.shown}" for entry in members})
    return found


def _list_folder(listing: Listing) -> None:
    seen: set[tuple[int, int]] = set()
    system: list[str] = []
    top = listing.root.resolve()

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
        for name in [name for name in folders if _leaves(Path(current) / name, top)]:
            folders.remove(name)
            listing.leave_out("", prefix + name, _LEAVES)
        listing.folders += [("", prefix + name) for name in folders]
        for name in sorted(files):
            if _is_system(name):
                continue
            if _leaves(Path(current) / name, top):
                listing.leave_out("", prefix + name, _LEAVES)
            else:
                _list_file(listing, Path(current) / name, prefix + name)
    _note_system(listing, "", system)


def _leaves(path: Path, top: Path) -> bool:
    """Whether a path is a link to something outside the folder that was given."""
    return path.is_symlink() and not path.resolve().is_relative_to(top)


def _list_file(listing: Listing, file: Path, path: str) -> None:
    try:
        status = file.stat()
    except OSError as error:
        listing.leave_out("", path, f"cannot be read: {error.strerror}")
        return
    if not stat.S_ISREG(status.st_mode):
        listing.leave_out("", path, "not a regular file (a pipe, a socket or a device): not opened")
    elif path.lower().endswith(".zip"):
        _list_zip(listing, file, path)
    elif path.lower().endswith(_OTHER_ARCHIVES) and not path.lower().endswith(_VOLUMES):
        listing.leave_out(path, "", "an archive of a kind that is not read: unpack it")
    else:
        listing.entries.append(Entry("", path, status.st_size, str(status.st_mtime_ns)))


def _check_directory(file: Path | io.BytesIO) -> None:
    """Refuse a zip whose list of members is far too long, before zipfile reads it.

    Raises:
        Unreadable: it is.
    """
    with open(file, "rb") if isinstance(file, Path) else nullcontext(file) as opened:
        end = opened.seek(0, os.SEEK_END)
        opened.seek(max(end - 65557, 0))  # the end record, 22 bytes, and the longest comment
        tail = opened.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        return  # zipfile says what is wrong with it
    size = struct.unpack_from("<L", tail, at + 12)[0]
    large = tail.rfind(b"PK\x06\x06", 0, at)  # ZIP64
    if large >= 0 and len(tail) >= large + 56:
        size = max(size if size < 2**32 - 1 else 0, struct.unpack_from("<Q", tail, large + 40)[0])
    if size > _MAX_DIRECTORY:
        raise Unreadable(f"refused: its list of files takes {size / 2**20:.0f} MB, far more files than are read")


def _list_zip(listing: Listing, file: Path | io.BytesIO, place: str) -> None:
    try:
        _check_directory(file)
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            raise Unreadable(f"refused: {len(members):,} files in one zip, more than the {MAX_MEMBERS:,} that are read")
    except Unreadable as error:
        listing.leave_out(place, "", str(error))
        return
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        listing.leave_out_zip(place, error)
        return
    times: Counter[str] = Counter()
    system: list[str] = []
    for info in members:
        path = _member_path(info)
        kind = stat.S_IFMT(info.external_attr >> 16)
        parts = path.rstrip("/").split("/")
        if path.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:", path):
            listing.leave_out(place, path, "unsafe name that points outside its archive")
        elif any(map(_is_system, parts)):
            system.append(path)
        elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            listing.leave_out(place, path, "a link or a device inside a zip: not followed")
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


def _member_path(info: zipfile.ZipInfo) -> str:
    """A member's path: UTF-8 where its bytes are valid UTF-8, whether or not its flag says so."""
    name = info.filename
    if not info.flag_bits & 0x800:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    # Written by all sorts of tools: "a\\b", "./a/b" and "a//b" are all a/b.
    return re.sub(r"(?<=/)(\./|/)+", "", name.replace("\\", "/").removeprefix("./"))


def _is_system(name: str) -> bool:
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def _note_system(listing: Listing, place: str, names: Iterable[str]) -> None:
    names = sorted(names)
    if names:
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        listing.leave_out(place or listing.name, "", f"hidden or system files ({len(names)}): {shown}")
