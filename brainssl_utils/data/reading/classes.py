"""Which folders are classes: found by rule, or as the user says.

A class is named by a folder, and all class folders stand at one level. Going down from the top, these are passed over:
parts of a split ("train"), holders ("images", "labelled"), and the level is looked for among the folders that are left:

1. Names that the course knows (glioma, "No Tumour" ...) are classes wherever they stand; folders beside them that hold
   images are classes too. A healthy class alone ("normal") does not make the set one of the course's.
2. Else the level must lie above every image. A level that names findings ("yes", "normal", "malignant") is taken first.
   Levels of numbers (patients, series) and of planes are no classes while there is another level.
3. Of several levels that are left, the lowest whose names recur under different folders is taken (two hospitals with the
   same classes); where names do not recur, the level with the fewest names (classes above patients).

"unlabeled", "sans_label", "pool", or a mere holder beside class folders, hold images without a class. Masks and
predictions are set aside. `classes=` of `load_corpus` overrules all of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from brainssl_utils.data.reading import names
from brainssl_utils.data.reading.archives import Entry, Problem
from brainssl_utils.data.reading.names import class_order, fold_name, shown_name
from brainssl_utils.data.reading.sources import CLASSES, class_of
from brainssl_utils.errors import CourseError

Wanted = Mapping[str, str | None] | Sequence[str] | int | None
Folder = tuple[str, tuple[str, ...]]  # (place, the folders from its top down)
UNLABELLED = ""
SLICE_CLASSES = ("glioma", "meningioma", "pituitary")  # of figshare's slices


@dataclass
class ClassFolders:
    """What each folder that holds images is.

    Attributes:
        classes: their names, in the order of the labels.
        found: for each folder the depth of its class folder and the class, `UNLABELLED` where it has none. Folders whose
            images are left out are not in it.
        remarks: what the user should know of how the classes were found.
        zips: whether zips stand for class folders, each named after what is in it.
    """

    classes: tuple[str, ...] = ()
    found: dict[Folder, tuple[int, str]] = field(default_factory=dict)
    remarks: list[Problem] = field(default_factory=list)
    zips: bool = False

    def of(self, entry: Entry) -> tuple[int, str] | None:
        """The depth of a file's class folder and its class; None for a folder that is left out."""
        return self.found.get((entry.place, entry.folders))


def find_classes(images: Sequence[Entry], wanted: Wanted = None, slices: bool = False) -> ClassFolders:
    """Find the class of each folder that holds images; `slices`: there are figshare's slices of the course's classes.

    Raises:
        CourseError: `wanted` names no folder that is there.
    """
    folders = sorted({(entry.place, entry.folders) for entry in images})
    as_folders = {folder: _with_zip(folder) for folder in folders}
    by_zip = any(place for place, _ in folders)
    if wanted is not None:
        try:
            return _wanted(folders, wanted)
        except CourseError:
            if not by_zip or isinstance(wanted, int):
                raise
        return _unzipped(_wanted(list(as_folders.values()), wanted), as_folders)
    result = _by_rule(folders, slices)
    if result.classes or not by_zip or slices:
        return result
    stems = {path[0] for folder, (_, path) in as_folders.items() if folder[0]}
    if any(class_of(stem) for stem in stems):
        return _unzipped(_by_rule(sorted(as_folders.values()), slices), as_folders)
    shown = ", ".join(f'"{stem}"' for stem in sorted(stems)[:6])
    reason = f"no folder says a class. If the names of zips do, say so by classes=[{shown}] (--classes)."
    result.remarks.append(Problem("", "", reason, "note"))
    return result


def _with_zip(folder: Folder) -> Folder:
    """A folder as it would be if its zip were unpacked into a folder of the zip's name."""
    place, path = folder
    return ("", (zip_stem(place), *path)) if place else folder


def zip_stem(place: str) -> str:
    """The name of a zip without its ending."""
    return place.rpartition("/")[2].rpartition(".")[0]


def _unzipped(result: ClassFolders, as_folders: Mapping[Folder, Folder]) -> ClassFolders:
    """What was found with zips for folders, for the folders as they are."""
    found = {}
    for folder, named in as_folders.items():
        if named in result.found:
            depth, name = result.found[named]
            found[folder] = (depth - 1 if folder[0] and depth else depth), name
    return ClassFolders(result.classes, found, result.remarks, zips=True)


def _by_rule(folders: Sequence[Folder], slices: bool) -> ClassFolders:
    pool = {folder for folder in folders if any(map(names.says_unlabelled, folder[1]))}
    rest = [folder for folder in folders if folder not in pool]
    known = {name for _, path in rest for folder in path if (name := class_of(folder))}
    # "normal" beside folders nobody knows is somebody's own set of classes, not a quarter of this course's.
    result = _course(rest) if known - {"no_tumor"} or (slices and known) else _own(rest)
    if slices and not known:  # the slices' classes, and two or more of the reader's own
        result.classes = class_order((*SLICE_CLASSES, *result.classes)) if result.classes else CLASSES
    for place, path in folders:
        if (place, path) in pool:
            depth = next(i for i, folder in enumerate(path) if names.says_unlabelled(folder))
            result.found[place, path] = depth, UNLABELLED
        elif (place, path) not in result.found and all(map(names.is_holder, path)) and (path or not result.classes):
            result.found[place, path] = 0, UNLABELLED
    return result


def _naming(path: Sequence[str]) -> list[int]:
    """The depths of the folders of a path that name something."""
    return [i for i, folder in enumerate(path) if not names.is_holder(folder)]


def _above(path: Sequence[str], depth: int) -> tuple[str, ...]:
    """The folders above a depth that name something, as they compare."""
    return tuple(fold_name(path[i]) for i in _naming(path[:depth]))


