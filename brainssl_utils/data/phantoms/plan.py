"""Which phantom files exist: sources, classes, patients, slices, copies and names, drawn before anything is rendered.

The proportions are those of the three archives of the paper (1311 : 3264 : 3096), and so are the overlaps between them;
two pictures carry two labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count, product

import numpy as np

from brainssl_utils.data.phantoms.patients import PLANES
from brainssl_utils.data.phantoms.word import SMALLEST
from brainssl_utils.data.reading.sources import CLASSES, PAPER_SOURCES
from brainssl_utils.data.reading.sources import SOURCES as ARCHIVES
from brainssl_utils.errors import CourseError

SOURCES = ("phantom-a", "phantom-b", "phantom-c")
COUNTS = {source: ARCHIVES[imitated].counts for source, imitated in zip(SOURCES, PAPER_SOURCES)}
COPIES_A = 1 / 3  # of phantom-a, found in phantom-b too
COPIES_B = 0.2  # of phantom-b, copies of other files of it
COPIES_C = 0.9  # of phantom-c, refined copies of files of phantom-b
TESTING_B = 394 / 3264  # of phantom-b, filed under Testing


@dataclass
class PlannedFile:
    """One file: a rendered slice, or a copy of the file `copy_of` with `changes` made to it."""

    source: str
    class_name: str
    patient: int
    plane: str
    position: float  # of the slice, as a share of the patient's reach, -1..1
    copy_of: PlannedFile | None = None
    changes: tuple[str, ...] = ()
    testing: bool = False  # phantom-b only
    path: str = ""


def class_counts(n_files: int) -> dict[str, dict[str, int]]:
    """Files per source and class: the archives' proportions scaled to `n_files` in all, at least two each."""
    weights = np.array([[COUNTS[source][name] for name in CLASSES] for source in SOURCES], dtype=float)
    exact = weights / weights.sum() * n_files
    counts = np.maximum(np.floor(exact).astype(int), 2)
    while counts.sum() != n_files:
        step = 1 if counts.sum() < n_files else -1
        counts.flat[np.argmax(step * (exact - counts))] += step
    return {source: dict(zip(CLASSES, row)) for source, row in zip(SOURCES, counts.tolist())}


def _slices(first_patient: int, rng: np.random.Generator) -> Iterator[tuple[int, str, float]]:
    """Patient, plane and position of slices without end: one to six a patient, neighbours in one plane or two."""
    first_planes: list[str] = []
    for patient in count(first_patient):
        # Planes take turns, so that no class has more of one than another.
        first_planes = first_planes or rng.permutation(PLANES).tolist()
        planes = [first_planes.pop()]
        if rng.random() < 0.25:
            planes.append(str(rng.choice([plane for plane in PLANES if plane != planes[0]])))
        for plane in planes:
            many = rng.choice([1, 2, 3], p=[0.55, 0.3, 0.15])
            positions = np.linspace(-1, 1, many + 2)[1:-1] + rng.uniform(-0.25, 0.25)
            yield from ((patient, plane, position) for position in positions.tolist())


def _changes(source: str, rng: np.random.Generator) -> tuple[str, ...]:
    """What is done to a copy filed in `source`, step by step; `write` knows the words."""
    if source == "phantom-a":
        return "fit-224", f"jpeg-{rng.integers(60, 90)}"
    if source == "phantom-c":
        return f"crop-{rng.uniform(0.0, 0.08):.2f}", "stretch", "fit-256", "jpeg-90"
    kind = rng.choice(["exact", "jpeg", "resize", "flip"], p=[0.2, 0.35, 0.3, 0.15])
    if kind == "exact":
        return ("exact",)
    if kind == "resize":
        return f"resize-{rng.uniform(0.5, 0.9):.2f}", "jpeg-80"
    quality = f"jpeg-{rng.integers(35, 85)}"
    return ("flip", quality) if kind == "flip" else (quality,)


