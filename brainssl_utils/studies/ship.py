"""Put what a study has found where the course keeps it: records, rows of readings, and trained encoders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brainssl_utils.data.loading import load_corpus
from brainssl_utils.errors import CourseError
from brainssl_utils.evaluation.features import encode
from brainssl_utils.files import atomic_path
from brainssl_utils.methods.base import Method
from brainssl_utils.results.records import read_records, write_record
from brainssl_utils.studies.plan import Study
from brainssl_utils.studies.show import by_recipe, study_tables
from brainssl_utils.training.reference import FOLDER, load_shipped, ship
from brainssl_utils.training.run import load_run

MOST_BYTES = 40_000_000
"""What all shipped encoders of the course may take together: they travel in its repository."""
AGREES = 0.01
"""How far a float16 encoder's features may lie from those of float32, as a share of these features' spread."""
_CHECKED_ON = "phantoms:60"  # so that no image of a patient is needed to check


def kept(study: Study) -> Path:
    """Where the records of a study travel with the course: results/reference/archives, or phantoms."""
    return FOLDER / study.data.split(":")[0]


def ship_study(
    study: Study,
    out: str | Path,
    to: str | Path | None = None,
    encoders: Sequence[int] = (0,),
    say: Callable[[str], None] = print,
) -> list[Path]:
    """Copy a study's finished trainings into the folder in which they travel; call again as more are finished.

    Args:
        study: from `read_study`.
        out: the study's folder.
        to: the folder, of which `records` and `readings` are written; `kept(study)` by default.
        encoders: seeds whose encoders and classifiers go along, as float16 where their features agree with those of
            float32 and as float32 otherwise; of the other seeds the records alone.
        say: takes a line for each encoder.

    Returns:
        the written files: records, and the table of readings where there is one.

    Raises:
        CourseError: there are no records, a checkpoint is gone, or all encoders in the folder beside those that lie
            next to it would take more than `MOST_BYTES`.
    """
    tables = study_tables(study, out)
    place = Path(to) if to is not None else kept(study)
    written = []
    for record in [record for several in by_recipe(study, read_records(out)) for record in several]:
        if record["seed"] in encoders:
            written.append(_ship_encoder(out, place, record, say))
        else:
            written.append(write_record(record, place / "records" / f"{record['name']}.json"))
    if len(tables.readings):
        path = place / "readings" / f"{study.path.stem}.csv"
        with atomic_path(path) as temporary:
            tables.readings.to_csv(temporary, index=False)
        written.append(path)
    return written


def _ship_encoder(out: str | Path, place: Path, record: dict[str, Any], say: Callable[[str], None]) -> Path:
    run = load_run(out, record)
    path, apart = ship(run, place), 0.0
    for half in (True, False):
        path = path if half else ship(run, place, half=False)
        apart = apart_by(run.method, load_shipped(place, read_records(path)[0]).method)
        if apart <= AGREES:
            break
    weights = path.with_suffix(".safetensors")
    total = sum(file.stat().st_size for file in place.parent.rglob("*.safetensors"))
    if total > MOST_BYTES:
        weights.unlink()
        write_record(record, path)
        raise CourseError(
            f"with {weights.name} the encoders below {place.parent} take {total / 1e6:.1f} MB; at most "
            f"{MOST_BYTES / 1e6:.0f} may travel with the course. Ship those of fewer seeds: --encoders. The record is there."
        )
    kind = "float16" if half else "float32"
    say(
        f"{weights.name}: {weights.stat().st_size / 1e6:.2f} MB, {kind}, features apart by {100 * apart:.3f} % of their spread"
    )
    return path


def apart_by(exact: Method, other: Method) -> float:
    """Root mean square of the difference of two encoders' features, as a share of the first one's spread over images."""
    size = exact.config["image_size"]
    images = load_corpus(_CHECKED_ON, size).resized(size)
    first, second = encode(exact, images), encode(other, images)
    spread = float(np.sqrt(first.var(axis=0).mean()))
    return float(np.sqrt(np.square(first - second).mean())) / max(spread, 1e-12)
