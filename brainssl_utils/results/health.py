"""Is my run healthy? A run's measures beside the band of reference runs, and a sentence for each that is out of the ordinary.

Loads no torch: the figure and the notes are made from a run's record alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from brainssl_utils.errors import CourseError
from brainssl_utils.files import atomic_path, shipped
from brainssl_utils.intervals import t_interval

FILE = shipped("results/reference") / "health.csv"
LEAST_SEEDS = 3
"""Runs that a band takes: how far runs of fewer seeds lie apart says next to nothing."""


class Measure(NamedTuple):
    """A column of the history that the panel shows.

    Attributes:
        title: of its panel.
        what: what it is called in a sentence.
        low, high: the least and the greatest value there is; None without one.
        below, above: what to look at where it lies below or above the band.
    """

    title: str
    what: str
    low: float | None
    high: float | None
    below: str
    above: str


LOSS = "loss"
"""The measure that is the pretext loss, or the classification loss of a method without a pretext task."""
MEASURES = {
    LOSS: Measure(
        "loss",
        "the loss",
        None,
        None,
        "a loss lower than usual is no good sign by itself: see whether rank and kNN accuracy kept up with it",
        "compare learning rate, batch size and number of steps with the reference's settings",
    ),
    "knn_acc": Measure(
        "kNN accuracy",
        "the accuracy of nearest neighbours",
        0,
        1,
        "see whether it ever rose and how many labels vote; then look at the views: what they change is thrown away",
        "good news, if no test image and no copy of one is among the labels: look at the split's leakage",
    ),
    "feature_rank": Measure(
        "effective rank of the features",
        "the effective rank",
        1,
        None,
        "features use fewer directions than usual: follow the rank over the epochs; one that keeps falling is collapsing",
        "features use more directions than usual, as untrained ones do: see whether the loss has fallen at all",
    ),
    "feature_deviation": Measure(
        "deviation of the features (even: 1)",
        "the deviation of the features",
        0,
        None,
        "images lie closer together than usual: look at what keeps them apart (negatives, predictor, second term of the loss)",
        "images lie further apart than usual: see whether alignment went with it",
    ),
    "alignment": Measure(
        "alignment (0: views alike)",
        "the distance of two views (alignment)",
        0,
        4,
        "views lie closer together than usual: that is worth something only while rank and deviation stay",
        "two views of an image lie further apart than usual: train longer, or look whether the views share enough",
    ),
    "uniformity": Measure(
        "uniformity (lower: more even)",
        "uniformity",
        None,
        0,
        "features are spread more evenly than usual: look whether alignment was paid for it",
        "features are bunched more than usual: look at rank and deviation beside it",
    ),
    "dead_share": Measure(
        "dead features (share)",
        "the share of dead features",
        0,
        1,
        "",
        "features that are the same for every image carry nothing: a smaller learning rate kills fewer of them",
    ),
}
KEY = ("method", "protocol", "tag", "data", "image_size", "epochs", "steps_per_epoch", "batch_size")
"""What a run must share with the reference runs for their band to be its own."""
COLUMNS = (*KEY, "profile", "split", "seeds", "device", "measure", "epoch", "low", "high")


@dataclass(frozen=True)
class Band:
    """What runs like a run did, in other seeds.

    Attributes:
        about: what the reference runs were: profile, split, seeds, device.
        limits: by measure, low and high an epoch (index: epoch, from 0).
    """

    about: dict[str, Any]
    limits: dict[str, pd.DataFrame]

    def __str__(self) -> str:
        about = self.about
        seeds = str(about["seeds"]).replace(" ", ", ")
        return (
            f"band: where 19 of 20 further runs are expected, by seeds {seeds} "
            f"(profile {about['profile']}, split {about['split']}, {about['device']})"
        )


def curves(record: dict[str, Any]) -> pd.DataFrame:
    """Return the measures that a record's history has, (epochs, measures) float, and `chance_loss` where it is known.

    The index is the epoch, from 0. An older record lacks all but the loss.
    """
    history = pd.DataFrame(record["history"])
    if "epoch" not in history:
        return pd.DataFrame()
    history = history.set_index("epoch").astype(float)
    losses = [history[name] for name in ("c_loss", "p_loss") if name in history and history[name].notna().any()]
    found = {LOSS: losses[0]} if losses else {}
    found |= {name: history[name] for name in (*MEASURES, "chance_loss") if name in history}
    return pd.DataFrame(found).dropna(axis=1, how="all")


def find_band(record: dict[str, Any], file: str | Path | None = None) -> Band | None:
    """Return the band of a record's method, settings, sizes and data; None where the course has none.

    Args:
        record: of a run.
        file: where bands lie; the course's own `results/reference/health.csv` by default.

    Raises:
        CourseError: the file is damaged.
    """
    wanted = _key(record)
    table = read_bands(file or FILE)
    mine = table[[tuple(row) == tuple(map(str, wanted.values())) for row in table[list(KEY)].astype(str).to_numpy()]]
    if not len(mine):
        return None
    about = {name: mine[name].iloc[0] for name in ("profile", "split", "seeds", "device")}
    limits = {name: part.set_index("epoch")[["low", "high"]] for name, part in mine.groupby("measure", sort=False)}
    return Band(about, {str(name): part for name, part in limits.items()})


def read_bands(file: str | Path = FILE) -> pd.DataFrame:
    """Read a file of bands, as `make_bands` makes them; an empty table where there is no file.

    Raises:
        CourseError: the file is damaged.
    """
    if not Path(file).exists():
        return pd.DataFrame(columns=list(COLUMNS))
    try:
        table = pd.read_csv(file, keep_default_na=False)
        return table[list(COLUMNS)].astype({"epoch": int, "low": float, "high": float})
    except (ValueError, KeyError) as error:
        raise CourseError(f"{file} is damaged ({error}): restore it from the project's repository.") from error


def make_bands(records: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Make the bands of records: for each measure and epoch the 95 % prediction interval of a further run.

    It is mean ± t · s · sqrt(1 + 1/n) of the runs' values, within the values that there are.

    Args:
        records: of runs that differ in their seed, at least `LEAST_SEEDS` a method, settings, sizes and data; those of fewer
            are passed over.

    Returns:
        a table with the columns `COLUMNS`, one row a measure and epoch.

    Raises:
        CourseError: no training has enough seeds, or one has a seed twice.
    """
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for record in records:
        groups.setdefault(tuple(_key(record).values()), []).append(record)
    rows: list[dict[str, Any]] = []
    for runs in groups.values():
        seeds = sorted(run["seed"] for run in runs)
        if len(set(seeds)) < len(seeds):
            raise CourseError(f"{runs[0]['method']}: a seed occurs more than once among {seeds}; give each run once.")
        if len(seeds) < LEAST_SEEDS:
            continue
        about = _key(runs[0]) | {
            "profile": runs[0]["profile"],
            "split": runs[0]["split"],
            "seeds": " ".join(map(str, seeds)),
            "device": _device(runs[0]),
        }
        by_run = [curves(run) for run in runs]
        for name in MEASURES:
            if all(name in curve for curve in by_run):
                rows += [about | row for row in _limits(name, pd.concat([curve[name] for curve in by_run], axis=1))]
    if not rows:
        raise CourseError(f"no training has {LEAST_SEEDS} seeds or more among the {len(records)} records.")
    return pd.DataFrame(rows, columns=list(COLUMNS))


