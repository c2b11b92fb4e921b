"""Which archive each image belongs to: recognised by layout, named by its folder, and loaded once if it is there twice."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from brainssl_utils.data.reading.archives import Entry, Listing, Problem, content_hashes
from brainssl_utils.data.reading.sources import SOURCES, fits_counts, recognise


@dataclass(frozen=True)
class Item:
    """One picture that should become a row.

    Attributes:
        entry: the file it lies in.
        path: its path from the archive's top on.
        class_name: "" where it has none, None where the file itself tells it (figshare).
        source: short name of its archive; "" until that is known.
        top: the folders above the archive's top.
        folder, parent: the class folder's own name, and that of the folder above it; "" where there is none.
        patient, plane, part, fold: as a table tells them, "" elsewhere.
        slice: number of a volume's slice, counted from 0; None for pictures.
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
    part: str = ""
    fold: str = ""
    slice: int | None = None

    @property
    def id(self) -> str:
        return f"{self.source}/{self.path}"

    @property
    def likely(self) -> tuple[str, int]:
        """Equal for two files that may be one and the same, packed twice; their content tells."""
        return self.path.lower(), self.entry.size


Archives = list[tuple[str, list[Item]]]  # (name, its images)


def archives(listing: Listing, placed: Sequence[Item]) -> Archives:
    """Divide the images by archive and name each: by the manifest, by layout, or after its folder."""
    units: dict[tuple[str, str, str, bool], list[Item]] = defaultdict(list)
    for item in placed:
        units[item.entry.place, item.top, item.parent, item.class_name == ""].append(item)
    found: dict[tuple[str, str, str], list[Item]] = defaultdict(list)
    for (place, top, parent, unlabelled), members in units.items():
        layout = ""
        if not unlabelled:  # a folder of images without a class is nobody's sibling
            folders = {item.folder for item in members}
            layout = recognise(folders, (item.entry.name for item in members), parent) or ""
        for item in members:
            found[place, top, item.source or layout].append(item)
    named = []
    for (place, top, layout), members in found.items():
        own = top.rpartition("/")[2] or (place.rpartition("/")[2][:-4] if place else "") or listing.name
        if layout in SOURCES and not fits_counts(layout, Counter(str(item.class_name) for item in members)):
            layout = ""
        # A phantom folder that lost its manifest is still no real archive, for all its layout.
        named.append((own if own.startswith("phantom-") else layout or own, members))
    # Where one archive's parts differ in what they look like, the larger one comes first.
    return sorted(named, key=lambda pair: (pair[0], -len(pair[1]), pair[1][0].entry.place, pair[1][0].top))


def drop_second_packing(listing: Listing, parts: Archives, problems: list[Problem]) -> Archives:
    """Load an archive once that is there twice (a zip beside its unpacked folder); unlike archives get unlike names.

    Twice are files of one path (below the archive's top) and one content.
    """
    kept: Archives = []
    for name, members in sorted(parts, key=lambda pair: -len(pair[1])):
        for other, others in kept:
            if name == other and _is_other_part(name, members, others):
                others += members
                break
            shared = _same_files(listing, members, others)
            if 2 * len(shared) > len(members):
                reason = f"{len(shared)} files are also in {_where(others)} and are loaded once, from there"
                problems.append(Problem(other, _where(members), reason, "note"))
                others += [item for item in members if item not in shared]
                break
        else:
            taken = {other for other, _ in kept}
            fresh = next(n for n in (name, *(f"{name}-{i}" for i in range(2, len(parts) + 2))) if n not in taken)
            if fresh != name:
                reason = f"a second set called {name} with other files; it is called {fresh}"
                problems.append(Problem(fresh, _where(members), reason, "note"))
            kept.append((fresh, list(members)))
    return kept


def _is_other_part(name: str, members: list[Item], others: list[Item]) -> bool:
    """Whether two lots are one archive in two parts, such as Training.zip and Testing.zip, or labelled and not."""
    if {item.path for item in members} & {item.path for item in others}:
        return False
    beside = (members[0].entry.place, members[0].top) == (others[0].entry.place, others[0].top)
    return name in SOURCES or beside


def _same_files(listing: Listing, members: list[Item], others: list[Item]) -> set[Item]:
    """The members that are, by path and content, among the others."""
    there = {item.likely: item for item in others}
    pairs = [(item, there[item.likely]) for item in members if item.likely in there]
    if 2 * len(pairs) <= len(members):
        return set()
    hashes = content_hashes(listing.root, {item.entry for pair in pairs for item in pair})
    return {item for item, other in pairs if hashes[item.entry] == hashes[other.entry]}


def _where(members: list[Item]) -> str:
    return "/".join(part for part in (members[0].entry.place, members[0].top) if part) or "the top folder"
