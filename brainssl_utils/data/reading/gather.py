"""From a listing of files to the images of a corpus: which archive each belongs to, and which class."""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from brainssl_utils.data.reading import leftovers, names
from brainssl_utils.data.reading.archives import (
    Entry,
    Listing,
    Problem,
    Unreadable,
    content_hashes,
    open_place,
    read_entry,
)
from brainssl_utils.data.reading.classes import UNLABELLED, ClassFolders, Wanted, find_classes, zip_stem
from brainssl_utils.data.reading.names import class_order, fold_name
from brainssl_utils.data.reading.packing import Item, archives, drop_second_packing
from brainssl_utils.data.reading.sources import CLASSES, PAPER_SOURCES, class_of
from brainssl_utils.data.reading.tables import Table, read_tables, table_name
from brainssl_utils.data.reading.volumes import slices_of
from brainssl_utils.errors import CourseError

FIGSHARE = "figshare"
_MANIFEST_COLUMNS = {"patient", "plane", "class", "source", "path"}
_MANIFEST_BYTES = 64 * 2**20


@dataclass
class Gathered:
    """The items in their final order, the classes, the figshare fold file if there is one, and what was left out."""

    items: list[Item]
    classes: tuple[str, ...]
    folds: Entry | None = None
    problems: list[Problem] = field(default_factory=list)


def gather(
    listing: Listing, classes: Wanted = None, table: str | Mapping[str, str] | None = None, every: int = 0
) -> Gathered:
    """Sort the files of a listing into sources and classes.

    Args:
        listing: the files.
        classes: which folders are classes; None finds them by rule.
        table: file of labels and patients, see `read_tables`.
        every: of volumes, every so many-th slice; 0 takes the middle one alone.

    Raises:
        CourseError: no images at all, or `classes` or `table` do not fit the files.
    """
    problems: list[Problem] = []
    slices, rest, folds = _take_figshare(listing, problems)
    in_use = table_name(table).rpartition("/")[2]
    pictures = _take_pictures(listing, [entry for entry in rest if entry.name != in_use], classes, problems)
    tables = read_tables(listing, pictures, table, problems)
    folders, by_table = _classes(pictures, tables, classes, bool(slices))
    problems += [row._replace(source=row.source or listing.name) for row in folders.remarks]
    placed = _place(listing, pictures, rest, folders, by_table, problems)
    placed = [piece for item in placed for piece in _pieces(listing, item, every, problems)]
    found = drop_second_packing(listing, archives(listing, placed), problems)
    if folders.zips:  # they are folders of one set
        found = [(listing.name, members) for _, members in found]
    items = slices + [replace(item, source=name) for name, members in found for item in members]
    _report_empty(listing, placed, problems)
    if not items:
        lines = [f"{'/'.join(filter(None, p[:2]))}: {p.reason}" for p in (*listing.problems, *problems)]
        tail = f" What was found: {'; '.join(lines[:3])}" if lines else ""
        raise CourseError(
            f"data: no class folders with images in {listing.root}. Expected folders such as glioma, meningioma, "
            f"notumor and pituitary at any depth, or two or more folders of your own classes.{tail}"
        )
    return Gathered(_ordered(items, problems), folders.classes, folds, problems)


def _take_figshare(listing: Listing, problems: list[Problem]) -> tuple[list[Item], list[Entry], Entry | None]:
    """Split off `N.mat` and `cvind.mat`, by name, wherever they lie; a slice met twice is taken once."""
    taken: dict[str, list[Entry]] = defaultdict(list)
    rest: list[Entry] = []
    folds: Entry | None = None
    for entry in listing.entries:
        name = entry.name.lower()
        if name == "cvind.mat":
            folds = folds or entry
        elif re.fullmatch(r"\d+\.mat", name):
            taken[name].append(entry)
        else:
            rest.append(entry)
    hashes = content_hashes(listing.root, [entry for same in taken.values() if len(same) > 1 for entry in same])
    items: list[Item] = []
    again: dict[str, int] = defaultdict(int)
    for name, entries in taken.items():
        met: set[str] = set()
        for entry in entries:
            content = hashes.get(entry, "")
            if content in met:
                again[entry.place or listing.name] += 1
            else:
                items.append(Item(entry, name, None, FIGSHARE))
            met.add(content)
    for place, count in again.items():
        problems.append(Problem(FIGSHARE, place, f"{count} slices are also elsewhere and are loaded once", "note"))
    return items, rest, folds if taken else None


