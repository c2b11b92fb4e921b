"""Splits: which images train, which stay unlabelled, which are for testing, and how that was decided.

`paper_split` draws images at random, as the published study did; `grouped_split` keeps duplicate groups whole;
`patient_split` keeps patients whole as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from brainssl_utils.data.partition import apportion, joined_units, number_by_first
from brainssl_utils.data.splits.split import Rows, Split
from brainssl_utils.data.splits.subsets import groups
from brainssl_utils.data.splits.units import TEST, TRAIN, UNLABELED, UNUSED, Division, Wishes
from brainssl_utils.errors import CourseError

if TYPE_CHECKING:
    from brainssl_utils.data.corpus import Corpus


PAPER_SIZES = {"all": 7671, "train": 1235, "test": 308}
SMALLEST = 20  # fewer images than this cannot be divided among three parts and several classes
_CODES = {"train": TRAIN, "unlabeled": UNLABELED, "test": TEST, "unused": UNUSED}


def paper_split(
    corpus: Corpus,
    seed: int = 0,
    test: int | None = None,
    train: int | None = None,
    classes: Sequence[str] | None = None,
    unlabeled: int | None = None,
) -> Split:
    """Split images at random within each class, as the published study did: copies of one picture fall anywhere.

    Args:
        corpus: the images.
        seed: of the draw.
        test: number of test images; by default 308 of 7,671 and in proportion elsewhere, at least 4 a class.
        train: number of labelled images; by default 1,235 of 7,671 and in proportion elsewhere.
        classes: class names to keep; the rows of other classes are left out (in no part). Default: all.
        unlabeled: largest number of unlabelled images; what is over goes to `unused`. Default: all that is left.

    Returns:
        a Split named "as published".

    Raises:
        CourseError: fewer than 20 images, an unknown class, or sizes that do not fit.
    """
    rows, labels = _eligible(corpus, classes)
    n_test, n_train, least = _sizes(len(rows), len(np.unique(labels)), test, train)
    strata, counts = np.unique(labels, return_counts=True)
    test_quota = apportion(n_test, counts, least)
    train_quota = apportion(n_train, counts - test_quota)
    rng = np.random.default_rng([seed, 1])
    parts: dict[str, list[Rows]] = {"test": [], "train": [], "rest": []}
    for stratum, a, b in zip(strata, test_quota, train_quota):
        shuffled = rng.permutation(rows[labels == stratum])
        for part, chunk in zip(parts, np.split(shuffled, [a, a + b])):
            parts[part].append(chunk)
    rest = rng.permutation(np.concatenate(parts["rest"]))
    keep = len(rest) if unlabeled is None else unlabeled
    parameters = {"test": test, "train": train, "classes": classes, "unlabeled": unlabeled, "unit": "image"}
    chosen = {"train": np.concatenate(parts["train"]), "test": np.concatenate(parts["test"])}
    chosen |= {"unlabeled": rest[:keep], "unused": rest[keep:]}
    return _split(corpus, "as published", seed, parameters, chosen, [])


def grouped_split(
    corpus: Corpus,
    seed: int = 0,
    test: int | None = None,
    train: int | None = None,
    one_per_group: bool = True,
    classes: Sequence[str] | None = None,
    unlabeled: int | None = None,
    by: str = "group",
) -> Split:
    """Split so that no duplicate group crosses a boundary between parts; the course's default.

    Whole groups are drawn at random within the class of their majority. Groups whose members carry different labels
    go to the unlabelled part, where labels do not matter. Groups that hold more than a twentieth of their class are
    not used for testing, since all but one of their images would be lost.

    Args:
        corpus, seed, train, classes, unlabeled: as in `paper_split`.
        test: number of test images; by default 308 of 7,671, and up to 308 or an eighth of a smaller corpus, since 4 %
            of a small corpus could not tell two methods apart.
        one_per_group: test on one image of a group; the group's other images then go nowhere (`unused`).
        by: "group", or "patient" to keep patients whole too (see `patient_split`).

    Returns:
        a Split named "grouped" ("patient" with by="patient"); `info["deviations"]` says where sizes or classes differ
        from what was asked for.

    Raises:
        CourseError: as `paper_split`, or the groups leave a part empty.
    """
    if by == "patient":
        return patient_split(corpus, seed, None, test, train, classes, unlabeled, one_per_group)
    if by != "group":
        raise CourseError(f"by={by!r}: choose 'group' or 'patient'.")
    rows, _ = _eligible(corpus, classes)
    units = number_by_first(groups(corpus)[rows])
    if test is None and len(rows) // 8 >= SMALLEST and len(rows) < PAPER_SIZES["all"]:
        test = min(PAPER_SIZES["test"], len(rows) // 8)
    parameters = {"test": test, "train": train, "classes": classes, "unlabeled": unlabeled}
    parameters |= {"one_per_group": one_per_group, "unit": "group"}
    return _unit_split(corpus, "grouped", seed, parameters, rows, units)


def patient_split(
    corpus: Corpus,
    seed: int = 0,
    fold: int | None = None,
    test: int | None = None,
    train: int | None = None,
    classes: Sequence[str] | None = None,
    unlabeled: int | None = None,
    one_per_group: bool | None = None,
) -> Split:
    """Split so that no patient and no duplicate group crosses a boundary between parts.

    Images whose patient is not known could belong to anyone: they are left `unused`.

    Args:
        corpus, seed, train, classes, unlabeled: as in `paper_split`.
        fold: test on this fold of the source's own patient-level folds (column `fold`; figshare's `cvind.mat` has
            1 to 5). Images outside it that share a duplicate group with it go to `unused`.
        test: without `fold`, the number of test images; by default a fifth, since 4 % would be a handful of patients.
        one_per_group: test on one image a duplicate group; by default True, but False with `fold` so that the test
            part is the published one.

    Returns:
        a Split named "patient".

    Raises:
        CourseError: no patients (or folds) in the corpus, or as `grouped_split`.
    """
    rows, _ = _eligible(corpus, classes)
    patient = corpus.table["patient"].fillna("").astype(str).to_numpy()[rows]
    if not (patient != "").any():
        raise CourseError(
            f"patient_split: no image of corpus '{corpus.name}' has a patient. Use grouped_split, or a source with "
            "patients (figshare, phantoms)."
        )
    unknown = rows[patient == ""]
    known = patient != ""
    rows, patient = rows[known], patient[known]
    units = joined_units(number_by_first(groups(corpus)[rows]), number_by_first(patient))
    one = fold is None if one_per_group is None else one_per_group
    parameters = {"test": test, "train": train, "classes": classes, "unlabeled": unlabeled, "fold": fold}
    parameters |= {"one_per_group": one, "unit": "patient"}
    if fold is not None:
        return _unit_split(corpus, "patient", seed, parameters, rows, units, unknown, _in_fold(corpus, rows, fold))
    parameters["test"] = max(len(rows) // 5, 1) if test is None else test
    return _unit_split(corpus, "patient", seed, parameters, rows, units, unknown)


def _unit_split(
    corpus: Corpus,
    name: str,
    seed: int,
    parameters: dict[str, Any],
    rows: Rows,
    units: Rows,
    unknown: Rows | None = None,
    inside: npt.NDArray[np.bool_] | None = None,
) -> Split:
    """Divide `rows` by whole units; `unknown` rows join `unused`; the mask `inside` fixes the test part."""
    labels = np.asarray(corpus.labels, dtype=np.int64)[rows]
    n_test, n_train, least = _sizes(len(rows), len(np.unique(labels)), parameters["test"], parameters["train"])
    wishes = Wishes(n_test, n_train, least, parameters["unlabeled"], parameters["one_per_group"])
    picture = number_by_first(groups(corpus)[rows])
    division = Division(np.random.default_rng([seed, 2]), labels, units, picture, tuple(corpus.classes))
    if inside is None:
        division.draw(wishes)
    else:
        division.fix_test(inside, wishes)
    chosen = {part: rows[division.part == code] for part, code in _CODES.items()}
    for part in ("train", "test"):
        if not len(chosen[part]):
            largest = np.bincount(units).max()
            raise CourseError(
                f"{name} split: no image is left for the {part} part ({len(rows)} images in {units.max() + 1} "
                f"{parameters['unit']}s, the largest holds {largest}). Check the duplicate threshold, or use more data."
            )
    notes = division.notes
    if unknown is not None and len(unknown):
        chosen["unused"] = np.concatenate([chosen["unused"], unknown])
        notes.append(f"{len(unknown)} images of unknown patients are left unused.")
    return _split(corpus, name, seed, parameters, chosen, notes)


def _split(
    corpus: Corpus, name: str, seed: int, parameters: dict[str, Any], chosen: dict[str, Rows], notes: list[str]
) -> Split:
    parameters = {**parameters, "classes": list(parameters["classes"]) if parameters["classes"] else None}
    left_out = len(corpus.table) - sum(map(len, chosen.values()))
    info = {"kind": name, "seed": seed, "parameters": parameters, "deviations": notes, "left_out": left_out}
    return Split(**chosen, info=info, fingerprint=corpus.fingerprint, name=name)


def _eligible(corpus: Corpus, classes: Sequence[str] | None) -> tuple[Rows, Rows]:
    """Return the row numbers that belong to `classes`, and their labels."""
    labels = np.asarray(corpus.labels, dtype=np.int64)
    rows = np.arange(len(labels), dtype=np.int64)
    if classes is not None:
        unknown = [name for name in classes if name not in corpus.classes]
        if unknown or isinstance(classes, str) or not len(classes):
            raise CourseError(f"classes={classes!r}: give a list of names out of {', '.join(corpus.classes)}.")
        rows = rows[np.isin(labels, [corpus.classes.index(name) for name in classes])]
    if len(rows) < SMALLEST:
        raise CourseError(
            f"corpus '{corpus.name}': {len(rows)} images are too few to split; at least {SMALLEST} needed."
        )
    return rows, labels[rows]


def _sizes(n: int, n_classes: int, test: int | None, train: int | None) -> tuple[int, int, int]:
    """Return the sizes of test and train and the least test images a class, given or in the paper's proportion."""
    for name, value in (("test", test), ("train", train)):
        if value is not None and value < n_classes:
            raise CourseError(f"{name}={value}: give at least one image for each of the {n_classes} classes.")
    least = 4 if test is None else 1
    n_test = max(round(n * PAPER_SIZES["test"] / PAPER_SIZES["all"]), 4 * n_classes) if test is None else test
    n_train = max(round(n * PAPER_SIZES["train"] / PAPER_SIZES["all"]), n_classes) if train is None else train
    if n_test + n_train > n:
        raise CourseError(f"test={n_test} and train={n_train} need more than the {n} images there are. Ask for fewer.")
    return n_test, n_train, least


