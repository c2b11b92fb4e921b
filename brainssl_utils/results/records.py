"""One JSON a trained model, and the tables made from them: results are read from records, never retrained.

Accuracies in records and in `records_table` and `summarise` are shares in 0..1; `table2` is in %, as published.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from brainssl_utils.errors import CourseError
from brainssl_utils.files import write_json
from brainssl_utils.intervals import interval_over_seeds
from brainssl_utils.methods import METHODS, method_title
from brainssl_utils.results.fitted import fitted
from brainssl_utils.results.published import PUBLISHED

SCHEMA_VERSION = 2
"""1: keys counted threads and source files, names left out corpus and labels, no predictions. Still read."""
FIELDS: dict[str, type] = {
    "method": str, "protocol": str, "split": str, "profile": str, "seed": int,
    "data": dict, "config": dict, "history": list, "test": dict,
}  # fmt: skip
"""What every record must hold, and its type; the other fields are optional."""

METRICS = ("c_acc", "r_acc", "p_acc", "val_p_acc")
COLUMNS = (
    "method", "tag", "protocol", "split", "profile", "seed", "data", "synthetic", "labels", *METRICS, "fitted",
    "accuracy", "lo", "hi", "linear", "knn", "balanced_accuracy", "macro_f1", "n", "views_per_second", "seconds",
)  # fmt: skip
WHAT_A_SEED_REPEATS = ("method", "tag", "protocol", "split", "profile", "data", "labels")


class NoRecordError(CourseError):
    """A file is damaged, or is no record of this course."""


def write_record(record: dict[str, Any], path: str | Path) -> Path:
    """Write one record as JSON, whole or not at all; return its path.

    Arrays and numpy or torch scalars become plain numbers; NaN and infinity, which JSON has no word for, become null.
    `schema` is filled in.

    Raises:
        CourseError: a required field is missing, something in it cannot be written, or the folder is not writable.
    """
    content = {"schema": SCHEMA_VERSION} | {field: value for field, value in record.items() if field != "schema"}
    content = _plain(content, "record")
    wrong = [f"{name} ({kind.__name__})" for name, kind in FIELDS.items() if not isinstance(content.get(name), kind)]
    if wrong:
        raise CourseError(f"a record needs {', '.join(wrong)}; nothing was written.")
    return write_json(path, content)


def read_record(path: str | Path) -> dict[str, Any]:
    """Read one record file; errors as in `read_records`."""
    path = Path(path)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CourseError(f"{path} cannot be read ({error.strerror or error}).") from error
    except ValueError as error:  # no text, or no JSON
        raise NoRecordError(f"{path} is no record of this course, or a damaged one ({error}).") from error
    if not isinstance(record, dict) or "schema" not in record:
        raise NoRecordError(f"{path} is not a record of this course.")
    if record["schema"] not in (1, SCHEMA_VERSION):
        raise CourseError(
            f"{path} has record schema {record['schema']}, this version of the course reads 1 and {SCHEMA_VERSION}. "
            "Train that model again, or use the version that wrote it."
        )
    wrong = [field for field in FIELDS if not isinstance(record.get(field), FIELDS[field])]
    if wrong:
        raise NoRecordError(
            f"{path} is no record of this course, or a damaged one (missing or unreadable: {', '.join(wrong)})."
        )
    return record


def read_records(
    source: str | Path | Iterable[str | Path], skip: Callable[[str], object] | None = None
) -> list[dict[str, Any]]:
    """Read records.

    Args:
        source: a record file, a run's folder (its `records` folder is read), a folder of records, or several of these.
        skip: told of each file that is no record and each folder that holds none, which are passed over then. By
            default they are errors.

    Returns:
        the records, by file name within each source; the same file named twice is read once, and a folder's record
        from an earlier version of the course is passed over where one of today's tells of the same training.

    Raises:
        CourseError: a source does not exist or holds no record; a file is damaged, is not a record, or has another
            schema version. The message names the file.
    """
    sources = [source] if isinstance(source, (str, Path)) else list(source)
    paths: dict[Path, Path] = {}
    for item in map(Path, sources):
        for path in _record_files(item, skip):
            paths.setdefault(path.resolve(), path)
    if not sources:
        raise CourseError("read_records: no file or folder was given.")
    found = []
    for path in paths.values():
        try:
            found.append(read_record(path))
        except CourseError as error:
            if skip is None:
                raise
            skip(f"{error} It was passed over.")
    if not found:
        raise CourseError(f"no record in {', '.join(map(str, sources))}. Give a run's folder, such as runs/NAME.")
    return _current(found)


def _current(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without those of an older schema that one of today's stands for: counted twice, they would tighten an interval."""

    def training(record: dict[str, Any]) -> tuple[Any, ...]:
        about = [record.get(name) for name in ("method", "tag", "protocol", "split", "profile", "seed")]
        return (*about, _reach(record, "data.name"), _labels(record))

    today = {training(record) for record in records if record["schema"] == SCHEMA_VERSION}
    return [record for record in records if record["schema"] == SCHEMA_VERSION or training(record) not in today]


