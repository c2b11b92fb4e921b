"""Reading frozen features with a simple classifier: logistic regression and nearest neighbours.

Both choose their settings on labelled images that are not tested on, and are then fitted to all the labels given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from brainssl_utils.errors import CourseError

Array = npt.NDArray[Any]
Labels = npt.NDArray[np.int64]
Fold = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]

STRENGTHS = tuple(10.0**power for power in range(-5, 0))
"""Inverse strengths C of the L2 penalty tried by the linear probe, on standardised features."""
NEIGHBOURS = (1, 5, 10, 20, 50, 200)
TEMPERATURES = (0.03, 0.07, 0.2)
APART = (10, 0.07)
"""Neighbours and temperature of `knn_accuracy_apart`, which chooses nothing."""


class Probe(NamedTuple):
    """A probe's answer: predicted classes (n,) int64, what was chosen, and its accuracy where it was chosen."""

    predictions: Labels
    chosen: dict[str, float]
    validation_accuracy: float | None


def linear_probe(
    x: Array, y: Array, test_x: Array, folds: Sequence[Fold] | None = None, strengths: Sequence[float] = STRENGTHS
) -> Probe:
    """Logistic regression on standardised features; its strength is chosen on `folds`, then all of `x` is fitted.

    Args:
        x, test_x: features (n, D) of labelled images and of those to be classified.
        y: class codes (n,).
        folds: (fit, validate) pairs of index arrays into `x`. Default: `stratified_folds(y)`. `holdout_fold` gives the
            pair of a training and a validation part. Without any that holds two classes to fit on, the middle of
            `strengths` is taken, unvalidated.
        strengths: the values of scikit-learn's C to choose from.

    Raises:
        CourseError: shapes do not fit, values are not finite, or the labels are of one class alone.
    """
    y = _check(x, y, test_x)
    folds = stratified_folds(y) if folds is None else folds
    # Few labels in groups that mix classes can leave one class to fit on: no strength is better or worse there.
    folds = [(fit, validate) for fit, validate in folds if len(np.unique(y[fit])) > 1]
    scores = np.zeros((len(folds), len(strengths), 2))
    for number, (fit, validate) in enumerate(folds):
        inside, outside = rotate(x[fit], x[validate])
        for place, model in enumerate(_regularisation_path(inside, y[fit], strengths)):
            right = model.predict(outside) == y[validate]
            scores[number, place] = right.mean(), _log_likelihood(model, outside, y[validate])
    best = _best(scores, default=len(strengths) // 2)
    inside, outside = rotate(x, test_x)
    # Along the path up to the chosen one, as when choosing: each fit starts where the one before ended.
    model = list(_regularisation_path(inside, y, strengths[: best + 1]))[-1]
    accuracy = float(scores[:, best, 0].mean()) if len(folds) else None
    return Probe(model.predict(outside).astype(np.int64), {"C": float(strengths[best])}, accuracy)


def knn_probe(
    x: Array,
    y: Array,
    test_x: Array,
    folds: Sequence[Fold] | None = None,
    neighbours: Sequence[int] = NEIGHBOURS,
    temperatures: Sequence[float] = TEMPERATURES,
) -> Probe:
    """Weighted nearest neighbours by cosine similarity (Wu et al. 2018), as in Lightly's benchmarks.

    Neighbours vote with weight exp(similarity / temperature). Both settings are chosen on `folds`; then all of `x` votes.
    Where there are fewer images than neighbours asked for, all of them vote. Without folds it is one neighbour,
    unvalidated. Args and errors otherwise as in `linear_probe`.
    """
    y = _check(x, y, test_x)
    folds = stratified_folds(y) if folds is None else folds
    settings = [(k, t) for k in neighbours for t in temperatures]
    scores = np.zeros((len(folds), len(settings), 1))
    x, test_x = _unit(x), _unit(test_x)
    for number, (fit, validate) in enumerate(folds):
        for place, (k, temperature) in enumerate(settings):
            answer = _knn(x[fit], y[fit], x[validate], k, temperature)
            scores[number, place] = (answer == y[validate]).mean()
    best = _best(scores, default=0)
    k, temperature = settings[best]
    accuracy = float(scores[:, best, 0].mean()) if len(folds) else None
    chosen = {"k": min(k, len(x)), "temperature": temperature}
    return Probe(_knn(x, y, test_x, k, temperature), chosen, accuracy)


def knn_accuracy_apart(x: Array, y: Array, asked: Array, wanted: Array, related: Array) -> float:
    """Share in 0..1 of images whose nearest neighbours of other patients vote for their class, at fixed settings.

    `APART` says how many neighbours vote, and at which temperature; by cosine similarity, as in `knn_probe`.

    Args:
        x, y: features (n, D) and class codes (n,) of the images that vote.
        asked, wanted: features (m, D) and class codes (m,) of those that are voted on; the same images may be given.
        related: (m, n) bool, where an image must not be voted on by another: itself, its copies, its patient's.

    Raises:
        CourseError: as in `linear_probe`.
    """
    from sklearn.neighbors import KNeighborsClassifier

    y = _check(x, y, asked)
    k, temperature = APART
    unit = _unit(x)
    # Twice as far as anything can be: at this temperature such a neighbour's vote is nothing beside any other's.
    distance = np.where(related, 4, (1 - _unit(asked) @ unit.T).clip(0, 2))
    model = KNeighborsClassifier(
        min(k, len(x)), weights=lambda far: np.exp((1 - far) / temperature), metric="precomputed"
    )
    answer = model.fit((1 - unit @ unit.T).clip(0, 2), y).predict(distance)
    return float((answer == wanted).mean())


def holdout_fold(n_train: int, n_validation: int) -> Fold:
    """The (fit, validate) index pair of `n_train` training rows with `n_validation` validation rows after them."""
    rows = np.arange(n_train + n_validation)
    return rows[:n_train], rows[n_train:]


def stratified_folds(y: Labels, seed: int = 0, n: int = 5, groups: Array | None = None) -> list[Fold]:
    """Index pairs (fit, validate) for choosing inside the labels; none where a class has a single image (or group).

    Args:
        y: class codes.
        seed: of the draw.
        n: number of pairs, lowered to what the rarest class allows. From 500 labels on, the first pair is enough.
        groups: groups of copies; none is on both sides, or copies would make close memory look like the best choice.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    groups = np.arange(len(y)) if groups is None else np.asarray(groups)
    n = min(n, *(len(np.unique(groups[y == label])) for label in np.unique(y)))
    if n < 2:
        return []
    folds = list(StratifiedGroupKFold(n, shuffle=True, random_state=seed).split(y, y, groups))
    return folds if len(y) < 500 else folds[:1]


def rotate(x: Array, other: Array) -> tuple[Array, Array]:
    """Standardise by the mean and deviation of `x`, then turn both into the space that the rows of `x` span.

    An L2-penalised linear model's weights lie in the span of its training rows, and neither its penalty nor its scores
    change under rotation: from (n, D) to (n, at most n) nothing is lost, and with D = 9216 >> n much time is saved.
    At least one column comes back, of zeros if all rows of `x` are equal.
    """
    x, other = np.asarray(x, np.float64), np.asarray(other, np.float64)
    mean, deviation = x.mean(0), x.std(0)
    deviation[x.max(0) == x.min(0)] = 1  # by the extremes: the mean of equal numbers is rounded
    x, other = (x - mean) / deviation, (other - mean) / deviation
    if x.shape[1] <= x.shape[0]:
        return x, other
    if not x.any():  # a collapsed encoder: the rows span nothing, and a model of one empty column answers the commonest
        return np.zeros((len(x), 1)), np.zeros((len(other), 1))
    values, vectors = np.linalg.eigh(x @ x.T)
    kept = values > values[-1] * 1e-12
    length, vectors = np.sqrt(values[kept]), vectors[:, kept]
    return vectors * length, other @ (x.T @ (vectors / length))


def _regularisation_path(x: Array, y: Labels, strengths: Sequence[float]) -> Any:
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    model = LogisticRegression(warm_start=True, max_iter=200)
    for strength in strengths:
        # These matrices are small: threads that wait for each other cost several times what they save.
        with warnings.catch_warnings(), threadpool_limits(1, "blas"):
            # With more features than images the weak penalties separate the classes and creep on; close enough by then.
            warnings.simplefilter("ignore", ConvergenceWarning)
            yield model.set_params(C=strength).fit(x, y)


def _log_likelihood(model: Any, x: Array, y: Labels) -> float:
    probability = model.predict_proba(x)
    column = np.searchsorted(model.classes_, y).clip(max=len(model.classes_) - 1)
    own = np.where(model.classes_[column] == y, probability[np.arange(len(y)), column], 0)
    return float(np.log(np.maximum(own, 1e-12)).mean())


def _best(scores: Array, default: int) -> int:
    """Place of the best setting by accuracy over the folds; ties go to the likelier one, then to the first."""
    if not len(scores):
        return default
    mean = scores.mean(0)
    return max(range(len(mean)), key=lambda place: tuple(mean[place].round(12)))


def _knn(bank: Array, labels: Labels, x: Array, k: int, temperature: float) -> Labels:
    import torch
    from lightly.utils.benchmarking import knn_predict

    known, codes = np.unique(labels, return_inverse=True)
    ranked = knn_predict(
        torch.from_numpy(x),
        torch.from_numpy(bank.T),
        torch.from_numpy(codes),
        len(known),
        min(k, len(bank)),
        temperature,
    )
    return known[ranked[:, 0].numpy()]


def _unit(x: Array) -> Array:
    x = np.asarray(x, np.float32)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def _check(x: Array, y: Array, test_x: Array) -> Labels:
    """Refuse features that cannot be read; return the class codes as int64."""
    if x.ndim != 2 or len(x) != len(y) or not len(x):
        raise CourseError(f"expected features (n, D) with n labels, got {x.shape} and {len(y)} labels.")
    if test_x.ndim != 2 or test_x.shape[1] != x.shape[1]:
        raise CourseError(f"features differ in width: {x.shape} with labels, {test_x.shape} to be classified.")
    if not (np.isfinite(x).all() and np.isfinite(test_x).all()):
        raise CourseError("the features hold NaN or infinity: the encoder has diverged, nothing can be read from it.")
    if len(np.unique(y)) < 2:
        raise CourseError("the labels are of one class alone: nothing can be told apart. Give at least two classes.")
    return np.asarray(y, np.int64)
