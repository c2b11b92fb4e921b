"""Which phantom files exist: sources, classes, patients, slices, copies and names, drawn before anything is rendered.

The proportions are those of the three archives of the paper (1311 : 3264 : 3096), and so are the overlaps: a third of
the first source is in the second, a fifth of the second are copies of other images in it, the third is a refined copy of
the second, and two pictures carry two labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from brainssl_utils.data.phantoms.patients import PLANES
from brainssl_utils.errors import CourseError

SOURCES = ("phantom-a", "phantom-b", "phantom-c")
CLASSES = ("glioma", "meningioma", "no_tumor", "pituitary")
# Files of each class (order of CLASSES) in the archives that the sources imitate.
COUNTS = {
    "phantom-a": (300, 306, 405, 300),
    "phantom-b": (926, 937, 500, 901),
    "phantom-c": (901, 913, 438, 844),
}
SHARED_A = 1 / 3  # of phantom-a, found in phantom-b too
COPIES_B = 0.2  # of phantom-b, copies of other files of it
COPIES_C = 0.9  # of phantom-c, refined copies of files of phantom-b
TESTING_B = 394 / 3264  # of phantom-b, filed under Testing
SMALLEST = 60


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
    weights = np.array([COUNTS[source] for source in SOURCES], dtype=float)
    exact = weights / weights.sum() * n_files
    counts = np.maximum(np.floor(exact).astype(int), 2)
    while counts.sum() != n_files:
        step = 1 if counts.sum() < n_files else -1
        counts.flat[np.argmax(step * (exact - counts))] += step
    return {s: dict(zip(CLASSES, map(int, row))) for s, row in zip(SOURCES, counts)}


def _slices(n: int, class_name: str, first_patient: int, rng: np.random.Generator) -> Iterator[tuple[int, str, float]]:
    """Patient, plane and position of `n` slices: one to six a patient, neighbours in one plane, at times in two."""
    made, patient = 0, first_patient
    first_planes: list[str] = []
    while made < n:
        # Planes take turns, so that no class has more of one than another.
        first_planes = first_planes or list(rng.permutation(PLANES))
        planes = [first_planes.pop()]
        if rng.random() < 0.25:
            planes.append(rng.choice([plane for plane in PLANES if plane != planes[0]]))
        for plane in planes:
            many = int(rng.choice([1, 2, 3], p=[0.55, 0.3, 0.15]))
            for position in np.linspace(-1, 1, many + 2)[1:-1] + rng.uniform(-0.25, 0.25):
                if made < n:
                    yield patient, str(plane), float(position)
                    made += 1
        patient += 1


def _copy_changes(rng: np.random.Generator) -> tuple[str, ...]:
    kind = rng.choice(["exact", "jpeg", "resize", "flip"], p=[0.2, 0.35, 0.3, 0.15])
    if kind == "exact":
        return ("exact",)
    if kind == "resize":
        return (f"resize-{rng.uniform(0.5, 0.9):.2f}", "jpeg-80")
    quality = f"jpeg-{rng.integers(35, 85)}"
    return ("flip", quality) if kind == "flip" else (quality,)


def _copies(
    source: str, n: int, originals: list[PlannedFile], rng: np.random.Generator, testing: float = 0.0
) -> list[PlannedFile]:
    """`n` copies for `source`, of each original once before any is used twice."""
    order = np.concatenate([rng.permutation(len(originals)) for _ in range(n // len(originals) + 1)])[:n]
    files = []
    for which in order:
        if source == "phantom-a":
            changes: tuple[str, ...] = ("fit-224", f"jpeg-{rng.integers(60, 90)}")
        elif source == "phantom-b":
            changes = _copy_changes(rng)
        else:
            changes = (f"crop-{rng.uniform(0.0, 0.08):.2f}", "stretch", "fit-256", "jpeg-90")
        o = originals[which]
        files.append(PlannedFile(source, o.class_name, o.patient, o.plane, o.position, o, changes,
                                 testing=source == "phantom-b" and rng.random() < testing))  # fmt: skip
    return files


def _plan_class(
    counts: dict[str, int], class_name: str, first_patient: int, rng: np.random.Generator
) -> list[PlannedFile]:
    """All files of one class; `counts` is source -> number."""
    n_a, n_b, n_c = (counts[source] for source in SOURCES)
    shared, repeated, refined = round(n_a * SHARED_A), round(n_b * COPIES_B), round(n_c * COPIES_C)
    own = {"phantom-a": n_a - shared, "phantom-b": n_b - repeated, "phantom-c": n_c - refined}
    # Sources alternate along the patients, so that one patient's slices end up in several, as slices on the web do.
    order = rng.permutation(np.repeat(SOURCES, [own[source] for source in SOURCES]))
    slices = _slices(len(order), class_name, first_patient, rng)
    originals = [PlannedFile(str(source), class_name, *spot) for source, spot in zip(order, slices)]
    in_b = [file for file in originals if file.source == "phantom-b"]
    for file in in_b:
        file.testing = bool(rng.random() < TESTING_B / 2)
    # Most of Testing has a copy in Training in the archive that phantom-b imitates (66 %).
    copies = _copies("phantom-b", repeated, in_b, rng, testing=TESTING_B / 2 / COPIES_B)
    return originals + copies + _copies("phantom-a", shared, in_b, rng) + _copies("phantom-c", refined, in_b, rng)


def _swap_labels(files: list[PlannedFile], rng: np.random.Generator) -> None:
    """Two pictures with two labels: a copy of a meningioma filed as glioma, in place of a glioma's copy (in place)."""
    copies = [f for f in files if f.source == "phantom-b" and f.class_name == "glioma" and f.copy_of]
    meningiomas = [f for f in files if f.source == "phantom-b" and f.class_name == "meningioma" and not f.copy_of]
    if len(copies) < 2 or len(meningiomas) < 2:
        return
    picks = rng.choice(len(meningiomas), 2, replace=False)
    for copy, pick, change in zip(copies, picks, ("exact", "jpeg-85")):
        original = meningiomas[pick]
        copy.patient, copy.plane, copy.position = original.patient, original.plane, original.position
        copy.copy_of, copy.changes, copy.testing = original, (change,), True
        original.testing = False


