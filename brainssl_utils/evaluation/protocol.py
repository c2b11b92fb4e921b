"""One evaluation for every method: linear probe, nearest neighbours, fine-tuning, and the report on the test images.

The test images are scored once, at the end; whatever is chosen is chosen on labelled images kept apart from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from tqdm import tqdm

from brainssl_utils.errors import CourseError
from brainssl_utils.evaluation.features import (
    FeatureBank,
    ImageNetEncoder,
    Pixels,
    as_bank,
    encode,
    encoder_of,
    imagenet_features,
    random_encoder,
)
from brainssl_utils.evaluation.fine_tuning import FineTuned, fine_tune
from brainssl_utils.evaluation.probes import (
    NEIGHBOURS,
    STRENGTHS,
    TEMPERATURES,
    Fold,
    Probe,
    check_features,
    knn_probe,
    knn_probe_folds,
    linear_probe,
    linear_probe_folds,
    stratified_folds,
)
from brainssl_utils.evaluation.reports import check_rows, test_report

if TYPE_CHECKING:
    from brainssl_utils.data.corpus import Corpus
    from brainssl_utils.data.splits.split import Split

__all__ = [
    "FeatureBank",
    "FineTuned",
    "ImageNetEncoder",
    "Pixels",
    "Probe",
    "encode",
    "evaluate",
    "fine_tune",
    "imagenet_features",
    "knn_probe",
    "label_curve",
    "linear_probe",
    "pixel_knn",
    "random_encoder",
    "test_report",
]

Rows = npt.NDArray[np.int64]
KINDS = ("linear", "knn")


def evaluate(
    model: Any,
    corpus: Corpus,
    split: Split,
    kind: str = "linear",
    labels: Rows | None = None,
    seed: int = 0,
    image_size: int | None = None,
) -> dict[str, Any]:
    """Read a frozen encoder's features with a probe and score the test images once.

    Settings of the probe are chosen on the split's validation part, which then joins the labelled images. With few
    labels (`labels`), and where there is no validation part, they are chosen by cross-validation inside the labelled
    images, so that a result "with 12 labels" has used 12.

    Args:
        model: a `Run`, a method, an encoder, or a `FeatureBank` of `corpus`, which encodes each image once for any
            number of evaluations.
        corpus, split: the images, and who is labelled and tested.
        kind: "linear" or "knn".
        labels: rows whose labels may be used; default the split's `train` and `validation`.
        seed: of the cross-validation's folds.
        image_size: as in `FeatureBank`.

    Returns:
        `test_report` with kind, labels (how many were used), features (D), chosen, validation_accuracy, seed.

    Raises:
        CourseError: an unknown kind, labels that are test images or of one class alone, features that are not finite.
    """
    if kind not in KINDS:
        raise CourseError(f"kind='{kind}': choose one of {', '.join(KINDS)} (fine_tune is a function of its own).")
    rows, folds = _labelled(corpus, split, labels, seed)
    y = np.asarray(corpus.labels, np.int64)[rows]
    bank = as_bank(model, corpus, image_size)
    x, test_x = bank.rows(rows), bank.rows(split.test)
    check_features(x, y)
    if kind == "linear":
        probe = linear_probe_folds(x, y, folds, test_x, STRENGTHS)
    else:
        probe = knn_probe_folds(x, y, folds, test_x, NEIGHBOURS, TEMPERATURES)
    about = {"kind": kind, "labels": len(rows), "features": x.shape[1], "seed": seed}
    about |= {"chosen": probe.chosen, "validation_accuracy": probe.validation_accuracy}
    return {**about, **test_report(corpus.labels[split.test], probe.predictions, corpus.classes)}


def pixel_knn(corpus: Corpus, split: Split, labels: Rows | None = None, seed: int = 0) -> dict[str, Any]:
    """Nearest neighbours on raw pixels: what copies and look-alikes alone are worth. Arguments as in `evaluate`."""
    return evaluate(Pixels(), corpus, split, "knn", labels, seed)


def label_curve(
    models: Mapping[str, Any],
    corpus: Corpus,
    split: Split,
    ns: Sequence[int] = (12, 123, 1235),
    seeds: Iterable[int] = (0, 1, 2),
    kinds: Sequence[str] = ("linear", "knn"),
    fine_tuning: Mapping[str, Any] | None = None,
    own: Mapping[str, Mapping[str, Any]] | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Accuracy against number of labels: every model, with the same labels, at every size and seed.

    Subsets are stratified and nested (`label_subset`) and drawn from the split's train and validation parts together;
    a size larger than these becomes all of them. Nothing beyond the subset's labels is used.

    Args:
        models: by name: a model as in `evaluate`, or a list of them, one a seed. Each encodes an image once.
        corpus, split: the images, and who is labelled and tested.
        ns: numbers of labels.
        seeds: each draws its own labels, folds, and fine-tuning batches.
        kinds: "linear", "knn", "fine_tune".
        fine_tuning: keyword arguments for `fine_tune`.
        own: further ones by model name, such as {"from scratch": {"encoder_lr_factor": 1.0}}.
        progress: show a bar.

    Returns:
        one row a result: method, kind, labels, seed, accuracy, lo, hi (95 % Wilson over the test images),
        balanced_accuracy, macro_f1; shares in 0..1.

    Raises:
        CourseError: an unknown kind or model name, fewer models in a list than seeds, or as `evaluate`.
    """
    from brainssl_utils.data.splits.subsets import label_subset

    seeds, own = list(seeds), own or {}
    _check_curve(models, seeds, kinds, own)
    pool = replace(split, train=np.concatenate([split.train, split.validation]), validation=split.validation[:0])
    sizes = sorted({min(int(n), len(pool.train)) for n in ns})
    subsets = {(n, seed): label_subset(pool, corpus, n, seed) for n in sizes for seed in seeds}
    rows: list[dict[str, Any]] = []
    bar = tqdm(total=len(models) * len(subsets) * len(kinds), desc="labels", disable=not progress, ncols=100)
    for name, given in models.items():
        several = isinstance(given, (list, tuple))
        banks = [as_bank(each, corpus) for each in (given if several else [given])]
        for (n, seed), labels in subsets.items():
            bank = banks[seeds.index(seed) if several else 0]
            for kind in kinds:
                if kind == "fine_tune":
                    options = {**(fine_tuning or {}), **own.get(name, {}), "seed": seed, "image_size": bank.image_size}
                    report = fine_tune(bank.model, corpus, split, labels, **options).report
                else:
                    report = evaluate(bank, corpus, pool, kind, labels, seed)
                rows.append({"method": name, "kind": kind, "labels": n, "seed": seed, **_scores(report)})
                bar.update()
    bar.close()
    return pd.DataFrame(rows)


