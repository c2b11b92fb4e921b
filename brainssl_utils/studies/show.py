"""A study's tables, from what lies in its folder: one row a training, means over seeds with 95 % t intervals.

Numbers in tables and CSV files are shares in 0..1; what is printed and the Markdown are in %, as published.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from brainssl_utils.errors import CourseError
from brainssl_utils.files import atomic_path
from brainssl_utils.intervals import LEAST_SEEDS, interval_over_seeds
from brainssl_utils.methods import make_method, method_title
from brainssl_utils.methods.base import LATER, plain
from brainssl_utils.results.published import PUBLISHED, PUBLISHED_SECOND
from brainssl_utils.results.records import read_records, summarise
from brainssl_utils.studies import distances, pairs
from brainssl_utils.studies.plan import FINE_TUNE, Baseline, Reading, Recipe, Study, read_study
from brainssl_utils.studies.tasks import settings_digest, tuning_for
from brainssl_utils.training.reference import FOLDER

VALUES = {
    "c_acc": "c_acc",
    "p_acc": "p_acc",
    "r_acc": "r_acc",
    "val_p_acc": "val_p_acc",
    "test accuracy": "accuracy",
    "linear probe": "evaluations.linear.accuracy",
    "kNN": "evaluations.knn.accuracy",
}
"""Columns of the table of trainings, and where records have them."""
BESIDE = "Beside the study's figures: in %, and points from them; after the last epoch unless said otherwise"
SCRATCH = "from scratch"
ROW = ["model", "kind"]
COLUMN = ["split", "labels"]

Record = dict[str, Any]


@dataclass(frozen=True)
class Tables:
    """What a study has found so far.

    Attributes:
        study: whose tables they are.
        trainings: one row a recipe, before it the study's figures where it has some.
        readings: one row a reading with few labels; empty where there is none.
        distances: of trainings as published from the study's figures; empty where there are none, or of synthetic images.
        pairs: trainings compared by pairs, as the study asks for; empty where there is nothing to pair yet.
        synthetic: whether the images are.
    """

    study: Study
    trainings: pd.DataFrame
    readings: pd.DataFrame
    distances: pd.DataFrame
    pairs: pd.DataFrame
    synthetic: bool

    def printed(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """Titles and tables as a person reads them."""
        note = " (synthetic images)" if self.synthetic else ""
        seeds = f"mean over seeds [95 % t interval, from {LEAST_SEEDS} seeds on]"
        yield f"{self.study.title}{note}: in %, {seeds}; minutes of one training", printed_trainings(self.trainings)
        if len(self.distances):
            yield BESIDE, distances.printed(self.distances)
        if len(self.pairs):
            yield (
                f"By pairs, on the same test images{note}: points [95 % bootstrap interval]",
                pairs.printed(self.pairs),
            )
        if len(self.readings):
            over = "over seeds, of each seed its mean over draws; over draws where there is one seed"
            read = few_labels(self.readings)
            shown = read if self.synthetic else beside_the_projects(read)
            yield f"Few labels{note}: test accuracy in %, mean [95 % t interval] {over}", shown
            gains = gained(self.readings)
            if len(gains):
                yield (
                    f"The same labels{note}: points above {SCRATCH} when fine-tuned, likewise",
                    few_labels(gains, share=False),
                )

    def missing(self) -> str:
        """A sentence on the trainings that are not recorded, and how to make them; empty where none is missing."""
        done, planned = int(self.trainings["seeds"].sum()), int(self.trainings["planned"].sum())
        if done == planned:
            return ""
        return (
            f"{done} of {planned} trainings are recorded. `brainssl study run {self.study.path.stem} --out DIR` trains what is "
            "missing there; nothing that is finished is done again."
        )

    def text(self, markdown: bool = False) -> str:
        """All tables, as lines of text or as Markdown, and what is missing."""
        parts = []
        for title, table in self.printed():
            parts.append(
                f"**{title}**\n\n{as_markdown(table)}" if markdown else f"{title}\n{table.to_string(index=False)}"
            )
        return "\n\n".join(filter(None, (*parts, self.missing())))


def study_tables(study: Study, out: str | Path, records: str | Path | None = None) -> Tables:
    """Gather a study's results.

    Args:
        study: from `read_study`.
        out: the study's folder. Of what travels with the course, there may be nothing yet.
        records: a folder of records to read instead of the one in `out`.

    Raises:
        CourseError: there are no records in a folder of your own, or those of this study's trainings are of more than one
            corpus.
    """
    none_yet = records is None and Path(out).parent == FOLDER and not (Path(out) / "records").is_dir()
    found = by_recipe(study, [] if none_yet else read_records(records or out))
    used = [record for several in found for record in several]
    names = {record["data"]["fingerprint"]: record["data"]["name"] for record in used}
    if len(names) > 1:
        raise CourseError(
            f"records of different images ({', '.join(sorted(names.values()))}) are mixed in {records or out}: keep the "
            "studies of each in a folder of their own."
        )
    synthetic = any(record["data"].get("synthetic") for record in used) or (
        not used and study.data.startswith("phantoms")
    )
    readings = _readings(study, Path(out), {record.get("key") for record in used}, set(names))
    apart = pd.DataFrame() if synthetic or not used else distances.distances(study, found)
    return Tables(
        study, _trainings(study, found, bare=synthetic), readings, apart, pairs.pairs(study, found), synthetic
    )


def shipped_distances(name: str = "readings", folder: str | Path | None = None) -> pd.DataFrame:
    """Return how far a committed study's trainings are from the study's figures, by the records that travel with the course.

    Args:
        name: of a file in `studies/`, or a path.
        folder: where the records lie; the checkout's `results/reference/archives` by default.

    Returns:
        the table as a person reads it (see `distances.printed`); what has no record there is "not trained yet".

    Raises:
        CourseError: there is no such study, or a record is damaged.
    """
    study = read_study(name)
    place = Path(folder) if folder else FOLDER / "archives"
    shipped = read_records(place) if any(place.rglob("*.json")) else []
    # Synthetic images never stand beside the published figures.
    real = [record for record in shipped if not record["data"].get("synthetic")]
    return distances.printed(distances.distances(study, by_recipe(study, real)))


def by_recipe(study: Study, records: Sequence[Record]) -> list[list[Record]]:
    """The records of each recipe. Sizes are told by the profile's name; settings must be those of the file."""
    settings = [_settings(recipe) for recipe in study.recipes]
    return [
        [record for record in records if record["seed"] in study.seeds and _is_of(record, recipe, wanted)]
        for recipe, wanted in zip(study.recipes, settings)
    ]