def _names(source: str, class_name: str, n: int, testing: bool) -> list[str]:
    """Paths of `n` files in the archive's own pattern, relative to the source's folder."""
    if source == "phantom-a":
        folder = class_name.replace("_", "")
        short = {"glioma": "gl", "meningioma": "me", "notumor": "no", "pituitary": "pi"}[folder]
        first = max(1, n // 30)  # the archive has ten `..Tr_` files among about 300, then counts on from 0010
        return [f"{folder}/Te-{short}{'Tr' if i < first else ''}_{i:04d}.jpg" for i in range(n)]
    if source == "phantom-c":
        folder = "normal" if class_name == "no_tumor" else f"{class_name}_tumor"
        return [f"Data/{folder}/{folder[0].upper()}_{i + 1}.jpg" for i in range(n)]
    folder = class_name if class_name == "no_tumor" else f"{class_name}_tumor"
    if testing:
        return [f"Testing/{folder}/image{f'({i})' if i else ''}.jpg" for i in range(n)]
    patterns = {
        "glioma": ("gg ({}).jpg",),
        "meningioma": ("m ({}).jpg", "m1({}).jpg", "m2 ({}).jpg", "m3 ({}).jpg"),
        "no_tumor": ("image({}).jpg", "image({}).jpg", "image({}).jpg", "image ({}).jpg"),
        "pituitary": ("p ({}).jpg",),
    }[class_name]
    return [f"Training/{folder}/{patterns[i % len(patterns)].format(i + 1)}" for i in range(n)]


def plan_files(n_files: int, seed: int) -> list[PlannedFile]:
    """Draw the whole set: `n_files` files with their paths, originals and copies.

    Raises:
        CourseError: fewer than 60 files, which do not give every class in every source.
    """
    if n_files < SMALLEST:
        raise CourseError(
            f"n_files is {n_files}: phantoms need at least {SMALLEST} files to show every class and source."
        )
    rng = np.random.default_rng((seed, 10**9))  # patients use (seed, index)
    counts = class_counts(n_files)
    files: list[PlannedFile] = []
    for class_name in CLASSES:
        first_patient = 1 + max((file.patient for file in files), default=-1)
        files += _plan_class({source: counts[source][class_name] for source in SOURCES}, class_name, first_patient, rng)
    _swap_labels(files, rng)
    for source in SOURCES:
        for class_name in CLASSES:
            for testing in (False, True):
                group = [f for f in files if (f.source, f.class_name, f.testing) == (source, class_name, testing)]
                order = rng.permutation(len(group))
                for which, name in zip(order, _names(source, class_name, len(group), testing)):
                    group[which].path = f"{source}/{name}"
    return files
