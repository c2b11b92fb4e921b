"""Using a finished run: classes of new pictures, features of a corpus. Not for diagnosis."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from brainssl_utils.data.corpus import Corpus, resize_area
from brainssl_utils.data.reading.archives import Unreadable
from brainssl_utils.data.reading.decode import decode_image
from brainssl_utils.errors import CourseError
from brainssl_utils.evaluation.features import encode, images_for
from brainssl_utils.files import atomic_path
from brainssl_utils.results.records import read_record, read_records
from brainssl_utils.showing import notice
from brainssl_utils.training.reference import load_shipped
from brainssl_utils.training.run import Run, load_run

REMINDER = "Not for diagnosis: a lesson's network, trained on small old pictures with uncertain labels."
CORPUS_SIZE = 96  # px at which `load_corpus` reads by default, for records that do not tell


def find_run(run: Run | str | Path, name: str = "") -> Run:
    """Return a finished run with its weights.

    Args:
        run: a `Run`, a run's folder, or a record's file in it.
        name: of the record, or a part of it that no other has; needed where the folder holds several.

    Raises:
        CourseError: there is no record, or several and no name that chooses, or its weights are gone or damaged.
    """
    if isinstance(run, Run):
        return run
    path = Path(run)
    found = [read_record(path)] if path.is_file() else read_records(path)
    named = [record.get("name", "") for record in found]
    chosen = [record for record, one in zip(found, named) if name == one] or [
        record for record, one in zip(found, named) if name in one
    ]
    if len(chosen) != 1:
        why = "is in the name of" if name else "holds"
        many = f"{len(chosen)} runs" if chosen else "no run"
        raise CourseError(
            f"{path}: {f'{name!r} ' if name else ''}{why} {many}. Choose one by its name (--name): {', '.join(named)}."
        )
    [record] = chosen
    # A record lies in OUT/records; a folder of records may be given as well as OUT itself.
    folder = path.parent if path.is_file() else path
    out = folder.parent if folder.name == "records" else folder
    return load_shipped(out, record) if "encoder_file" in record else load_run(out, record)


def classes_of(record: dict[str, Any]) -> tuple[str, ...]:
    """The names of the classes that a run tells apart, in the order of its classifier's outputs."""
    return tuple(record["test"]["recall"])


def stored_size(record: dict[str, Any]) -> int:
    """Side of the images of the corpus that a run was trained on, pixels, before they were brought to the encoder's size."""
    return int(record["data"].get("image_size") or CORPUS_SIZE)


def predict(run: Run | str | Path, images: Any, name: str = "") -> pd.DataFrame:
    """Classify new pictures. Not for diagnosis.

    A picture is read as the run's corpus was: grey, squeezed into a square, brought to the encoder's size. One of 16 bits is
    scaled by its own bits in use, where a corpus goes by all of its source.

    Args:
        run: a `Run`, a run's folder, or a record's file in it.
        images: a picture's file or several, or pictures as a corpus keeps them, uint8 (N, 1, S, S).
        name: of the record, where the folder holds several.

    Returns:
        DataFrame, one row a picture: `image` (the file, or the row number), `class_name`, `probability` (0..1, the
        classifier's softmax, which is no calibrated probability), `p_NAME` for each class, and `problem`: why the picture
        could not be read, "" where it was. Of one that could not, the other columns are empty.

    Raises:
        CourseError: no picture, or arrays of another type or shape; and as `find_run`.
    """
    names, pictures, problems = _pictures(images)
    run = find_run(run, name)
    size = run.method.encoder.image_size
    stored = stored_size(run.record)
    readable: list[np.ndarray] = []
    for place, picture in enumerate(pictures):
        if isinstance(picture, bytes):
            try:
                pictures[place] = picture = _square(picture, stored)
            except Unreadable as error:
                problems[place] = str(error)
                continue
        if isinstance(picture, np.ndarray):
            readable.append(picture if picture.shape[-1] == size else resize_area(picture[None, None], size)[0, 0])
    classes = classes_of(run.record)
    shares = np.full((len(names), len(classes)), np.nan)
    answered = np.array([not problem for problem in problems])
    if readable:
        shares[answered] = run.method.probabilities(torch.from_numpy(np.stack(readable)[:, None])).numpy()
    best = [int(row.argmax()) if good else -1 for row, good in zip(shares, answered)]
    table = {
        "image": names,
        "class_name": [classes[code] if code >= 0 else None for code in best],
        "probability": [row[code] if code >= 0 else np.nan for row, code in zip(shares, best)],
        **{f"p_{one}": shares[:, code] for code, one in enumerate(classes)},
        "problem": problems,
    }
    return pd.DataFrame(table)


def other_classes(record: dict[str, Any], corpus: Corpus) -> str:
    """A sentence where a corpus is of other classes than the run; "" where it is not."""
    known, given = classes_of(record), corpus.classes
    if not given or set(known) == set(given):
        return ""
    told = f"the run tells apart {', '.join(known)}; the images are of {', '.join(given)}"
    return f"{told}. Their features are computed all the same."


