"""From a listing of files to the images of a corpus: which archive each belongs to, and which class."""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from brainssl_utils.data.reading.archives import Entry, Listing, Problem, Unreadable, open_place, read_entry
from brainssl_utils.data.reading.sources import CLASSES, PAPER_SOURCES, SOURCES, class_of, fold_name, recognise
from brainssl_utils.errors import CourseError

FIGSHARE = "figshare"
# Folders that stand between an archive's top and its class folders without naming anything of their own.
_PARTS = {"training", "testing", "train", "test", "val", "valid", "validation", "data", "dataset", "images", "imgs"}
_IMAGE_NAME = re.compile(r"\.(jpe?g|jpe|jfif|png|bmp|gif|tiff?|webp|p[gpn]m|jp2)(#\d+)?$", re.IGNORECASE)
_MANIFEST_COLUMNS = {"patient", "plane", "class", "source", "path"}


@dataclass(frozen=True)
class Item:
    """One file that should become a row.

    Attributes:
        entry: where the file lies.
        path: its path from the archive's top on.
        class_name: None where the file itself tells it (figshare).
        source: short name of its archive; "" until that is known.
        top: the folders above the archive's top.
        folder, parent: the class folder's own name, and that of the folder above it.
        patient, plane: as a manifest tells them, "" elsewhere.
    """

    entry: Entry
    path: str
    class_name: str | None
    source: str = ""
    top: str = ""
    folder: str = ""
    parent: str = ""
    patient: str = ""
    plane: str = ""

    @property
    def id(self) -> str:
        return f"{self.source}/{self.path}"

    @property
    def same_file(self) -> tuple[str, int]:
        """Equal for two files that are very likely the same one, packed twice."""
        return self.path.lower(), self.entry.size


Archives = list[tuple[str, list[Item]]]  # (name, its images)


@dataclass
class Gathered:
    """The items in their final order, the classes, the figshare fold file if there is one, and what was left out."""

    items: list[Item]
    classes: tuple[str, ...]
    folds: Entry | None = None
    problems: list[Problem] = field(default_factory=list)


def gather(listing: Listing) -> Gathered:
    """Sort the files of a listing into sources and classes.

    Raises:
        CourseError: no class folders at all.
    """
    problems: list[Problem] = []
    slices, rest, folds = _take_figshare(listing, problems)
    classes, own = _choose_classes(rest, has_slices=bool(slices))
    placed = _place(listing, rest, own, problems)
    archives = _drop_second_packing(_archives(listing, placed), problems)
    items = slices + [replace(item, source=name) for name, members in archives for item in members]
    _report_empty(listing, placed, problems)
    if not items:
        lines = [f"{'/'.join(filter(None, p[:2]))}: {p.reason}" for p in (*listing.problems, *problems)]
        found = f" What was found: {'; '.join(lines[:3])}" if lines else ""
        raise CourseError(
            f"data: no class folders with images in {listing.root}. Expected folders such as glioma, meningioma, "
            f"notumor and pituitary at any depth, or two or more folders of your own classes.{found}"
        )
    return Gathered(_ordered(items, problems), classes, folds, problems)


def _take_figshare(listing: Listing, problems: list[Problem]) -> tuple[list[Item], list[Entry], Entry | None]:
    """Split off `N.mat` and `cvind.mat`, by name, wherever they lie; a number met twice is taken once."""
    taken: dict[str, Item] = {}
    rest: list[Entry] = []
    folds: Entry | None = None
    again: dict[str, int] = defaultdict(int)
    for entry in listing.entries:
        name = entry.name.lower()
        if name == "cvind.mat":
            folds = folds or entry
        elif not re.fullmatch(r"\d+\.mat", name):
            rest.append(entry)
        elif name not in taken:
            taken[name] = Item(entry, name, None, FIGSHARE)
        elif taken[name].entry.size == entry.size:
            again[entry.place or listing.name] += 1
        else:
            reason = f"{taken[name].entry.shown} has the same number and another size; that one is used"
            problems.append(Problem(FIGSHARE, entry.shown, reason, "skipped"))
    for place, count in again.items():
        problems.append(Problem(FIGSHARE, place, f"{count} slices are also elsewhere and are loaded once", "note"))
    return list(taken.values()), rest, folds if taken else None