def _copies(source: str, n: int, originals: list[PlannedFile], rng: np.random.Generator) -> list[PlannedFile]:
    """`n` copies in `source`, of each original once before any is used twice."""
    order = np.concatenate([rng.permutation(len(originals)) for _ in range(n // len(originals) + 1)])[:n]
    copies = []
    for original in (originals[which] for which in order):
        changes = _changes(source, rng)
        # Most of Testing is a copy of something in Training in the archive that phantom-b imitates (66 %).
        testing = source == "phantom-b" and rng.random() < TESTING_B / 2 / COPIES_B
        copies.append(replace(original, source=source, copy_of=original, changes=changes, testing=testing))
    return copies


def _plan_class(class_name: str, counts: list[int], first_patient: int, rng: np.random.Generator) -> list[PlannedFile]:
    """All files of one class, so many in each source."""
    copies = [round(n * share) for n, share in zip(counts, (COPIES_A, COPIES_B, COPIES_C))]
    # Sources alternate along the patients, so that one patient's slices end up in several, as slices on the web do.
    order = rng.permutation(np.repeat(SOURCES, np.subtract(counts, copies))).tolist()
    originals = [PlannedFile(source, class_name, *spot) for source, spot in zip(order, _slices(first_patient, rng))]
    in_b = [file for file in originals if file.source == "phantom-b"]
    for file in in_b:
        file.testing = rng.random() < TESTING_B / 2
    wanted = dict(zip(SOURCES, copies))
    made = [_copies(source, wanted[source], in_b, rng) for source in ("phantom-b", "phantom-a", "phantom-c")]
    return sum(made, start=originals)


def _swap_labels(files: list[PlannedFile], rng: np.random.Generator) -> None:
    """Two pictures with two labels: a copy of a meningioma filed as glioma, in place of a glioma's copy (in place)."""
    in_b = [file for file in files if file.source == "phantom-b"]
    copies = [file for file in in_b if file.class_name == "glioma" and file.copy_of]
    meningiomas = [file for file in in_b if file.class_name == "meningioma" and not file.copy_of]
    if len(copies) < 2 or len(meningiomas) < 2:
        return
    picks = rng.choice(len(meningiomas), 2, replace=False)
    for copy, pick, change in zip(copies, picks, ("exact", "jpeg-85")):
        original = meningiomas[pick]
        copy.patient, copy.plane, copy.position = original.patient, original.plane, original.position
        copy.copy_of, copy.changes, copy.testing = original, (change,), True
        original.testing = False


def _paths(source: str, class_name: str, testing: bool, n: int) -> list[str]:
    """Paths of `n` files, named as in the archive that `source` imitates."""
    if source == "phantom-a":
        folder = class_name.replace("_", "")
        first = max(1, n // 30)  # the archive has ten `..Tr_` files among about 300, then counts on from 0010
        return [f"{source}/{folder}/Te-{folder[:2]}{'Tr' if i < first else ''}_{i:04d}.jpg" for i in range(n)]
    folder = class_name.removesuffix("_tumor") + "_tumor"
    if source == "phantom-c":
        folder = folder.replace("no_tumor", "normal")
        return [f"{source}/Data/{folder}/{folder[0].upper()}_{i + 1}.jpg" for i in range(n)]
    if testing:
        return [f"{source}/Testing/{folder}/image{f'({i})' if i else ''}.jpg" for i in range(n)]
    patterns = {
        "glioma": ["gg ({}).jpg"],
        "meningioma": ["m ({}).jpg", "m1({}).jpg", "m2 ({}).jpg", "m3 ({}).jpg"],
        "no_tumor": ["image({}).jpg", "image({}).jpg", "image({}).jpg", "image ({}).jpg"],
        "pituitary": ["p ({}).jpg"],
    }[class_name]
    return [f"{source}/Training/{folder}/{patterns[i % len(patterns)].format(i + 1)}" for i in range(n)]


def plan_files(n_files: int, seed: int) -> list[PlannedFile]:
    """Draw the whole set: `n_files` files, originals and copies, with their paths; a CourseError for fewer than 60."""
    if n_files < SMALLEST:
        raise CourseError(f"n_files is {n_files}: every class in every source takes at least {SMALLEST} files.")
    rng = np.random.default_rng((seed, 10**9))  # patients use (seed, index)
    counts = class_counts(n_files)
    files: list[PlannedFile] = []
    for class_name in CLASSES:
        first_patient = 1 + max((file.patient for file in files), default=-1)
        files += _plan_class(class_name, [counts[source][class_name] for source in SOURCES], first_patient, rng)
    _swap_labels(files, rng)
    for place in product(SOURCES, CLASSES, (False, True)):
        group = [file for file in files if (file.source, file.class_name, file.testing) == place]
        for which, path in zip(rng.permutation(len(group)), _paths(*place, len(group))):
            group[which].path = path
    return files