def embed(run: Run | str | Path, corpus: Corpus, name: str = "") -> pd.DataFrame:
    """Return the features of every image of a corpus under a run's encoder, for work with other tools.

    Args:
        run: a `Run`, a run's folder, or a record's file in it.
        corpus: the images, of the run or of anybody else.
        name: of the record, where the folder holds several.

    Returns:
        DataFrame, one row an image: `id`, `source`, `class_name`, `part` (what the image was to the run: "labelled",
        "unlabelled", "validation", "test", or "" where it had none or the corpus is another), and `features`, a float32
        array (D,) a row; `np.stack(table["features"])` is (N, D). Warns of classes that the run was not trained on.

    Raises:
        CourseError: as `find_run`.
    """
    run = find_run(run, name)
    if note := other_classes(run.record, corpus):
        notice(note)
    features = encode(run, images_for(run.method.encoder, corpus))
    table = corpus.files[["id", "source", "class_name"]].reset_index(drop=True)
    return table.assign(part=_parts(run.record, corpus), features=list(features))


def write_features(table: pd.DataFrame, path: str | Path) -> Path:
    """Write what `embed` returned as Parquet, `features` as one column of lists of float32, whole or not at all.

    Raises:
        CourseError: the file's ending is another than .parquet, or the folder cannot be written.
    """
    path = check_ending(path)
    with atomic_path(path) as temporary:
        table.to_parquet(temporary, index=False)
    return path


def check_ending(path: str | Path) -> Path:
    """Return the path of a file of features.

    Raises:
        CourseError: its ending is another than .parquet.
    """
    path = Path(path)
    if path.suffix.lower() != ".parquet":
        raise CourseError(f"{path}: features are written as Parquet. Choose a name that ends in .parquet.")
    return path


def as_lines(table: pd.DataFrame) -> list[str]:
    """What `predict` returned as one line a picture, for people; pictures that could not be read are left out."""
    lines = []
    for row in table[table["problem"] == ""].to_dict("records"):
        shares = _shares(row)
        answer = shares.pop(row["class_name"])
        others = sorted(shares.items(), key=lambda item: -item[1])
        lines.append(
            f"{row['image']}: {row['class_name']} {answer:.1%} ({', '.join(f'{name} {value:.1%}' for name, value in others)})"
        )
    return lines


def as_json(table: pd.DataFrame) -> str:
    """What `predict` returned as a JSON list: image, class, probability, probabilities; or image and problem."""
    answers: list[dict[str, Any]] = []
    for row in table.to_dict("records"):
        if row["problem"]:
            answers.append({"image": str(row["image"]), "problem": row["problem"]})
        else:
            answer = {"class": row["class_name"], "probability": row["probability"], "probabilities": _shares(row)}
            answers.append({"image": str(row["image"]), **answer})
    return json.dumps(answers, indent=1, ensure_ascii=False)


def _shares(row: dict[Any, Any]) -> dict[str, float]:
    return {key.removeprefix("p_"): value for key, value in row.items() if key.startswith("p_")}


def _pictures(images: Any) -> tuple[list[Any], list[Any], list[str]]:
    """Names, contents (bytes of a file, uint8 (S, S), or None) and problems of the pictures to classify."""
    if isinstance(images, np.ndarray | torch.Tensor):
        pixels = np.asarray(images)
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1] != 1 or not len(pixels):
            raise CourseError(f"expected pictures uint8 (N, 1, S, S), or files; got {pixels.dtype} {pixels.shape}.")
        if pixels.shape[2] != pixels.shape[3]:
            raise CourseError(f"expected square pictures, got {pixels.shape[2]} x {pixels.shape[3]} px.")
        return list(range(len(pixels))), [one[0] for one in pixels], [""] * len(pixels)
    files: Iterable[Any] = [images] if isinstance(images, str | Path) else images
    paths = [Path(file) for file in files]
    if not paths:
        raise CourseError("no picture was given.")
    contents: list[Any] = []
    problems: list[str] = []
    for path in paths:
        content, problem = _content(path)
        contents.append(content)
        problems.append(problem)
    return [str(path) for path in paths], contents, problems


def _content(path: Path) -> tuple[bytes | None, str]:
    if path.is_dir():
        return None, "a folder; give the pictures in it"
    if not path.exists():
        return None, "no such file"
    if not path.is_file():  # a pipe or a device could be read for ever
        return None, "not a regular file"
    try:
        return path.read_bytes(), ""
    except OSError as error:
        return None, f"cannot be read: {error.strerror}"


def _square(data: bytes, size: int) -> np.ndarray:
    """One picture as the corpus reads it, uint8 (size, size)."""
    return decode_image(data, size).square


def _parts(record: dict[str, Any], corpus: Corpus) -> list[str]:
    parts = np.full(len(corpus), "", dtype=object)
    if record["data"].get("fingerprint") == corpus.fingerprint:
        rows: dict[str, Sequence[int]] = {
            part: [int(row) for row in text.split()] for part, text in record.get("rows", {}).items()
        }
        for part, numbers in (*rows.items(), ("test", record.get("test_rows", []))):
            parts[np.asarray(numbers, dtype=np.int64)] = part
    return parts.tolist()
