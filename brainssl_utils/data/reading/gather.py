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
    """One file that should become a row: `class_name` is None where the file itself tells it (figshare)."""

    entry: Entry
    source: str
    path: str
    class_name: str | None
    patient: str = ""
    plane: str = ""

    @property
    def id(self) -> str:
        return f"{self.source}/{self.path}"


@dataclass
class Gathered:
    """The items in their final order, the classes, the figshare fold file if there is one, and what was left out."""

    items: list[Item]
    classes: tuple[str, ...]
    folds: Entry | None = None
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class _Placed:
    """An entry with the folders above its class folder divided into the archive's top (`root`) and its inner path."""

    entry: Entry
    root: str
    path: str
    class_name: str
    folder: str
    parent: str


def gather(listing: Listing) -> Gathered:
    """Sort the files of a listing into sources and classes.

    Raises:
        CourseError: no class folders at all.
    """
    problems: list[Problem] = []
    slices, rest, folds = _take_figshare(listing, problems)
    classes, own = _choose_classes(rest, has_slices=bool(slices))
    manifest = _read_manifest(listing, problems)
    placed = _place(listing, rest, own, problems)
    groups = _group(listing, placed, manifest)
    groups = _drop_second_copies(groups, problems)
    items = slices + [_item(name, p, manifest) for name, group in groups for p in group]
    _report_empty(listing, placed, problems)
    if not items:
        raise CourseError(
            f"data: no class folders with images in {listing.root}. Expected folders such as glioma, meningioma, "
            f"notumor and pituitary at any depth, or two or more folders of your own classes.{_first(listing, problems)}"
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
        elif not (name.endswith(".mat") and re.fullmatch(r"\d+\.mat", name)):
            rest.append(entry)
        elif name not in taken:
            taken[name] = Item(entry, FIGSHARE, name, None)
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


def _place(listing: Listing, entries: Iterable[Entry], own: bool, problems: list[Problem]) -> list[_Placed]:
    placed: list[_Placed] = []
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
        root = depth
        while root > 0 and fold_name(folders[root - 1]) in _PARTS:
            root -= 1
        name = class_of(folders[depth]) if not own else None
        # Spelt once: "Cats" in train/ and "cats" in test/ are one class.
        name = name or spellings.setdefault(fold_name(folders[depth]), folders[depth])
        inner = "/".join((*folders[root:], entry.name))
        parent = folders[depth - 1] if depth else ""
        placed.append(_Placed(entry, "/".join(folders[:root]), inner, name, folders[depth], parent))
    for (place, folder), count in unknown.items():
        shown = f'folder "{folder}" is no known class' if folder else "not in a class folder"
        reason = f"{shown}: {count} image{'s' if count > 1 else ''} left out"
        problems.append(Problem(place or listing.name, folder, reason, "skipped"))
    return placed


def _group(
    listing: Listing, placed: list[_Placed], manifest: dict[str, dict[str, str]]
) -> list[tuple[str, list[_Placed]]]:
    """Divide the images by archive and name each: by the manifest, by layout, or after its folder."""
    units: dict[tuple[str, str, str], list[_Placed]] = defaultdict(list)
    for p in placed:
        units[p.entry.place, p.root, p.parent].append(p)
    groups: dict[tuple[str, str, str], list[_Placed]] = defaultdict(list)
    for (place, root, parent), members in units.items():
        layout = recognise({p.folder for p in members}, (p.entry.name for p in members), parent) or ""
        for p in members:
            row = _told(manifest, p.entry)
            groups[place, root, row["source"] if row else layout].append(p)
    named = []
    for (place, root, layout), members in groups.items():
        own = root.rpartition("/")[2] or (place.rpartition("/")[2][:-4] if place else "") or listing.name
        # A phantom folder that lost its manifest is still no real archive, for all its layout.
        named.append((own if own.startswith("phantom-") else layout or own, members))
    # Where one archive's parts differ in what they look like, the larger one comes first.
    return sorted(named, key=lambda pair: (pair[0], -len(pair[1]), pair[1][0].entry.place, pair[1][0].root))


def _drop_second_copies(
    groups: list[tuple[str, list[_Placed]]], problems: list[Problem]
) -> list[tuple[str, list[_Placed]]]:
    """Load an archive once that is there twice (a zip beside its unpacked folder); unlike archives get unlike names."""
    kept: list[tuple[str, list[_Placed]]] = []
    for name, members in sorted(groups, key=lambda pair: -len(pair[1])):
        keys = {(p.path.lower(), p.entry.size) for p in members}
        for other, others in kept:
            if name == other and name in SOURCES and not {p.path for p in members} & {p.path for p in others}:
                others += members  # one archive in two parts, such as Training.zip and Testing.zip
                break
            shared = keys & {(p.path.lower(), p.entry.size) for p in others}
            if 2 * len(shared) > len(keys):
                where, first = (_where(g) for g in (members, others))
                reason = f"{len(shared)} files are also in {first} and are loaded once, from there"
                problems.append(Problem(other, where, reason, "note"))
                others += [p for p in members if (p.path.lower(), p.entry.size) not in shared]
                break
        else:
            taken = {other for other, _ in kept}
            fresh = next(n for n in (name, *(f"{name}-{i}" for i in range(2, len(groups) + 2))) if n not in taken)
            if fresh != name:
                reason = f"a second set called {name} with other files; it is called {fresh}"
                problems.append(Problem(fresh, _where(members), reason, "note"))
            kept.append((fresh, list(members)))
    return kept


def _item(name: str, placed: _Placed, manifest: dict[str, dict[str, str]]) -> Item:
    row = _told(manifest, placed.entry)
    return Item(placed.entry, name, placed.path, placed.class_name, row.get("patient", ""), row.get("plane", ""))


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
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", path)]


def _report_empty(listing: Listing, placed: list[_Placed], problems: list[Problem]) -> None:
    filled = {(p.entry.place, "/".join(p.entry.folders[: i + 1])) for p in placed for i in range(len(p.entry.folders))}
    for place, folder in listing.folders:
        if class_of(folder.rpartition("/")[2]) and (place, folder) not in filled:
            problems.append(Problem(place or listing.name, folder, "class folder without a single file", "note"))


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
        if not set(reader.fieldnames or ()) >= _MANIFEST_COLUMNS:
            continue
        prefix = _unzipped(entry).removesuffix(entry.name)
        rows.update({prefix + row["path"]: row for row in reader})
    return rows


def _told(manifest: dict[str, dict[str, str]], entry: Entry) -> dict[str, str]:
    """What a manifest says of a file; there is none beside real archives."""
    return manifest.get(_unzipped(entry), {}) if manifest else {}


def _unzipped(entry: Entry) -> str:
    """The path a file has, or would have if its zips were folders."""
    return re.sub(r"\.zip/", "/", entry.shown, flags=re.IGNORECASE)


def _where(members: list[_Placed]) -> str:
    first = members[0]
    return "/".join(part for part in (first.entry.place, first.root) if part) or "the top folder"


def _first(listing: Listing, problems: list[Problem]) -> str:
    found = (*listing.problems, *problems)
    if not found:
        return ""
    lines = "; ".join(f"{p.source}{'/' if p.source and p.path else ''}{p.path}: {p.reason}" for p in found[:3])
    return f" What was found: {lines}"