def select(
    records: Sequence[dict[str, Any]], method: str, protocol: str, split: str, tag: str = ""
) -> list[dict[str, Any]]:
    """Return the records of one training, one a seed, by seed.

    Args:
        records: from `read_records`.
        method, protocol, split, tag: must all agree; tag "" means the protocol's own settings.

    Raises:
        CourseError: there is none; the message names the notebook that makes it.
    """
    found = _of_training(records, method, protocol, split, tag)
    if not found:
        described = ", ".join(part for part in (method, tag, protocol, f"split {split}") if part)
        maker = f"notebook {METHODS[method].made_by(protocol)}" if method in METHODS else "what trains it"
        raise CourseError(f"no record of {described}. Run {maker} first, with the same run_dir.")
    return found


def find(
    records: Sequence[dict[str, Any]], method: str, protocol: str, split: str, tag: str = "", seed: int = 0
) -> dict[str, Any] | None:
    """Return the record of one training with one seed, or None where there is none; arguments as in `select`."""
    of_training = _of_training(records, method, protocol, split, tag)
    return next((record for record in of_training if record["seed"] == seed), None)


def _of_training(
    records: Sequence[dict[str, Any]], method: str, protocol: str, split: str, tag: str
) -> list[dict[str, Any]]:
    wanted = (method, protocol, split, tag)
    found = [r for r in records if (r["method"], r["protocol"], r["split"], r.get("tag") or "") == wanted]
    return sorted(found, key=lambda record: record["seed"])


def records_table(records: Sequence[dict[str, Any]], columns: Sequence[str] | None = None) -> pd.DataFrame:
    """One row a record.

    Args:
        records: from `read_records`.
        columns: which, in order; default `COLUMNS`. A dotted name reaches into the record, as in "config.temperature".

    Returns:
        DataFrame. c_acc, r_acc, p_acc and val_p_acc are the last epoch's; accuracy, lo, hi (95 % Wilson), balanced
        accuracy and macro F1 are the classifier's on the test images, linear and knn the accuracies there of probes of
        the frozen features; all are shares in 0..1. labels counts the labelled training images; fitted says "yes" or
        "no" of the classifier, by `fitted.has_fitted`.

    Raises:
        CourseError: a column that no record has.
    """
    columns = list(columns or COLUMNS)
    rows = [_row(record) for record in records]
    for column in columns:
        if column in COLUMNS:
            continue
        for row, record in zip(rows, records):
            row[column] = _reach(record, column)
        if all(row[column] is None for row in rows):
            raise CourseError(f"no record has '{column}'. Columns: {', '.join(COLUMNS)}, or a path like config.NAME.")
    return pd.DataFrame(rows, columns=columns)


def summarise(
    records: Sequence[dict[str, Any]],
    by: Sequence[str] = WHAT_A_SEED_REPEATS,
    values: Sequence[str] = ("accuracy", "linear", "knn", "balanced_accuracy", "macro_f1", *METRICS),
) -> pd.DataFrame:
    """Mean over seeds with 95 % t intervals.

    Args:
        records: from `read_records`.
        by: columns that tell apart what is not to be averaged, as in `records_table`.
        values: columns to average.

    Returns:
        one row a combination of `by`: seeds, whether their classifiers have fitted (`fitted.fitted`), then for each value
        its mean and `_lo`, `_hi` (NaN for fewer than three seeds, see `intervals.interval_over_seeds`).

    Raises:
        CourseError: a seed occurs twice in one row, which would count it double.
    """
    wanted = dict.fromkeys([*by, "seed", *values])
    table = records_table(records, list(wanted))
    rows = []
    for key, part in table.groupby(list(by), sort=False, dropna=False):
        names = dict(zip(by, key))
        twice = part["seed"][part["seed"].duplicated()]
        if len(twice):
            raise CourseError(
                f"seed {twice.iloc[0]} occurs more than once for {names}: leave out the copies, or add to `by` what "
                "differs between them."
            )
        row: dict[str, Any] = {**names, "seeds": len(part), "fitted": fitted([records[place] for place in part.index])}
        for value in values:
            numbers = pd.to_numeric(part[value]).dropna()
            share = bool(numbers.between(0, 1).all())
            found = interval_over_seeds(numbers, share) if len(numbers) else [math.nan] * 3
            row[value], row[f"{value}_lo"], row[f"{value}_hi"] = found
        rows.append(row)
    return pd.DataFrame(
        rows, columns=[*by, "seeds", "fitted", *(f"{v}{end}" for v in values for end in ("", "_lo", "_hi"))]
    )


