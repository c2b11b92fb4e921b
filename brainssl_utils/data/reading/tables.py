"""Labels and patients from a table beside the pictures: CSV, TSV, JSON lines or Parquet.

Which column says what is known by its usual names (`file_name`, `label`, `patient_id`, `split` ...), or by a mapping. A
picture is found by the path in its row (from the table's folder, or from the top), by the end of that path, or by its bare
name with or without ending, where only one picture is called so.
"""

from __future__ import annotations

import io
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from brainssl_utils.data.reading.archives import Entry, Listing, Problem, Unreadable, open_place, read_entry
from brainssl_utils.data.reading.names import fold_name, says_unlabelled
from brainssl_utils.errors import CourseError

MAX_TABLE_BYTES = 64 * 2**20
MAX_TABLE_ROWS = 2_000_000
_ENDINGS = (".csv", ".tsv", ".txt", ".jsonl", ".parquet")
_USUAL = {
    "file": "filename filepath file path imagepath imagefile imagename image img imageid fileid id name",
    "label": "label diagnosis target classname class labelname category tumortype dx",
    "patient": "patient patientid patientname subject subjectid pid participantid",
    "split": "split fold subset partition set",
}
_NOTHING = {"", "nan", "none", "null", "na", "n/a", "?", "-1"}


@dataclass
class Table:
    """What tables tell of single files.

    Attributes:
        rows: for a file the values of `label`, `patient`, `part` (of a split) and `fold`, as far as a table has them.
        labelled: the pictures that a table with labels speaks for; those of them without a row have no class.
    """

    rows: dict[Entry, dict[str, str]] = field(default_factory=dict)
    labelled: set[Entry] = field(default_factory=set)

    def labels(self, entry: Entry) -> bool:
        """Whether a table decides this file's class."""
        return entry in self.labelled


def read_tables(
    listing: Listing, pictures: Sequence[Entry], table: str | Path | Mapping[str, str] | None, problems: list[Problem]
) -> Table:
    """Read the table that the user names, or else every `metadata.csv` (`.jsonl`, `.parquet`) with a column `file_name`.

    Args:
        listing: where the table lies: by its path or its bare name in there, or anywhere on the disk.
        pictures: the files it may speak of.
        table: its name, or {"table": name, "file": column, "label": column, "patient": column, "split": column} with the
            columns that are called otherwise.
        problems: takes rows without a file and files without a row.

    Raises:
        CourseError: there is no such table, it cannot be read, or a column is missing.
    """
    found = Table()
    if table is None:
        for entry in listing.entries:
            if entry.name.lower() in ("metadata.csv", "metadata.jsonl", "metadata.parquet"):
                prefix = entry.unzipped.removesuffix(entry.name)
                below = [picture for picture in pictures if picture.unzipped.startswith(prefix)]
                try:
                    frame = _frame(entry.name, _entry_bytes(listing, entry))
                except Unreadable as error:
                    problems.append(Problem(listing.name, entry.path, f"the table cannot be read: {error}", "skipped"))
                    continue
                if "file_name" in frame:  # as Hugging Face's imagefolder calls it
                    _take(found, frame, _columns(frame, {}, entry.name), below, prefix, entry.name, problems)
        return found
    named = dict(table) if isinstance(table, Mapping) else {"table": str(table)}
    name = str(named.pop("table", ""))
    unknown = set(named) - set(_USUAL)
    if not name or unknown:
        raise CourseError(f"table={table!r}: give the table's name as 'table' and columns as {', '.join(_USUAL)}.")
    data, prefix = _find(listing, name)
    try:
        frame = _frame(name, data)
    except Unreadable as error:
        raise CourseError(f"table: {name} cannot be read: {error}") from error
    _take(found, frame, _columns(frame, named, name), pictures, prefix, name, problems)
    if not found.rows:
        shown = ", ".join(map(repr, frame.iloc[:3, 0].tolist()))
        raise CourseError(f"table: no row of {name} names an image of {listing.root} (first rows: {shown}).")
    return found


