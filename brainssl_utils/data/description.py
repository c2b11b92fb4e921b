"""Images and how they are to be read, in one small file: what `load_corpus` takes in place of a folder.

    folder = "scans"                               # or a zip; from the file's own place
    table = "labels.csv"                           # or { table = "labels.csv", file = "scan", label = "dx" }
    classes = { yes = "tumor", no = "no_tumor" }   # or ["yes", "no"], or a depth
    every = 3                                      # slices of volumes

One word (`--data scans.toml`) so takes all of it through the command, the notebooks and their keys.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainssl_utils.checks import check_number
from brainssl_utils.data.phantoms.word import phantom_files
from brainssl_utils.data.reading.classes import Wanted
from brainssl_utils.errors import CourseError
from brainssl_utils.files import atomic_path

KEYS = ("folder", "table", "classes", "every")


@dataclass(frozen=True)
class Images:
    """Where images lie and how they are read; see `load_corpus` for each.

    Attributes:
        place: "phantoms", "phantoms:N", a folder or a zip.
        table, classes, every: as in `load_corpus`.
    """

    place: str
    table: str | Mapping[str, str] | None = None
    classes: Wanted = None
    every: int = 0

    def __post_init__(self) -> None:
        check_number("every", self.every, at_least=0, at_most=100_000, whole=True)

    @property
    def choices(self) -> dict[str, Any]:
        """All but the place, as `gather` takes it."""
        return {"table": self.table, "classes": self.classes, "every": self.every}


def describe(
    data: str | Path,
    table: str | Path | Mapping[str, str] | None = None,
    classes: Wanted = None,
    every: int = 0,
) -> Images:
    """Read the file `data` if it is one (.toml); what is given beside it counts before what the file says.

    Raises:
        CourseError: the file cannot be read, has an unknown key, names no folder, or holds a value of a wrong kind.
    """
    named = {role: str(name) for role, name in table.items()} if isinstance(table, Mapping) else table and str(table)
    path = Path(data).expanduser()
    if not (path.suffix.lower() == ".toml" and path.is_file()):
        return Images(str(data), named or None, classes, every)
    found = _read(path)
    return Images(
        found.place,
        named or found.table,
        found.classes if classes is None else classes,
        every or found.every,
    )


def write_description(images: Images, path: str | Path) -> None:
    """Write a description that `describe` reads again; the folder and a table outside it by their absolute places.

    Raises:
        CourseError: the name does not end in .toml, or the images are phantoms, which one word describes.
    """
    path = Path(path)
    if path.suffix.lower() != ".toml":
        raise CourseError(f"{path}: a description of images ends in .toml, as in scans.toml.")
    if phantom_files(images.place) is not None:
        raise CourseError(f"data: {images.place} needs no description: give the word itself.")
    table = images.table
    if isinstance(table, str) and Path(table).expanduser().is_file():
        table = str(Path(table).expanduser().resolve())
    values = {"folder": str(Path(images.place).expanduser().resolve()), **images.choices, "table": table}
    lines = [f"{key} = {_toml(value)}" for key, value in values.items() if value is not None and value != 0]
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _toml(value: Any) -> str:
    """A value as TOML: JSON, but for tables."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def _read(path: Path) -> Images:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CourseError(f"data: {path} cannot be read as a description of images: {error}.") from error
    if unknown := [key for key in content if key not in KEYS]:
        raise CourseError(f"data: {path} has the unknown key {', '.join(unknown)}. There are: {', '.join(KEYS)}.")
    if not isinstance(content.get("folder"), str):
        raise CourseError(f'data: {path} names no folder: write folder = "scans", from where the file lies.')
    table, classes = content.get("table"), content.get("classes")
    if not isinstance(table, str | dict | None):
        raise CourseError(f'data: {path}: table is {table!r}: expected a name, or {{ table = "...", file = "..." }}.')
    if isinstance(classes, bool) or not isinstance(classes, dict | list | int | None):
        raise CourseError(f"data: {path}: classes is {classes!r}: expected a table, a list of folders, or a depth.")
    try:
        return Images(str(path.parent / content["folder"]), _beside(path, table), classes, content.get("every", 0))
    except CourseError as error:
        raise CourseError(f"data: {path}: {error}") from error


def _beside(path: Path, table: Any) -> Any:
    """A table that lies beside the description, by its place; any other as it is called among the images."""
    if isinstance(table, dict):
        return {role: _beside(path, name) if role == "table" else str(name) for role, name in table.items()}
    return str(path.parent / table) if table and (path.parent / table).is_file() else table


def classes_word(word: str) -> Wanted:
    """Read the choice of classes as it is typed: "yes=tumor,no=no_tumor", "yes,no", or a depth such as 1 or -1.

    Raises:
        CourseError: it is none of these.
    """
    parts = [part.strip() for part in word.split(",")]
    try:
        return int(word)
    except ValueError:
        pass
    pairs = [part.split("=") for part in parts]
    if all(len(pair) == 2 and pair[0].strip() and pair[1].strip() for pair in pairs):
        return {folder.strip(): name.strip() for folder, name in pairs}
    if all(part and "=" not in part for part in parts):
        return parts
    raise CourseError(
        f"--classes {word}: expected folders and the classes they stand for (yes=tumor,no=no_tumor), folders alone "
        "(yes,no), or a depth (1: the folders at the top, -1: those with the images)."
    )
