"""Trained encoders that travel with the course: shipped beside their records, checked, and ready without a network.

A shipped encoder is the part of a run that others build on: encoder and classifier, without heads and optimiser. No image
is in it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.splits.split import Split
from brainssl_utils.errors import CourseError
from brainssl_utils.files import atomic_path, shipped
from brainssl_utils.methods.base import Method
from brainssl_utils.methods.make import rebuild
from brainssl_utils.results.records import read_records, select, write_record
from brainssl_utils.showing import silent
from brainssl_utils.training.run import Run

FOLDER = shipped("results/reference")
PARTS = ("encoder.", "classifier.")


def reference(
    method: str,
    data: str = "archives",
    protocol: str = "fair",
    split: str | None = None,
    seed: int = 0,
    folder: str | Path | None = None,
) -> Run:
    """Return a full-length run that travels with the course, for `evaluate`, `fine_tune` or its features.

    Args:
        method: a key of `METHODS`.
        data: what it was trained on: "archives" or "phantoms".
        protocol: "fair" or "published".
        split: name of the split; the only one there is by default.
        seed: of the training.
        folder: where shipped runs lie; the course's own `results/reference` by default.

    Raises:
        CourseError: no such run is shipped (the message lists those that are), or its file is missing or damaged.
    """
    place = Path(folder or FOLDER) / data
    if not place.is_dir():
        raise CourseError(
            f"no shipped runs in {place}. There are: {', '.join(_names(Path(folder or FOLDER))) or 'none'}."
        )
    shipped = [record for record in read_records(place) if "encoder_file" in record and record["seed"] == seed]
    splits = sorted(
        {record["split"] for record in shipped if (record["method"], record["protocol"]) == (method, protocol)}
    )
    if split is None and len(splits) > 1:
        raise CourseError(f"{method} is shipped for the splits {', '.join(splits)}: name one with split=...")
    [record] = select(shipped, method, protocol, split or (splits[0] if splits else "any"))
    return load_shipped(place, record)


def reference_for(
    method: str, corpus: Corpus, split: Split, protocol: str = "fair", folder: str | Path | None = None
) -> Run | None:
    """Return the full-length run that travels with the course and was kept apart from this very split's test images.

    Args:
        method, protocol, folder: as in `reference`.
        corpus: the images that are split.
        split: what it is to be read on. A run of another split, or another seed, has met some of its test images.

    Returns:
        the run, or None where no such run is shipped.

    Raises:
        CourseError: its file is missing or damaged.
    """
    place = Path(folder or FOLDER) / ("phantoms" if corpus.synthetic else "archives")
    for record in read_records(place, skip=silent) if place.is_dir() else []:
        named = (record["method"], record["protocol"], record["tag"], record["split"])
        if named != (method, protocol, "", split.name) or "encoder_file" not in record:
            continue
        if record["data"]["fingerprint"] == corpus.fingerprint and record["test_rows"] == split.test.tolist():
            return load_shipped(place, record)
    return None


def shipped_records(
    protocol: str = "published", least_epochs: int = 100, synthetic: bool = False, folder: str | Path | None = None
) -> list[dict[str, Any]]:
    """Return the records of full length that travel with the course, whether or not their encoders do.

    Args:
        protocol: "fair" or "published".
        least_epochs: shorter trainings are left out.
        synthetic: those of phantoms, in place of those of scans.
        folder: as in `reference`.
    """
    places = sorted(path for path in Path(folder or FOLDER).glob("*") if path.is_dir())
    found = read_records(places, skip=silent) if places else []
    return [
        record
        for record in found
        if record["protocol"] == protocol
        and bool(record["data"].get("synthetic")) == synthetic
        and record.get("sizes", {}).get("epochs", 0) >= least_epochs
    ]


def load_shipped(place: str | Path, record: dict[str, Any]) -> Run:
    """Bring back a shipped run from its record and the encoder beside it, in the folder `place / "records"`.

    Raises:
        CourseError: the file is missing, is not the one its record names, or does not fit the method.
    """
    found, folder = rebuild(record), Path(place) / "records"
    load_encoder(found, folder / record["encoder_file"], record["encoder_sha256"])
    found.history = record["history"]
    return Run(found, record, folder / f"{record['name']}.json")


def ship(run: Run, folder: str | Path, half: bool = True) -> Path:
    """Write a run's record and, beside it, encoder and classifier as float16, or float32; return the record's path.

    Raises:
        CourseError: the folder cannot be written.
    """
    from safetensors.torch import save

    target = Path(folder) / "records" / f"{run.name}.json"
    weights = {
        name: (tensor.half() if half else tensor).contiguous()
        for name, tensor in run.method.state_dict().items()
        if name.startswith(_parts(run.method))
    }
    with atomic_path(target.with_suffix(".safetensors")) as temporary:
        temporary.write_bytes(save(weights))
    about = {
        "encoder_file": target.with_suffix(".safetensors").name,
        "encoder_sha256": _sha256(target.with_suffix(".safetensors")),
    }
    return write_record({**run.record, **about}, target)


def load_encoder(method: Method, path: Path, sha256: str) -> None:
    """Load shipped weights into `method`, which is in evaluation mode then.

    Raises:
        CourseError: the file is missing, is not the one its record names, or does not fit the method.
    """
    from safetensors.torch import load_file

    if not path.is_file():
        raise CourseError(f"{path} is missing: restore it from the project's repository.")
    if _sha256(path) != sha256:
        raise CourseError(
            f"{path} is not the file its record names (its SHA-256 differs): restore it from the repository."
        )
    weights = {name: tensor.float() for name, tensor in load_file(path).items()}
    missing = [name for name in method.state_dict() if name.startswith(_parts(method)) and name not in weights]
    if missing:
        raise CourseError(f"{path} lacks {', '.join(missing[:3])}: it is of another encoder than its record says.")
    method.load_state_dict(weights, strict=False)
    method.release()
    method.eval()


def _parts(method: Method) -> tuple[str, ...]:
    """What a prediction takes: the projection head too where the classifier reads it."""
    return (*PARTS, "projection_head.") if method.classifier_reads == "projections" else PARTS


def _sha256(path: Path) -> str:
    with open(path, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*") if path.is_dir())