def table_name(table: str | Path | Mapping[str, str] | None) -> str:
    """The name of the table that the user gave, "" where none is given."""
    return str(table.get("table", "") if isinstance(table, Mapping) else table or "").replace("\\", "/")


def table_bytes(table: str | Path | Mapping[str, str] | None) -> bytes:
    """The content of a table given by its place on the disk, so that a cache can tell it has changed; b"" for others."""
    name = table_name(table)
    path = Path(name).expanduser()
    return path.read_bytes() if name and path.is_file() and path.stat().st_size <= MAX_TABLE_BYTES else b""


def _find(listing: Listing, name: str) -> tuple[bytes, str]:
    """The table's bytes, and the path that its rows count from."""
    wanted = name.replace("\\", "/").removeprefix("./")
    found = [e for e in listing.entries if wanted in (e.unzipped, e.path)] or [
        e for e in listing.entries if e.name == wanted
    ]
    if len(found) > 1:
        shown = ", ".join(entry.shown for entry in found[:5])
        raise CourseError(f"table: {name} is there more than once: {shown}. Give its path.")
    if found:
        try:
            return _entry_bytes(listing, found[0]), found[0].unzipped.removesuffix(found[0].name)
        except Unreadable as error:
            raise CourseError(f"table: {name} cannot be read: {error}") from error
    path = Path(name).expanduser()
    if not path.is_file():
        there = [entry.shown for entry in listing.entries if entry.name.lower().endswith(_ENDINGS)]
        shown = f"Tables there: {', '.join(there[:5])}." if there else "No table lies there."
        raise CourseError(f"table: there is no {name} in {listing.root}. {shown}")
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise CourseError(f"table: {name} is larger than the {MAX_TABLE_BYTES / 2**20:.0f} MB that are read.")
    return path.read_bytes(), ""


def _entry_bytes(listing: Listing, entry: Entry) -> bytes:
    with open_place(listing.root, entry.place) as opened:
        return read_entry(opened, entry, MAX_TABLE_BYTES)


def _frame(name: str, data: bytes) -> pd.DataFrame:
    """The table as text, empty where nothing is said.

    Raises:
        Unreadable: it is no such table.
    """
    try:
        if name.lower().endswith(".parquet"):
            import pyarrow.parquet as pq

            file = pq.ParquetFile(io.BytesIO(data))
            if file.metadata.num_rows > MAX_TABLE_ROWS:
                raise Unreadable(f"{file.metadata.num_rows:,} rows, more than the {MAX_TABLE_ROWS:,} that are read")
            usual = {word for words in _USUAL.values() for word in words.split()}
            # Other columns may hold whole pictures.
            wanted = [c for c in file.schema_arrow.names if fold_name(c) in usual and fold_name(c) != "image"]
            frame = file.read(columns=wanted or None).to_pandas()
        elif name.lower().endswith((".jsonl", ".json")):
            frame = pd.DataFrame([json.loads(line) for line in _text(data).splitlines() if line.strip()])
        else:
            text = _text(data)
            first = text.partition("\n")[0]
            separator = max(",;\t|", key=first.count)
            frame = pd.read_csv(io.StringIO(text), sep=separator, dtype=str, keep_default_na=False)
    except Unreadable:
        raise
    except Exception as error:  # pandas, pyarrow and json raise nearly anything on a damaged file
        raise Unreadable(f"not a table: {error}") from error
    frame.columns = [str(column).strip().strip("\ufeff") for column in frame.columns]
    return frame.map(lambda value: "" if value is None or value != value else str(value).strip())


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def _columns(frame: pd.DataFrame, named: Mapping[str, str], name: str) -> dict[str, str]:
    """Which column says what: as named, else by its usual names."""
    there = {fold_name(column): column for column in reversed(list(frame.columns))}
    columns = {}
    for role, usual in _USUAL.items():
        if role in named:
            if named[role] not in frame:
                raise CourseError(
                    f"table: {name} has no column '{named[role]}'. Its columns: {', '.join(map(str, frame))}."
                )
            columns[role] = named[role]
        else:
            taken = set(columns.values()) | set(named.values())
            fitting = [there[word] for word in usual.split() if word in there and there[word] not in taken]
            if fitting:
                columns[role] = fitting[0]
    if "file" not in columns:
        raise CourseError(
            f"table: {name} has no column of file names (columns: {', '.join(map(str, frame))}). Say which it is: "
            f'table={{"table": "{name}", "file": "..."}}.'
        )
    return columns