def _course(folders: Sequence[Folder]) -> ClassFolders:
    """Classes of the course wherever they stand, and folders of images beside them."""
    result = ClassFolders(CLASSES)
    beside: set[tuple[str, tuple[str, ...]]] = set()
    for place, path in folders:
        depth = max((i for i, folder in enumerate(path) if class_of(folder)), default=None)
        if depth is not None:
            result.found[place, path] = depth, class_of(path[depth]) or ""
            beside.add((place, _above(path, depth)))
    spellings: dict[str, str] = {}
    for place, path in folders:
        if (place, path) in result.found:
            continue
        for depth in _naming(path):
            below = [path[i] for i in _naming(path) if i > depth]
            if (place, _above(path, depth)) in beside and all(names.is_numbered(f) or names.is_plane(f) for f in below):
                name = spellings.setdefault(fold_name(path[depth]), shown_name(path[depth]))
                result.found[place, path] = depth, name
                break
    if spellings:
        result.classes = class_order(name for _, name in result.found.values())
        shown = ", ".join(sorted(spellings.values()))
        reason = f"folders beside the course's classes are classes too: {shown}. Choose others by classes= (--classes)."
        result.remarks.append(Problem("", "", reason, "note"))
    return result


def _own(folders: Sequence[Folder]) -> ClassFolders:
    """The reader's own classes, all at one level."""
    result = ClassFolders()
    paths = {folder: _naming(folder[1]) for folder in folders if _naming(folder[1])}
    if not paths:
        return result
    levels = range(min(map(len, paths.values())))
    level = _choose_level([[path[i] for i in depths] for (_, path), depths in paths.items()])
    spellings: dict[str, str] = {}
    for folder, depths in paths.items():
        name = folder[1][depths[level]]
        result.found[folder] = depths[level], spellings.setdefault(fold_name(name), shown_name(name))
    if len(spellings) < 2:
        (name,) = spellings.values()
        result.found = {folder: (depth, UNLABELLED) for folder, (depth, _) in result.found.items()}
        reason = (
            f'"{name}" is the only folder of images, so they have no class. If it is one, say so by classes=["{name}"]'
        )
        result.remarks.append(Problem("", name, reason, "note"))
        return result
    result.classes = class_order(spellings.values())
    several = [d for d in levels if len({fold_name(path[depths[d]]) for (_, path), depths in paths.items()}) > 1]
    if len(several) > 1:
        shown = ", ".join(result.classes[:6]) + (", ..." if len(result.classes) > 6 else "")
        reason = (
            f"folders at several levels could be classes; taken: {shown}. Choose another level by classes= (--classes)."
        )
        result.remarks.append(Problem("", "", reason, "note"))
    return result


def _choose_level(paths: Sequence[Sequence[str]]) -> int:
    """Which of the naming folders of each path names its class; see the module."""
    spelt = {d: [path[d] for path in paths] for d in range(min(map(len, paths)))}
    distinct = {d: {fold_name(name) for name in found} for d, found in spelt.items()}
    levels = [d for d in spelt if len(distinct[d]) > 1] or [max(spelt)]
    findings = [d for d in levels if any(map(names.is_finding, spelt[d]))]
    if findings:
        return findings[-1]
    for is_no_class in (names.is_numbered, names.is_plane):
        levels = [d for d in levels if not all(map(is_no_class, spelt[d]))] or levels
    for d in reversed(levels):
        parents = defaultdict(set)
        for path in paths:
            parents[fold_name(path[d])].add(tuple(map(fold_name, path[:d])))
        if d and 2 * sum(len(found) > 1 for found in parents.values()) > len(parents):
            return d
    return min(levels, key=lambda d: len(distinct[d]))


def _wanted(folders: Sequence[Folder], wanted: Mapping[str, str | None] | Sequence[str] | int) -> ClassFolders:
    """The classes that the user asked for."""
    if isinstance(wanted, bool) or not isinstance(wanted, int | Mapping | list | tuple | set) or not wanted:
        raise CourseError(
            f"classes={wanted!r}: give folder names and the classes they stand for ({{'yes': 'tumor'}}), a list of folder "
            "names, or a depth (1: the folders at the top, -1: those that hold the images)."
        )
    result = ClassFolders()
    if isinstance(wanted, int):
        spellings: dict[str, str] = {}
        for place, path in folders:
            depth = wanted - 1 if wanted > 0 else len(path) + wanted
            if 0 <= depth < len(path):
                name = spellings.setdefault(fold_name(path[depth]), shown_name(path[depth]))
                result.found[place, path] = depth, UNLABELLED if names.says_unlabelled(name) else name
        if not result.found:
            raise CourseError(f"classes={wanted}: no image lies below a folder at that depth.")
    else:
        pairs = wanted.items() if isinstance(wanted, Mapping) else ((name, name) for name in wanted)
        titles = {fold_name(str(folder)): shown_name(str(title or "")) for folder, title in pairs}
        for place, path in folders:
            depth = max((i for i, folder in enumerate(path) if fold_name(folder) in titles), default=-1)
            if depth >= 0:
                result.found[place, path] = depth, titles[fold_name(path[depth])]
            elif path and (any(map(names.says_unlabelled, path)) or all(map(names.is_holder, path))):
                result.found[place, path] = 0, UNLABELLED
        there = {folder for _, path in folders for folder in path}
        missing = set(titles) - set(map(fold_name, there))
        if missing:
            shown = ", ".join(sorted(there)[:20]) or "none"
            raise CourseError(f"classes: no folder is called {', '.join(sorted(missing))}. Folders there are: {shown}.")
    result.classes = class_order(name for _, name in result.found.values() if name)
    return result