def _settings(recipe: Recipe) -> Record:
    """What a record of this recipe has as its method's settings; the number of classes is the images'."""
    made = make_method(recipe.method, recipe.protocol, recipe.profile.image_size, **recipe.changes)
    return {name: value for name, value in plain(made.config).items() if name != "n_classes"}


def _is_of(record: Record, recipe: Recipe, settings: Record) -> bool:
    """Whether a record is of this recipe: by its names and its settings, which may have been others in an earlier version."""
    named = (record["method"], record["protocol"], record["split"], record.get("tag") or "", record["profile"])
    wanted = (recipe.method, recipe.protocol, recipe.split, recipe.tag, recipe.profile.name)
    return named == wanted and settings == {name: record["config"].get(name, LATER.get(name)) for name in settings}


def _trainings(study: Study, found: Sequence[Sequence[Record]], bare: bool) -> pd.DataFrame:
    """One row a recipe; `bare` leaves the published figures out."""
    rows: list[dict[str, Any]] = []
    told: set[str] = set()
    for recipe, records in zip(study.recipes, found):
        title = method_title(recipe.method)
        about = {"method": title, "tag": recipe.tag, "protocol": recipe.protocol, "split": recipe.split}
        if recipe.protocol == "published" and title in PUBLISHED.index and title not in told and not bare:
            told.add(title)
            figures = {name: PUBLISHED[name][title] / 100 for name in PUBLISHED.columns}
            rows.append({"method": title, "tag": "the study's figures", **figures})
        rows.append({**about, "seeds": len(records), "planned": len(study.seeds), **_means(records)})
    columns = [*VALUES, *(f"{name}_{end}" for name in VALUES for end in ("lo", "hi"))]
    first = ["method", "tag", "protocol", "split", "seeds", "planned"]
    return pd.DataFrame(rows).reindex(columns=[*first, *columns, "minutes", "fitted"])