def add_bands(records: Sequence[dict[str, Any]], file: str | Path = FILE) -> pd.DataFrame:
    """Make the bands of records and put them into a file, in place of those of the same trainings; return its content.

    Raises:
        CourseError: as `make_bands` and `read_bands`, or the file cannot be written.
    """
    made, kept = make_bands(records), read_bands(file)
    ours, theirs = (pd.MultiIndex.from_frame(table[list(KEY)].astype(str)) for table in (made, kept))
    table = pd.concat([kept[~theirs.isin(ours)], made]) if len(kept) else made
    table = table.sort_values(list(KEY), kind="stable", key=lambda column: column.astype(str))
    with atomic_path(file) as temporary:
        table.to_csv(temporary, index=False)
    return table


def health_notes(run: Any, file: str | Path | None = None) -> str:
    """Say what is out of the ordinary at a run's end, a sentence a line, each with what to look at next.

    Known bad signs (a loss that is no number or no better than chance, collapse, neighbours that guess, more than half of
    the features dead where the reference runs have fewer) need no reference; the rest is what leaves the band of the
    reference runs, where the course has one.

    Args:
        run: a `Run`, or a record.
        file: as in `find_band`.

    Returns:
        the sentences; "Nothing unusual ..." where there are none.

    Raises:
        CourseError: the file of bands is damaged.
    """
    record = run if isinstance(run, dict) else run.record
    found = curves(record)
    band = find_band(record, file)
    notes = _bad_signs(record, found, band)
    missing = [measure.what for name, measure in MEASURES.items() if name not in found]
    if band:
        outside = _outside(found, band)
        notes += outside
        if len(notes) == len(outside) == 1:
            notes.append(_by_luck(len(band.limits)))
    if not notes:
        last = "by the signs that need no reference" if band is None else "at the end"
        notes.append(f"Nothing unusual {last}.")
    if band is None:
        notes.append(no_band(record))
    if missing:
        notes.append(
            f"Not in this record, which is from before it was measured or with health=False: {', '.join(missing)}."
        )
    return "\n".join(notes)