def table2(records: Sequence[dict[str, Any]], split: str = "as published", protocol: str = "published") -> pd.DataFrame:
    """The study's Table 2 beside ours, in %: one row a method, mean over the seeds there are.

    Records of synthetic images never stand beside the published figures: from them the table has our columns alone,
    named "ours (synthetic)".

    Args:
        records: from `read_records`; those of other splits and protocols, and tagged ones, are passed over.
        split, protocol: which of ours to show.

    Returns:
        DataFrame with column pairs (c_acc | p_acc | r_acc | val_p_acc, "published" | "ours"), ("ours", "epochs"), how
        many our trainings had ("-" where no record tells; "3 to 10" where they differ), ("ours", "seeds") and ("ours",
        "fitted"), whether the classifiers have fitted ("-" without one of ours); methods in the published order, then
        those the study has not. `attrs["source"]` names the published source.

    Raises:
        CourseError: no such record, or records of more than one corpus, profile or number of labels.
    """
    # A tag marks a training with other settings than its protocol's: it has no row in the study.
    plain = [record for record in records if not record.get("tag")]
    chosen = [record for record in plain if record["split"] == split and record["protocol"] == protocol]
    if not chosen:
        there = sorted({f"'{record['split']}' with '{record['protocol']}'" for record in records})
        raise CourseError(
            f"no record of split '{split}', protocol '{protocol}'. There are: {', '.join(there) or 'none'}."
        )
    for what in ("data.fingerprint", "data.name", "profile"):
        kinds = {str(_reach(record, what)) for record in chosen}
        if len(kinds) > 1:
            raise CourseError(f"table2: records differ in {what} ({', '.join(sorted(kinds))}). Pass one kind of them.")
    means = summarise(chosen, values=METRICS).set_index("method")
    if means.index.has_duplicates:
        raise CourseError("table2: records of one method differ in their number of labels. Pass one kind of them.")
    synthetic = bool(_reach(chosen[0], "data.synthetic"))
    ours, methods = "ours (synthetic)" if synthetic else "ours", list(means.index)
    known = list(PUBLISHED.index)
    order = [m for m in known if m in methods or not synthetic] + sorted(m for m in methods if m not in known)
    columns = {}
    for metric in PUBLISHED.columns:
        if not synthetic:
            columns[metric, "published"] = PUBLISHED[metric].reindex(order)
        columns[metric, ours] = 100 * means[metric].reindex(order)
    columns["ours", "epochs"] = pd.Series({method: _epochs(chosen, method) for method in order})
    columns["ours", "seeds"] = means["seeds"].reindex(order).fillna(0).astype(int)
    columns["ours", "fitted"] = means["fitted"].reindex(order).fillna("-")
    table = pd.DataFrame(columns)
    table.index.name = "method"
    table.attrs |= {"synthetic": synthetic, "source": None if synthetic else PUBLISHED.attrs["source"]}
    return table


def _epochs(records: Sequence[dict[str, Any]], method: str) -> str:
    """How long a method's trainings were: "10", or "3 to 10"."""
    mine = [record for record in records if method_title(record["method"], record.get("title")) == method]
    told = sorted({_reach(record, "sizes.epochs") for record in mine} - {None})
    return " to ".join(str(epochs) for epochs in dict.fromkeys((told[0], told[-1]))) if told else "-"


def _record_files(source: Path, skip: Callable[[str], object] | None) -> list[Path]:
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise CourseError(f"no record or folder at {source}. Give a run's folder, such as runs/NAME.")
    folder = source / "records" if (source / "records").is_dir() else source
    files = sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))
    if not files and skip is None:
        raise CourseError(f"no records in {folder}. Train a method first (notebooks 02 to 07, or brainssl train).")
    if not files and skip is not None:
        skip(f"no records in {folder}.")
    return files


def _row(record: dict[str, Any]) -> dict[str, Any]:
    data, test = record["data"], record["test"]
    last = record["history"][-1] if record["history"] else {}
    low, high = test.get("ci95") or (None, None)
    return {
        "method": method_title(record["method"], record.get("title")),
        "tag": record.get("tag") or "",
        **{name: record[name] for name in ("protocol", "split", "profile", "seed")},
        "data": data.get("name"),
        "synthetic": bool(data.get("synthetic")),
        "labels": _labels(record),
        **{name: last.get(name) for name in METRICS},
        "fitted": fitted([record]),
        "lo": low,
        "hi": high,
        **{name: test.get(name) for name in ("accuracy", "balanced_accuracy", "macro_f1", "n")},
        **{kind: _reach(record, f"evaluations.{kind}.accuracy") for kind in ("linear", "knn")},
        "views_per_second": _reach(record, "throughput.views_per_second"),
        "seconds": record.get("seconds"),
    }


def _labels(record: dict[str, Any]) -> int | None:
    """Labelled images the method learned from: a number, or numbers by class."""
    counts = _reach(record, "data.counts.labelled")
    return sum(counts.values()) if isinstance(counts, dict) else counts


def _reach(record: dict[str, Any], path: str) -> Any:
    value: Any = record
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _plain(value: Any, place: str) -> Any:
    """`value` as JSON knows it, with None for numbers it has no word for."""
    if isinstance(value, dict):
        return {str(key): _plain(item, f"{place}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{place}[{number}]") for number, item in enumerate(value)]
    if hasattr(value, "tolist"):  # numpy and torch, arrays and scalars, without importing either
        return _plain(value.tolist(), place)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int)):
        return value
    raise CourseError(f"{place} is a {type(value).__name__}, which a record cannot hold; use numbers, text and lists.")