def _in_fold(corpus: Corpus, rows: Rows, fold: int) -> npt.NDArray[np.bool_]:
    if "fold" not in corpus.table:
        raise CourseError(f"fold={fold}: corpus '{corpus.name}' has no column 'fold'. Leave fold out.")
    folds = pd.to_numeric(corpus.table["fold"], errors="coerce").to_numpy()[rows]
    inside = folds == fold
    if not inside.any() or inside.all():
        there = sorted({int(value) for value in folds[np.isfinite(folds)]})
        raise CourseError(f"fold={fold} cannot be the test part: the corpus has folds {there}.")
    return inside


SPLITS: dict[str, Callable[..., Split]] = {
    "grouped": grouped_split,
    "as published": paper_split,
    "patient": patient_split,
}
"""Every split by the name it carries."""


def split_name(name: str) -> str:
    """Return the name that the split called `name` carries; "published" stands for "as published".

    Raises:
        CourseError: there is no such split.
    """
    found = "as published" if name == "published" else name
    if found not in SPLITS:
        raise CourseError(f"unknown split '{name}'. Choose one of: grouped, published (as in the study), patient.")
    return found


def make_split(name: str, corpus: Corpus, seed: int = 0) -> Split:
    """Draw the split called `name`: "grouped", "as published" (or "published") or "patient", in its default sizes.

    Raises:
        CourseError: there is no such split, or the corpus cannot be split so.
    """
    return SPLITS[split_name(name)](corpus, seed)
