"""What is known of a phantom and of no scan: where its lesion is, and how the very same slice looks without it.

Phantoms are drawn from seeds, so both are rendered again when they are asked for, and go the way the file went: the same
crop, sizes and grey levels, the same JPEG, the same decoding.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from brainssl_utils.compute.machine import available_cores
from brainssl_utils.data.corpus import Corpus, resize_area
from brainssl_utils.data.phantoms.anatomy import Head, canonical_head
from brainssl_utils.data.phantoms.patients import Patient, render_truth
from brainssl_utils.data.phantoms.plan import PlannedFile, plan_files
from brainssl_utils.data.phantoms.word import SMALLEST
from brainssl_utils.data.phantoms.write import changed, in_order, patient_of, to_jpeg
from brainssl_utils.data.reading.decode import decode_image
from brainssl_utils.errors import CourseError

ALIKE = 4.0  # grey levels by which a picture rendered again may differ on average: another libjpeg rounds otherwise


class Lesions(NamedTuple):
    """The lesions of n phantoms.

    Attributes:
        masks: (n, S, S) bool, True where the lesion is, its oedema and its tail along the dura included.
        healthy: (n, 1, S, S) uint8, the same slices without their lesions: same patient, same noise, same frame.
    """

    masks: npt.NDArray[np.bool_]
    healthy: npt.NDArray[np.uint8]


class _File(NamedTuple):
    """A file rendered again: with its lesion, without it, and the lesion's place as a picture, 255 inside."""

    seen: bytes
    healthy: bytes
    mask: Image.Image


def knows_lesions(corpus: Corpus) -> bool:
    """Whether `lesions_of` can tell where the lesions of this corpus are."""
    try:
        _planned(corpus, np.arange(len(corpus)), len(corpus))
    except CourseError:
        return False
    return True


def lesions_of(
    corpus: Corpus,
    rows: Sequence[int] | npt.NDArray[np.int64],
    image_size: int | None = None,
    n_files: int | None = None,
) -> Lesions:
    """Return where the lesions of these phantoms are, and their slices without them, row for row.

    Args:
        corpus: of `load_corpus("phantoms")` or "phantoms:N".
        rows: row numbers.
        image_size: side S of what is returned, as in `Corpus.resized`; by default that of `Corpus.images`.
        n_files: how many files the whole set has; by default as many as the corpus, which is wrong for a subset of one.

    Raises:
        CourseError: the images are no phantoms, or not those that `load_corpus` makes of so many files.
    """
    rows = np.asarray(rows, dtype=np.int64)
    stored = corpus.images.shape[-1]
    plan = _planned(corpus, rows, n_files or len(corpus))
    ids = corpus.files["id"].to_numpy()[rows]
    patients = sorted({plan[name].patient for name in ids})
    of_patient = {patient: [file for file in plan.values() if file.patient == patient] for patient in patients}
    head = canonical_head()
    with ThreadPoolExecutor(min(4, available_cores())) as pool:
        render = partial(_render, wanted=set(ids), head=head)
        made = {name: file for found in pool.map(render, of_patient.values()) for name, file in found.items()}
    for name, image in zip(ids, corpus.images[rows, 0]):
        again = decode_image(made[name].seen, stored).square.astype(float)
        if np.abs(again - image).mean() > ALIKE:
            raise _strangers(corpus, f"{name} looks otherwise")
    healthy = np.stack([decode_image(made[name].healthy, stored).square for name in ids])[:, None]
    masks = np.stack([_square(made[name].mask, stored) for name in ids])[:, None]
    size = image_size or stored
    if size != stored:
        healthy, masks = resize_area(healthy, size), resize_area(masks, size)
    return Lesions(masks[:, 0] > 127, healthy)


def _strangers(corpus: Corpus, why: str) -> CourseError:
    return CourseError(
        f"where lesions are is known of the course's phantoms alone, and corpus '{corpus.name}' is not one of them: {why}. "
        'Load them with load_corpus("phantoms"); of a subset, say with n_files=... how many files the whole set has.'
    )


def _planned(corpus: Corpus, rows: npt.NDArray[np.int64], n_files: int) -> dict[str, PlannedFile]:
    """Path -> what was planned, of the whole set."""
    if not len(rows):
        raise CourseError("lesions_of: no rows were given.")
    files = corpus.files.iloc[rows]
    if not files["source"].str.startswith("phantom-").all():
        raise _strangers(corpus, f"{files['id'].iloc[0]} is no phantom")
    if n_files < SMALLEST:
        raise _strangers(corpus, f"{n_files} files make no set")
    plan = {file.path: file for file in plan_files(n_files, 0)}
    for name, patient in zip(files["id"], files["patient"]):
        if name not in plan or f"p{plan[name].patient:04d}" != patient:
            raise _strangers(corpus, f"a set of {n_files} files has no {name} of patient {patient}")
    return plan


def _render(files: list[PlannedFile], wanted: set[str], head: Head) -> dict[str, _File]:
    """Those files of one patient that are wanted, and the originals of wanted copies, by path."""
    needed = wanted | {file.copy_of.path for file in files if file.copy_of and file.path in wanted}
    patient = patient_of(files, 0, head)
    made: dict[str, _File] = {}
    for file, changes in in_order(files, 0):
        if file.path not in needed:
            continue
        if file.copy_of is None:
            pictures = list(_pictures(patient, head, file))
        else:
            made[file.path] = made[file.copy_of.path]
            if changes == ("exact",):
                continue
            pictures = list(_decoded(made[file.path]))
        seen, healthy, mask = changed(pictures, changes)
        made[file.path] = _File(to_jpeg(seen, changes), to_jpeg(healthy, changes), mask.convert("L"))
    return made


def _pictures(patient: Patient, head: Head, file: PlannedFile) -> Iterator[Image.Image]:
    """A slice, the same without its lesion, and the lesion's place."""
    seen, healthy, mask = render_truth(patient, head, file.plane, file.position * patient.reach)
    yield from map(Image.fromarray, (seen, healthy, np.where(mask, np.uint8(255), np.uint8(0))))


def _decoded(file: _File) -> Iterator[Image.Image]:
    yield Image.open(io.BytesIO(file.seen))
    yield Image.open(io.BytesIO(file.healthy))
    yield file.mask.point(lambda value: 255 * (value > 127))  # sharp, so that stretched grey levels leave it alone


def _square(mask: Image.Image, size: int) -> npt.NDArray[np.uint8]:
    return np.asarray(mask.resize((size, size), Image.Resampling.BILINEAR))