def _take(
    found: Table,
    frame: pd.DataFrame,
    columns: Mapping[str, str],
    pictures: Sequence[Entry],
    prefix: str,
    name: str,
    problems: list[Problem],
) -> None:
    """Add what a table tells of the pictures, and say what fits nothing."""
    lookup = _Lookup(pictures, prefix)
    labels = _labels(frame[columns["label"]]) if "label" in columns else None
    nowhere: list[str] = []
    met: set[Entry] = set()
    for position, file in enumerate(frame[columns["file"]]):
        entry = lookup.find(file)
        if entry is None:
            nowhere.append(file)
            continue
        told = {} if labels is None else {"label": labels[position]}
        if "patient" in columns:
            told["patient"] = _number(frame[columns["patient"]].iloc[position])
        if "split" in columns:
            part = _number(frame[columns["split"]].iloc[position])
            told["fold" if re.fullmatch(r"\d{1,4}", part) else "part"] = part
        if entry in met and found.rows[entry] != told:
            problems.append(Problem(name, entry.path, "a second row says something else; the last one counts", "note"))
        found.rows[entry] = told
        met.add(entry)
    if labels is not None:
        found.labelled |= set(pictures)
        for entry in pictures:
            found.rows.setdefault(entry, {"label": ""}).setdefault("label", "")
    if nowhere:
        reason = f"{len(nowhere)} rows name no image that is there: {', '.join(nowhere[:3])}"
        problems.append(Problem(name, "", reason + (", ..." if len(nowhere) > 3 else ""), "skipped"))
    if len(met) < len(pictures):
        without = "; they have no class" if labels is not None else ""
        problems.append(Problem(name, "", f"{len(pictures) - len(met)} images have no row{without}", "note"))


class _Lookup:
    """Finds the picture that a row of a table names."""

    def __init__(self, pictures: Iterable[Entry], prefix: str) -> None:
        self.prefix = _plain(prefix)
        self.paths = {}
        self.names = defaultdict(list)
        self.stems = defaultdict(list)
        for entry in pictures:
            path = _plain(entry.unzipped)
            name = path.rpartition("/")[2]
            self.paths[path] = entry
            self.names[name].append((path, entry))
            self.stems[_stem(name)].append((path, entry))

    def find(self, value: str) -> Entry | None:
        """The one picture that `value` names, None if there is none or more than one."""
        path = _plain(value).removeprefix("./")
        if not path:
            return None
        for whole in (self.prefix + path, path):
            if whole in self.paths:
                return self.paths[whole]
        name = path.rpartition("/")[2]
        same = self.names.get(name) or self.stems.get(name) or self.stems.get(_stem(name)) or []
        ending = [entry for there, entry in same if f"/{there}".endswith(f"/{path}")]
        if len(ending) == 1:
            return ending[0]
        return same[0][1] if len(same) == 1 else None


def _plain(path: str) -> str:
    return unicodedata.normalize("NFC", path.strip().replace("\\", "/")).casefold()


def _stem(name: str) -> str:
    return re.sub(r"(\.nii)?\.[a-z0-9]{1,5}$", "", name)


def _labels(values: Iterable[str]) -> list[str]:
    """Class names of a column; whole numbers lose their ".0", and what means nothing is ""."""
    return ["" if v.casefold() in _NOTHING or says_unlabelled(v) else v for v in map(_number, values)]


def _number(value: str) -> str:
    return re.sub(r"^(-?\d+)\.0+$", r"\1", value)