def _by_luck(measures: int) -> str:
    """How often one of so many measures leaves its 95 % band, if each went its own way."""
    share = 1 - 0.95**measures
    return f"One measure alone: up to {10 * share:.0f} healthy runs of ten leave one of {measures} bands by luck."


def no_band(record: dict[str, Any]) -> str:
    """Say that the course keeps no band for runs like this one."""
    about = " ".join(
        filter(None, [record.get("title") or record["method"], record["protocol"], record.get("tag") or ""])
    )
    return f"No band is kept for {about} at these sizes ({record['profile']}) on {record['data'].get('name')}."


def _bad_signs(record: dict[str, Any], found: pd.DataFrame, band: Band | None) -> list[str]:
    if not len(found):
        return []
    last, notes = found.iloc[-1], []
    dead = last.get("dead_share", 0.0)
    if math.isnan(last.get(LOSS, math.nan)) or math.isnan(last.get("feature_rank", 0.0)):
        notes.append(
            "The loss or the features are no finite numbers: the training has diverged; lower the learning rate."
        )
    if _at_chance(last):
        notes.append(
            f"The loss ends hardly better than chance ({last[LOSS]:.3g}; an answer that knows nothing of the image costs "
            f"{last['chance_loss']:.3g}): train longer, and see whether it falls at all."
        )
    if last.get("feature_rank", math.inf) < 3:
        notes.append(
            f"Collapse: the features use {last['feature_rank']:.1f} directions. Look for what keeps images apart in the loss."
        )
    elif last.get("feature_deviation", math.inf) < 0.02:
        notes.append(
            f"Collapse: the features lie at one point (deviation {last['feature_deviation']:.3f} of an even spread)."
            " Look for what keeps images apart in the loss."
        )
    heads = record["history"][-1]
    if heads.get("rank") is not None and heads["rank"] < 3:
        notes.append(
            f"Collapse where the loss looks: the projections use {heads['rank']:.1f} directions, whatever the features do."
        )
    if dead > max(0.5, _usually_dead(found, band)):
        notes.append(
            f"{dead:.0%} of the features are dead, the same for every image: follow their share over the epochs, and try a "
            "smaller learning rate."
        )
    if last.get("knn_acc", 1.0) <= 1 / record["config"].get("n_classes", math.inf):
        notes.append("Nearest neighbours do no better than guessing: look at views and labels before anything else.")
    return notes


def _usually_dead(found: pd.DataFrame, band: Band | None) -> float:
    """The greatest share of dead features that the reference runs make likely at this epoch; 0 without a band."""
    limits = band.limits.get("dead_share") if band else None
    return 0.0 if limits is None or found.index[-1] not in limits.index else float(limits.loc[found.index[-1]].iloc[1])


def _at_chance(last: pd.Series) -> bool:
    chance = last.get("chance_loss", math.nan)
    return bool(last.get(LOSS, math.nan) > chance - 0.03 * (abs(chance) or 1))


def _outside(found: pd.DataFrame, band: Band) -> list[str]:
    notes = []
    for name, limits in band.limits.items():
        if name not in found or found.index[-1] not in limits.index:
            continue
        value, (low, high) = found[name].iloc[-1], limits.loc[found.index[-1]]
        side, advice = ("below", MEASURES[name].below) if value < low else ("above", MEASURES[name].above)
        if low <= value <= high or not advice or math.isnan(value):
            continue
        what = MEASURES[name].what
        notes.append(
            f"{what[0].upper()}{what[1:]} ends {side} its band ({value:.3g}; the reference runs: {low:.3g} to {high:.3g}): "
            f"{advice}."
        )
    return notes


def _limits(name: str, values: pd.DataFrame) -> list[dict[str, Any]]:
    least, greatest = MEASURES[name].low, MEASURES[name].high
    rows = []
    for epoch, runs in values.dropna().iterrows():
        mean, _, above = t_interval(runs)
        half = (above - mean) * math.sqrt(len(runs) + 1)  # of a further run, not of the mean
        low = mean - half if least is None else max(least, mean - half)
        high = mean + half if greatest is None else min(greatest, mean + half)
        rows.append({"measure": name, "epoch": epoch, "low": float(f"{low:.5g}"), "high": float(f"{high:.5g}")})
    return rows


def _key(record: dict[str, Any]) -> dict[str, Any]:
    sizes = record.get("sizes", {})
    about = {name: record.get(name) or "" for name in ("method", "protocol", "tag")}
    about["data"] = record["data"].get("name")
    return about | {name: sizes.get(name) if sizes.get(name) is not None else "" for name in KEY[4:]}


def _device(record: dict[str, Any]) -> str:
    device = record.get("device", {})
    return f"{device.get('accelerator', 'cpu')}, {device.get('precision', 'float32')}"