def _choose_classes(entries: Sequence[Entry], has_slices: bool) -> tuple[tuple[str, ...], bool]:
    """The class names, and whether they are the readers' own (each image's folder names its class)."""
    images = [entry for entry in entries if _IMAGE_NAME.search(entry.path)]
    known = {name for entry in images for folder in entry.folders if (name := class_of(folder))}
    own: dict[str, str] = {}
    for entry in images:
        if entry.folders and fold_name(entry.folders[-1]) not in _PARTS:
            own.setdefault(fold_name(entry.folders[-1]), entry.folders[-1])
    # "normal" beside folders nobody knows is somebody's own set of classes, not a quarter of this course's.
    if has_slices or known - {"no_tumor"} or len(own) < 2:
        return CLASSES, False
    return tuple(sorted(own.values())), True


def _place(listing: Listing, entries: Iterable[Entry], own: bool, problems: list[Problem]) -> list[Item]:
    """Find the class folder of each file, and the archive's top above it."""
    manifest = _read_manifest(listing, problems)
    placed: list[Item] = []
    unknown: dict[tuple[str, str], int] = defaultdict(int)
    spellings: dict[str, str] = {}
    for entry in sorted(entries, key=lambda e: (e.place, e.path)):
        folders = entry.folders
        if own:
            depth = len(folders) - 1 if folders and fold_name(folders[-1]) not in _PARTS else -1
        else:
            depth = max((i for i, folder in enumerate(folders) if class_of(folder)), default=-1)
        if depth < 0:
            if _IMAGE_NAME.search(entry.path):
                unknown[entry.place, "/".join(folders)] += 1
            continue
        top = depth
        while top > 0 and fold_name(folders[top - 1]) in _PARTS:
            top -= 1
        folder, parent = folders[depth], folders[depth - 1] if depth else ""
        # The reader's own names are spelt once: "Cats" in train/ and "cats" in test/ are one class.
        class_name = spellings.setdefault(fold_name(folder), folder) if own else class_of(folder)
        path = "/".join((*folders[top:], entry.name))
        told = manifest.get(_unzipped(entry), {})
        told = {name: told.get(name, "") for name in ("source", "patient", "plane")}
        placed.append(Item(entry, path, class_name, top="/".join(folders[:top]), folder=folder, parent=parent, **told))
    for (place, folder), count in unknown.items():
        shown = f'folder "{folder}" is no known class' if folder else "not in a class folder"
        reason = f"{shown}: {count} image{'s' if count > 1 else ''} left out"
        problems.append(Problem(place or listing.name, folder, reason, "skipped"))
    return placed


def _read_manifest(listing: Listing, problems: list[Problem]) -> dict[str, dict[str, str]]:
    """Rows of a phantom set's `manifest.csv`, keyed by the image's path below the listing's root."""
    rows: dict[str, dict[str, str]] = {}
    for entry in listing.entries:
        if entry.name != "manifest.csv":
            continue
        try:
            with open_place(listing.root, entry.place) as opened:
                text = read_entry(opened, entry).decode("utf-8")
        except (Unreadable, UnicodeDecodeError) as error:
            problems.append(Problem(listing.name, entry.path, f"manifest cannot be read: {error}", "skipped"))
            continue
        reader = csv.DictReader(io.StringIO(text))
        if set(reader.fieldnames or ()) >= _MANIFEST_COLUMNS:
            prefix = _unzipped(entry).removesuffix(entry.name)
            rows.update({prefix + row["path"]: row for row in reader})
    return rows