def _means(records: Sequence[Record]) -> dict[str, Any]:
    """Means of a recipe's records and their intervals, by the names in `VALUES`; minutes; whether the classifiers fit."""
    if not records:
        return {}
    there = {name: place for name, place in VALUES.items() if any(_reach(record, place) for record in records)}
    row = summarise(records, by=("method",), values=list(there.values())).iloc[0]
    means: dict[str, Any] = {
        f"{name}{end}": row[f"{place}{end}"] for name, place in there.items() for end in ("", "_lo", "_hi")
    }
    seconds = [sum(float(epoch["seconds"] or 0) for epoch in record["history"]) for record in records]
    return means | {"minutes": sum(seconds) / len(seconds) / 60, "fitted": row["fitted"]}


def _reach(record: Record, place: str) -> bool:
    """Whether a record has a value; only the probes may be missing."""
    value: Any = record
    for name in place.split(".") if "." in place else ():
        value = value.get(name) if isinstance(value, dict) else None
    return value is not None


def printed_trainings(table: pd.DataFrame) -> pd.DataFrame:
    """`Tables.trainings` as a person reads it: text in every cell, shares in %."""
    shown = table[["method", "tag", "protocol", "split"]].fillna("")
    known = table["seeds"].notna()
    shown["seeds"] = [f"{a:.0f} of {b:.0f}" if ok else "" for a, b, ok in zip(table["seeds"], table["planned"], known)]
    for name in VALUES:
        parts = zip(table[name], table[f"{name}_lo"], table[f"{name}_hi"])
        # The study gives two decimals; of ours, with their intervals, one says enough.
        shown[name] = [_percent(*part, digits=1 if ours else 2) for part, ours in zip(parts, known)]
    shown["minutes"] = [f"{value:.1f}" if pd.notna(value) else "" for value in table["minutes"]]
    shown["fitted"] = table["fitted"].fillna("")
    return shown


def _percent(mean: float, low: float, high: float, digits: int = 1) -> str:
    if pd.isna(mean):
        return "-"
    interval = "" if pd.isna(low) else f" [{100 * low:.{digits}f}, {100 * high:.{digits}f}]"
    return f"{100 * mean:.{digits}f}{interval}"


# Few labels -----------------------------------------------------------------------------------------------------------


def _readings(study: Study, out: Path, keys: set[Any], fingerprints: set[str]) -> pd.DataFrame:
    """The readings in a study's folder that are of its trainings and settings, in the file's order; stale ones stay out."""
    files = sorted((out / "readings").glob("*.csv"))
    if not study.readings or not files:
        return pd.DataFrame()
    text = dict.fromkeys(("tag", "protocol", "settings", "training", "key"), str)
    made = pd.concat([pd.read_csv(path, dtype=text, keep_default_na=False) for path in files], ignore_index=True)
    made = made[made["seed"].isin(study.seeds) & made["fingerprint"].isin(fingerprints)]
    made = made[made["training"].isin(keys) | (made["protocol"] == "")]
    parts = [made[_of_reading(made, study, reading)] for reading in study.readings]
    order = {(_names(subject), subject.split): place for place, subject in enumerate(study.subjects)}
    every = pd.concat(parts).drop_duplicates("key")
    place = [order[row[:3], row[3]] for row in zip(*(every[name] for name in ("method", "tag", "protocol", "split")))]
    return every.assign(place=place).sort_values(["place", "kind", "labels", "seed", "draw"]).drop(columns="place")


def _names(subject: Recipe | Baseline) -> tuple[str, str, str]:
    """Method, tag and protocol, as readings have them."""
    return (subject.method, subject.tag, subject.protocol) if isinstance(subject, Recipe) else (subject.name, "", "")


def _of_reading(made: pd.DataFrame, study: Study, reading: Reading) -> pd.Series:
    """Which rows one [[reading]] of the file has made."""
    wanted = set()
    for subject in study.subjects:
        names = _names(subject)
        for kind in reading.kinds_for(subject):
            settings = settings_digest(tuning_for(subject, kind, reading))
            wanted.add((*names, subject.split, subject.profile.name, kind, settings))
    columns = ["method", "tag", "protocol", "split", "profile", "kind", "settings"]
    if made.empty:
        return made["key"] == ""
    dealt = [
        draw < reading.draws_of(labels, seed, study.seeds)
        for labels, seed, draw in zip(made["labels"], made["seed"], made["draw"])
    ]
    return made[columns].apply(tuple, axis=1).isin(wanted) & pd.Series(dealt, index=made.index)