def _take_pictures(listing: Listing, rest: list[Entry], classes: Wanted, problems: list[Problem]) -> list[Entry]:
    """The files to be read as pictures; of the others, and of masks, it is said what they are."""
    zips = leftovers.zips_without_ending(listing, rest)
    problems += leftovers.remarks(listing, (e for e in rest if not leftovers.is_picture(e) or e in zips), zips)
    pictures = [entry for entry in rest if leftovers.is_picture(entry) and entry not in zips]
    wanted = {fold_name(str(name)) for name in classes} if isinstance(classes, Mapping | list | tuple | set) else set()
    masks = [e for e in pictures if names.is_mask([f for f in e.folders if fold_name(f) not in wanted], e.name)]
    if len(masks) == len(pictures):
        return pictures
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for entry in masks:
        counts[entry.place, "/".join(entry.folders)] += 1
    for (place, folder), n in counts.items():
        reason = f"{n} mask{'s' if n > 1 else ''} or predictions set aside, by the name of folder or file"
        problems.append(Problem(place or listing.name, folder, reason, "skipped"))
    aside = set(masks)
    return [entry for entry in pictures if entry not in aside]


def _classes(
    pictures: list[Entry], tables: Table, classes: Wanted, slices: bool
) -> tuple[ClassFolders, dict[Entry, dict[str, str]]]:
    """What each folder is, and what tables tell of single files; labels in a table go before folders."""
    governed = [entry for entry in pictures if tables.labels(entry)]
    named = {id(entry) for entry in governed}
    others = [entry for entry in pictures if id(entry) not in named]
    table_rows = {entry: tables.rows.get(entry, {}) for entry in pictures}
    if not governed:
        return find_classes(others, classes, slices), table_rows
    wanted = None
    if isinstance(classes, Mapping):
        wanted = {fold_name(str(name)): str(title or "") for name, title in classes.items()}
    elif isinstance(classes, list | tuple | set):
        wanted = {fold_name(str(name)): str(name) for name in classes}
    told = {row.get("label", "") for entry in governed if (row := table_rows[entry])} - {""}
    course = bool({class_of(name) for name in told} - {None, "no_tumor"}) and wanted is None
    spellings: dict[str, str] = {}
    for entry in governed:
        label = table_rows[entry].get("label", "")
        title = spellings.setdefault(fold_name(label), names.shown_name(label))
        if wanted is not None:
            title = wanted.get(fold_name(label), "")
        table_rows[entry] = {**table_rows[entry], "label": (course and class_of(title)) or title}
    found = {table_rows[entry]["label"] for entry in governed} - {""}
    folders = find_classes(others, None, slices) if others else ClassFolders()
    everything = found | set(folders.classes if others else ())
    folders.classes = CLASSES if everything <= set(CLASSES) and course else class_order(everything)
    return folders, table_rows