def _unzipped(entry: Entry) -> str:
    """The path a file has, or would have if its zips were folders."""
    return re.sub(r"\.zip/", "/", entry.shown, flags=re.IGNORECASE)


def _archives(listing: Listing, placed: list[Item]) -> Archives:
    """Divide the images by archive and name each: by the manifest, by layout, or after its folder."""
    units: dict[tuple[str, str, str], list[Item]] = defaultdict(list)
    for item in placed:
        units[item.entry.place, item.top, item.parent].append(item)
    found: dict[tuple[str, str, str], list[Item]] = defaultdict(list)
    for (place, top, parent), members in units.items():
        layout = recognise({item.folder for item in members}, (item.entry.name for item in members), parent) or ""
        for item in members:
            found[place, top, item.source or layout].append(item)
    named = []
    for (place, top, layout), members in found.items():
        own = top.rpartition("/")[2] or (place.rpartition("/")[2][:-4] if place else "") or listing.name
        # A phantom folder that lost its manifest is still no real archive, for all its layout.
        named.append((own if own.startswith("phantom-") else layout or own, members))
    # Where one archive's parts differ in what they look like, the larger one comes first.
    return sorted(named, key=lambda pair: (pair[0], -len(pair[1]), pair[1][0].entry.place, pair[1][0].top))


def _drop_second_packing(archives: Archives, problems: list[Problem]) -> Archives:
    """Load an archive once that is there twice (a zip beside its unpacked folder); unlike archives get unlike names."""
    kept: Archives = []
    for name, members in sorted(archives, key=lambda pair: -len(pair[1])):
        files = {item.same_file for item in members}
        for other, others in kept:
            if name == other and name in SOURCES and not {i.path for i in members} & {i.path for i in others}:
                others += members  # one archive in two parts, such as Training.zip and Testing.zip
                break
            shared = files & {item.same_file for item in others}
            if 2 * len(shared) > len(files):
                reason = f"{len(shared)} files are also in {_where(others)} and are loaded once, from there"
                problems.append(Problem(other, _where(members), reason, "note"))
                others += [item for item in members if item.same_file not in shared]
                break
        else:
            taken = {other for other, _ in kept}
            fresh = next(n for n in (name, *(f"{name}-{i}" for i in range(2, len(archives) + 2))) if n not in taken)
            if fresh != name:
                reason = f"a second set called {name} with other files; it is called {fresh}"
                problems.append(Problem(fresh, _where(members), reason, "note"))
            kept.append((fresh, list(members)))
    return kept


def _where(members: list[Item]) -> str:
    return "/".join(part for part in (members[0].entry.place, members[0].top) if part) or "the top folder"


def _report_empty(listing: Listing, placed: list[Item], problems: list[Problem]) -> None:
    filled = {(i.entry.place, "/".join(i.entry.folders[:n])) for i in placed for n in range(len(i.entry.folders) + 1)}
    for place, folder in listing.folders:
        if class_of(folder.rpartition("/")[2]) and (place, folder) not in filled:
            problems.append(Problem(place or listing.name, folder, "class folder without a single file", "note"))


def _ordered(items: list[Item], problems: list[Problem]) -> list[Item]:
    """Known archives first, in the course's order, then by name and path; every id made unique."""
    rank = {name: i for i, name in enumerate((*PAPER_SOURCES, FIGSHARE))}
    seen: dict[str, int] = defaultdict(int)
    unique = []
    for item in sorted(items, key=lambda i: (rank.get(i.source, len(rank)), i.source, _natural(i.path), i.entry.place)):
        seen[item.id] += 1
        if seen[item.id] > 1:
            path = f"{item.path}#{seen[item.id]}"
            problems.append(Problem(item.source, item.path, f"a second file of this name is kept as {path}", "kept"))
            item = replace(item, path=path)
        unique.append(item)
    return unique


def _natural(path: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", path)]
