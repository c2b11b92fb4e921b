"""The report on the test images, the same for every kind of evaluation, and the check that they stayed unseen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from brainssl_utils.errors import CourseError
from brainssl_utils.intervals import wilson_interval

if TYPE_CHECKING:
    from brainssl_utils.data.corpus import Corpus
    from brainssl_utils.data.splits.split import Split


def test_report(y_true: npt.ArrayLike, y_pred: npt.ArrayLike, classes: Sequence[str]) -> dict[str, Any]:
    """Describe predictions on the test images.

    Args:
        y_true, y_pred: class codes (n,), 0..len(classes) - 1.
        classes: class names in the order of the codes.

    Returns:
        dict of n, correct, accuracy, ci95 ([low, high], Wilson), balanced_accuracy (mean recall of the classes that
        occur), macro_f1 (mean over classes that occur or were predicted), recall (by class name; None where the class
        does not occur), confusion (rows: truth, columns: prediction), truth and predictions (the codes of `y_true` and
        `y_pred`, with which `comparison` pairs models scored on the same images). All shares in 0..1.

    Raises:
        CourseError: no predictions, lengths that differ, or a code that is no class.
    """
    truth, answer = np.asarray(y_true, np.int64), np.asarray(y_pred, np.int64)
    if truth.ndim != 1 or truth.shape != answer.shape or not len(truth):
        raise CourseError(
            f"test_report: expected labels and predictions of one length, got {truth.shape} {answer.shape}."
        )
    codes = np.concatenate([truth, answer])
    if codes.min() < 0 or codes.max() >= len(classes):
        raise CourseError(f"test_report: codes must lie in 0..{len(classes) - 1}, got {codes.min()}..{codes.max()}.")
    from sklearn.metrics import confusion_matrix, f1_score, recall_score  # slow to import, so only where it is needed

    n, correct = len(truth), int((truth == answer).sum())
    # The mean recall of the classes that occur is balanced_accuracy_score, which however warns of answers of other classes.
    occurring = np.unique(truth)
    recalls = recall_score(truth, answer, labels=occurring, average=None)
    recall = {classes[code]: float(value) for code, value in zip(occurring, recalls)}
    return {
        "n": n,
        "correct": correct,
        "accuracy": correct / n,
        "ci95": list(wilson_interval(correct, n)),
        "balanced_accuracy": float(np.mean(recalls)),
        "macro_f1": float(f1_score(truth, answer, average="macro")),
        "recall": {name: recall.get(name) for name in classes},
        "confusion": confusion_matrix(truth, answer, labels=range(len(classes))).tolist(),
        "truth": truth.tolist(),
        "predictions": answer.tolist(),
    }


def accuracy_table(reports: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Return a row a report of `test_report`: correct, n, and in % accuracy and its interval's ends, low and high."""
    rows = {
        name: [report["correct"], report["n"], *(100 * share for share in (report["accuracy"], *report["ci95"]))]
        for name, report in reports.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["correct", "n", "accuracy", "low", "high"])


test_report.__test__ = False  # type: ignore[attr-defined]  # not a test, whatever its name tells pytest


def check_rows(corpus: Corpus, split: Split, rows: npt.NDArray[np.int64], what: str = "labels") -> None:
    """Refuse labelled rows that cannot be learned from.

    Raises:
        CourseError: the split is another corpus's; `rows` is empty, repeats a row, reaches outside the corpus or into
            the test part; the test part is empty.
    """
    if split.fingerprint != corpus.fingerprint:
        raise CourseError("the split was made for another corpus: make or load it with the corpus you use it on.")
    if not len(split.test):
        raise CourseError("the split has no test images to score.")
    if not len(rows):
        raise CourseError(f"`{what}` is empty: at least one row a class is needed.")
    if len(np.unique(rows)) != len(rows) or rows.min() < 0 or rows.max() >= len(corpus.labels):
        raise CourseError(f"`{what}` must be different row numbers of the corpus, 0..{len(corpus.labels) - 1}.")
    if np.isin(rows, split.test).any():
        raise CourseError(
            f"`{what}` names test images: labelled rows come from split.train, as label_subset gives them."
        )