def _scores(report: dict[str, Any]) -> dict[str, float]:
    low, high = report["ci95"]
    scores = {name: report[name] for name in ("accuracy", "balanced_accuracy", "macro_f1")}
    return {**scores, "lo": low, "hi": high}


def _labelled(corpus: Corpus, split: Split, labels: Rows | None, seed: int) -> tuple[Rows, list[Fold]]:
    """The rows whose labels may be used, and the index pairs into them on which a probe's settings are chosen."""
    rows = split.train if labels is None else np.sort(np.asarray(labels, np.int64))
    check_rows(corpus, split, rows)
    if len(split.validation) and np.array_equal(rows, split.train):
        fold = np.arange(len(rows)), len(rows) + np.arange(len(split.validation))
        return np.concatenate([rows, split.validation]), [fold]
    group = corpus.table["group"].to_numpy()[rows]
    return rows, stratified_folds(np.asarray(corpus.labels)[rows], seed, groups=group)


def _check_curve(models: Mapping[str, Any], seeds: list[int], kinds: Sequence[str], own: Mapping[str, Any]) -> None:
    unknown = set(kinds) - {*KINDS, "fine_tune"}
    if unknown:
        raise CourseError(f"unknown kinds: {', '.join(sorted(unknown))}. Choose from {', '.join(KINDS)}, fine_tune.")
    if set(own) - set(models):
        raise CourseError(f"`own` names models that are not there: {', '.join(sorted(set(own) - set(models)))}.")
    for name, given in models.items():
        if isinstance(given, (list, tuple)):
            if len(given) != len(seeds):
                raise CourseError(
                    f"'{name}' has {len(given)} models for {len(seeds)} seeds; give one a seed, or one for all."
                )
        elif not isinstance(given, FeatureBank):
            encoder_of(given)