def _place(
    listing: Listing,
    pictures: list[Entry],
    rest: list[Entry],
    folders: ClassFolders,
    by_table: Mapping[Entry, Mapping[str, str]],
    problems: list[Problem],
) -> list[Item]:
    """Find the class of each file, and the archive's top above its class folder."""
    manifest = _read_manifest(listing, problems)
    seen = set(pictures)
    unknown: dict[tuple[str, str], int] = defaultdict(int)
    placed: list[Item] = []
    for entry in sorted(rest, key=lambda e: (e.place, e.path)):
        path = entry.folders
        told = dict(by_table.get(entry, {}))
        place = (0, told.pop("label")) if "label" in told else folders.of(entry)
        if entry not in seen:
            # A text among the pictures of a class is reported where it fails to be read as one.
            if not place or not place[1] or leftovers.is_told(entry) or names.is_mask(path, entry.name):
                continue
        elif place is None:
            unknown[entry.place, "/".join(path)] += 1
            continue
        depth, class_name = place
        top = min(depth, len(path))
        while top > 0 and names.is_inner(path[top - 1]):
            top -= 1
        for name, value in manifest.get(entry.unzipped, {}).items():
            if name in ("source", "plane", "patient"):
                told[name] = told.get(name) or value
        folder = path[depth] if depth < len(path) and class_name != UNLABELLED else ""
        parent = path[depth - 1] if depth else ""
        inside = "/".join((*path[top:], entry.name))
        if folders.zips and entry.place:
            folder = zip_stem(entry.place)
            inside = f"{folder}/{inside}"
        item = Item(entry, inside, class_name, top="/".join(path[:top]), folder=folder, parent=parent)
        placed.append(replace(item, **told))  # type: ignore[arg-type]  # all of `told` is text
    for (where, folder), count in unknown.items():
        shown = f'folder "{folder}" is no known class' if folder else "not in a class folder"
        reason = f"{shown}: {count} image{'s' if count > 1 else ''} left out"
        problems.append(Problem(where or listing.name, folder, reason, "skipped"))
    return placed


def _pieces(listing: Listing, item: Item, every: int, problems: list[Problem]) -> list[Item]:
    """The item itself, or one item a slice where its file is a volume."""
    if not leftovers.is_volume(item.entry) and not leftovers.is_dicom(item.entry):
        return [item]
    try:
        numbers = slices_of(listing, item.entry, every)
    except Unreadable as error:
        problems.append(Problem(item.entry.place or listing.name, item.entry.path, str(error), "skipped"))
        return []
    if numbers == [None]:
        return [item]
    return [replace(item, path=f"{item.path}#{number:03d}", slice=number) for number in numbers if number is not None]


def _read_manifest(listing: Listing, problems: list[Problem]) -> dict[str, dict[str, str]]:
    """Rows of a phantom set's `manifest.csv`, keyed by the image's path below the listing's root."""
    rows: dict[str, dict[str, str]] = {}
    for entry in listing.entries:
        if entry.name != "manifest.csv":
            continue
        try:
            with open_place(listing.root, entry.place) as opened:
                text = read_entry(opened, entry, _MANIFEST_BYTES).decode("utf-8")
        except (Unreadable, UnicodeDecodeError) as error:
            problems.append(Problem(listing.name, entry.path, f"manifest cannot be read: {error}", "skipped"))
            continue
        reader = csv.DictReader(io.StringIO(text))
        if set(reader.fieldnames or ()) >= _MANIFEST_COLUMNS:
            prefix = entry.unzipped.removesuffix(entry.name)
            rows.update({prefix + row["path"]: row for row in reader})
    return rows


def _report_empty(listing: Listing, placed: Iterable[Item], problems: list[Problem]) -> None:
    filled = {(i.entry.place, "/".join(i.entry.folders[:n])) for i in placed for n in range(len(i.entry.folders) + 1)}
    for place, folder in listing.folders:
        if class_of(folder.rpartition("/")[2]) and (place, folder) not in filled:
            problems.append(Problem(place or listing.name, folder, "class folder without a single file", "note"))


def _ordered(items: list[Item], problems: list[Problem]) -> list[Item]:
    """Known archives first, in the course's order, then by name and path; every id made unique."""
    rank = {name: i for i, name in enumerate((*PAPER_SOURCES, FIGSHARE))}
    seen: dict[str, int] = defaultdict(int)
    unique = []

    def place(item: Item) -> tuple[object, ...]:
        # Text and numbers take turns, so that image 9 comes before image 10.
        natural = [int(part) if i % 2 else part for i, part in enumerate(re.split(r"([0-9]+)", item.path))]
        return rank.get(item.source, len(rank)), item.source, natural, item.entry.place

    for item in sorted(items, key=place):
        seen[item.id] += 1
        if seen[item.id] > 1:
            path = f"{item.path}#{seen[item.id]}"
            problems.append(Problem(item.source, item.path, f"a second file of this name is kept as {path}", "kept"))
            item = replace(item, path=path)
        unique.append(item)
    return unique
