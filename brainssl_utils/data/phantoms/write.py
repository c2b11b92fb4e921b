"""Phantoms: realistic but synthetic brain slices with tumours, the course's data when no archive is at hand.

Three folders laid out as the archives that the paper merges, and a manifest that says what none of those does: the
patient, the plane, and which file is a copy of which. Accuracies on phantoms say nothing about patients.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from brainssl_utils.compute.machine import available_cores
from brainssl_utils.data.phantoms.anatomy import Head, canonical_head
from brainssl_utils.data.phantoms.patients import RENDER_SIZE, Patient, draw_patient, render_slice
from brainssl_utils.data.phantoms.plan import PlannedFile, plan_files
from brainssl_utils.data.phantoms.word import DEFAULT_FILES
from brainssl_utils.errors import CourseError
from brainssl_utils.files import naming, temporary_path

VERSION = 3  # raised whenever the same arguments give other bytes
MARKER = "phantoms.json"


def _head_box(picture: Image.Image, margin: float) -> tuple[int, int, int, int]:
    """The frame (left, top, right, bottom) of the head with `margin` (a share of its size) on each side."""
    pixels = np.asarray(picture.convert("L"))
    bright = pixels > max(40, 0.25 * np.percentile(pixels, 99))
    rows, cols = (np.flatnonzero(bright.mean(axis=axis) > 0.02) for axis in (1, 0))
    if not rows.size or not cols.size:
        return 0, 0, *picture.size
    x, y = margin * (cols[-1] - cols[0]), margin * (rows[-1] - rows[0])
    box = (cols[0] - x, rows[0] - y, cols[-1] + 1 + x, rows[-1] + 1 + y)
    left, top, right, bottom = np.clip(box, 0, picture.size * 2).astype(int).tolist()
    return left, top, right, bottom


def _stretch(image: Image.Image, low: float, high: float) -> Image.Image:
    """Grey levels from `low` to `high` spread over 0..255."""
    pixels = np.asarray(image.convert("L"), dtype=np.float32)
    return Image.fromarray(np.clip((pixels - low) * 255 / max(high - low, 1), 0, 255).astype(np.uint8))


def _step(change: str, picture: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """What `change` does to any picture of one size; what it measures first, it measures on `picture`."""
    kind, *amounts = change.split("-")
    if kind == "resize":
        width, height = (round(side * float(amounts[0])) for side in picture.size)
        return lambda image: image.resize((width, height))
    if kind == "size":
        return lambda image: image.resize((int(amounts[0]), int(amounts[1])))
    if kind == "fit":
        return lambda image: image.convert("L").resize((int(amounts[0]), int(amounts[0])))
    if kind == "trim":
        x, y = map(int, amounts)
        return lambda image: image.crop((x, y, image.width - x, image.height - y))
    if kind == "crop":
        box = _head_box(picture, float(amounts[0]))
        return lambda image: image.crop(box)
    if kind == "stretch":
        low, high = np.percentile(np.asarray(picture.convert("L"), dtype=np.float32), (1, 99.5))
        return lambda image: _stretch(image, low, high)
    if kind == "rgb":
        return lambda image: image.convert("RGB")
    if kind == "flip":
        return lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return lambda image: image  # "exact", "jpeg": nothing before the file is written


def changed(pictures: Sequence[Image.Image], changes: Sequence[str]) -> list[Image.Image]:
    """Pictures of one size after `changes` ("resize-0.71", "crop-0.05", ...) are made to all of them in order.

    Where a change looks for the head or for its brightest pixels, it looks in the first picture.
    """
    for change in changes:
        step = _step(change, pictures[0])
        pictures = [step(picture) for picture in pictures]
    return list(pictures)


def to_jpeg(picture: Image.Image, changes: Sequence[str]) -> bytes:
    """JPEG bytes of a picture, at the quality that `changes` name ("jpeg-80"), 90 where they name none."""
    qualities = [int(change.removeprefix("jpeg-")) for change in changes if change.startswith("jpeg-")]
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=qualities[-1] if qualities else 90)
    return buffer.getvalue()


def _original_changes(source: str, rng: np.random.Generator) -> tuple[str, ...]:
    """What is done to a rendered slice so that it has the form of its source."""
    quality = f"jpeg-{rng.integers(75, 96)}"
    if source == "phantom-a":
        return "fit-224", quality
    if source == "phantom-c":
        return f"crop-{rng.uniform(0.0, 0.08)}", "stretch", "fit-256", quality
    side = int(rng.choice([512, 256, int(rng.integers(180, 420))], p=[0.2, 0.2, 0.6]))
    x = y = 0
    if side not in (256, 512):  # images from the web: trimmed by hand on one pair of sides
        trim = int(rng.uniform(0, 0.07) * RENDER_SIZE)
        x, y = (trim, 0) if rng.random() < 0.5 else (0, trim)
    width, height = (round(side * (RENDER_SIZE - 2 * cut) / RENDER_SIZE) for cut in (x, y))
    grey = () if rng.random() >= 0.5 else ("rgb",)
    return f"trim-{x}-{y}", f"size-{width}-{height}", *grey, quality


def patient_of(files: Sequence[PlannedFile], seed: int, head: Head) -> Patient:
    """The patient whose files these are."""
    # The swapped labels are copies filed elsewhere: an original always carries the patient's own class.
    class_name = next(file.class_name for file in files if file.copy_of is None)
    return draw_patient(seed, files[0].patient, class_name, head)


def in_order(files: Sequence[PlannedFile], seed: int) -> Iterator[tuple[PlannedFile, tuple[str, ...]]]:
    """All files of one patient, originals before their copies, each with what is done to its slice or its original."""
    rng = np.random.default_rng((seed, files[0].patient, 1))
    for file in sorted(files, key=lambda f: (f.copy_of is not None, f.path)):
        yield file, file.changes if file.copy_of else _original_changes(file.source, rng)


def _write_patient(folder: Path, files: list[PlannedFile], seed: int, head: Head) -> None:
    """Render and write every file of one patient."""
    patient = patient_of(files, seed, head)
    written: dict[str, bytes] = {}
    for file, changes in in_order(files, seed):
        if file.copy_of is None:
            picture = Image.fromarray(render_slice(patient, head, file.plane, file.position * patient.reach))
            content = to_jpeg(changed([picture], changes)[0], changes)
        else:
            content = written[file.copy_of.path]
            if changes != ("exact",):
                content = to_jpeg(changed([Image.open(io.BytesIO(content))], changes)[0], changes)
        written[file.path] = content
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _manifest(files: list[PlannedFile]) -> pd.DataFrame:
    table = pd.DataFrame([vars(file) for file in files]).rename(columns={"class_name": "class"})
    table["patient"] = table["patient"].map("p{:04d}".format)
    table["copy_of"] = [file.copy_of.path if file.copy_of else "" for file in files]
    table["change"] = table["changes"].map("+".join)
    columns = ["source", "path", "patient", "plane", "class", "copy_of", "change"]
    return table[columns].sort_values("path", ignore_index=True)


def _is_finished(out_dir: Path, settings: dict[str, int]) -> bool:
    """Whether `out_dir` holds this very set; a CourseError where it holds something else, which is left alone."""
    marker = out_dir / MARKER
    if marker.is_file():
        found = json.loads(marker.read_text(encoding="utf-8"))
        if found == settings:
            return True
        raise CourseError(f"{out_dir} holds phantoms made with {found}, not {settings}. Choose another folder.")
    if out_dir.is_file() or (out_dir.is_dir() and any(out_dir.iterdir())):
        raise CourseError(f"{out_dir} exists and is not a folder of phantoms. Choose a new or empty folder for them.")
    return False


def write_phantoms(
    out_dir: str | Path, n_files: int = DEFAULT_FILES, seed: int = 0, workers: int | None = None
) -> Path:
    """Write a set of phantoms; a finished set with the same arguments is found and kept.

    Args:
        out_dir: new or empty folder; it is returned. It receives `phantom-a`, `phantom-b`, `phantom-c` (JPEG files laid
            out as in the three archives), `manifest.csv` (one row a file, paths relative to `out_dir`) and
            `phantoms.json`, the mark of a finished set.
        n_files: files in all, 60 or more.
        seed: the same seed gives the same bytes, whatever the number of workers.
        workers: threads; by default one a core, four at most.

    Raises:
        CourseError: fewer than 60 files, a negative seed, or a folder that holds something else.
    """
    out_dir = Path(out_dir)
    if seed < 0:
        raise CourseError(f"seed is {seed}: expected 0 or more.")
    settings = {"version": VERSION, "n_files": int(n_files), "seed": int(seed)}
    if _is_finished(out_dir, settings):
        return out_dir
    files = plan_files(n_files, seed)
    by_patient = pd.Series(files).groupby([file.patient for file in files]).agg(list)
    head = canonical_head()
    temporary = temporary_path(out_dir)
    try:
        with naming(out_dir):
            temporary.mkdir(parents=True)
            with ThreadPoolExecutor(workers or min(4, available_cores())) as pool:
                list(pool.map(lambda part: _write_patient(temporary, part, seed, head), by_patient))
            _manifest(files).to_csv(temporary / "manifest.csv", index=False, lineterminator="\n")
            (temporary / MARKER).write_text(json.dumps(settings) + "\n", encoding="utf-8")
        _move_into_place(temporary, out_dir, settings)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return out_dir


def _move_into_place(folder: Path, out_dir: Path, settings: dict[str, int]) -> None:
    try:
        with suppress(FileNotFoundError):
            out_dir.rmdir()  # an empty folder: Windows moves nothing onto a folder that exists
        os.replace(folder, out_dir)
    except OSError:
        if not _is_finished(out_dir, settings):
            raise  # else another process was faster, with the same bytes