def few_labels(readings: pd.DataFrame, share: bool = True) -> pd.DataFrame:
    """Mean accuracy and its interval, in %: one row a model and kind of reading, one column a split and number of labels.

    Draws of one seed share its split and its encoder: an interval is over the seeds' means, from three on, and over draws
    only where there is one seed. `share` is False of differences, which may be negative.
    """
    cells = {
        (*key, f"{split}, {labels} labels"): _spread(part, share)
        for (*key, split, labels), part in readings.groupby([*ROW, *COLUMN], sort=False)
    }
    wide = pd.Series(cells).unstack(sort=False)
    order = {f"{split}, {labels} labels": None for split, labels in sorted(set(zip(*(readings[c] for c in COLUMN))))}
    return wide[list(order)].fillna("-").rename_axis(index=ROW).reset_index()


def beside_the_projects(table: pd.DataFrame) -> pd.DataFrame:
    """`few_labels` with the second project's figures of the methods in it first, under its own split and number of labels."""
    read = {model.split(",")[0] for model in table["model"]}
    rows = []
    for method, figure in PUBLISHED_SECOND.iterrows():
        column = f"second project, {figure['labels']:.0f} labels"
        if method in read and column in table:
            own = {"model": f"{method}, the project's figure", "kind": FINE_TUNE, column: f"{figure['accuracy']:.2f}"}
            rows.append(own)
    if not rows:
        return table
    return pd.concat([pd.DataFrame(rows), table], ignore_index=True)[list(table.columns)].fillna("-")


def gained(readings: pd.DataFrame) -> pd.DataFrame:
    """Fine-tuned encoders' accuracy less that of the network from scratch on the same split, labels and draw."""
    same = [*COLUMN, "seed", "draw"]
    tuned = readings[readings["kind"] == FINE_TUNE]
    scratch = tuned[tuned["method"] == SCRATCH].set_index(same)["accuracy"].rename("scratch")
    both = tuned[tuned["method"] != SCRATCH].join(scratch, on=same, how="inner")
    return both.assign(accuracy=both["accuracy"] - both["scratch"])


def _spread(part: pd.DataFrame, share: bool) -> str:
    by_seed = part.groupby("seed")["accuracy"].mean()
    return _percent(*interval_over_seeds(by_seed if len(by_seed) > 1 else part["accuracy"], share))


# Files ----------------------------------------------------------------------------------------------------------------


def write_tables(tables: Tables, csv: Path | None, markdown: Path | None, figures: Path | None) -> list[Path]:
    """Write what is asked for, and return the files: CSV (beside it NAME_few_labels, _distances, _pairs), Markdown, PNG."""
    written = []
    if csv is not None:
        beside = {"_few_labels": tables.readings, "_distances": tables.distances, "_pairs": tables.pairs}
        for ending, table in {"": tables.trainings, **beside}.items():
            path = csv.with_name(f"{csv.stem}{ending}{csv.suffix}")
            if len(table):
                with atomic_path(path) as temporary:
                    table.to_csv(temporary, index=False)
                written.append(path)
    if markdown is not None:
        with atomic_path(markdown) as temporary:
            temporary.write_text(tables.text(markdown=True) + "\n", encoding="utf-8")
        written.append(markdown)
    return written + (_write_figures(tables, figures) if figures is not None else [])


def _write_figures(tables: Tables, folder: Path) -> list[Path]:
    """Test accuracies with their intervals, a figure a split; accuracy against labels, a figure a split."""
    from brainssl_utils import plots

    note = ", synthetic images" if tables.synthetic else ""
    drawn = {}
    ours = tables.trainings[tables.trainings["seeds"] > 0]
    for split, part in ours.groupby("split", sort=False):
        names = [", ".join(filter(None, row)) for row in zip(part["method"], part["tag"], part["protocol"])]
        columns = ("test accuracy", "test accuracy_lo", "test accuracy_hi")
        shares = (100 * part[list(columns)]).set_axis(names)
        label = f"test accuracy (%), mean over seeds, 95 % t interval; {split}{note}"
        drawn[f"{split} accuracy"] = plots.interval_bars(shares, *columns, label)
    if len(tables.readings):
        curve = tables.readings.assign(method=tables.readings["model"])
        for split, part in curve.groupby("split", sort=False):
            drawn[f"{split} few labels"] = plots.label_curve_plot(part)
    paths = []
    for name, figure in drawn.items():
        path = folder / f"{tables.study.path.stem}_{name.replace(' ', '_')}.png"
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", dpi=120)
        paths.append(path)
    return paths


def as_markdown(table: pd.DataFrame) -> str:
    """A table of text as Markdown."""
    rows = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)
