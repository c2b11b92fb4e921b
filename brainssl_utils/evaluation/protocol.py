"""One evaluation for every method: linear probe, nearest neighbours, fine-tuning, and the report on the test images.

The test images are scored once, at the end; whatever is chosen is chosen on labelled images kept apart from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from brainssl_utils.checks import check_choice
from brainssl_utils.data.splits.copies_removed import copied_and_others
from brainssl_utils.data.splits.draw import paper_split
from brainssl_utils.data.splits.subsets import independent_units, label_subset
from brainssl_utils.errors import CourseError
from brainssl_utils.evaluation.baselines import Pixels
from brainssl_utils.evaluation.features import FeatureBank, as_bank, encoder_of
from brainssl_utils.evaluation.fine_tuning import FineTuning, fine_tune
from brainssl_utils.evaluation.probes import Fold, Probe, holdout_fold, knn_probe, linear_probe, stratified_folds
from brainssl_utils.evaluation.reports import check_rows, test_report
from brainssl_utils.showing import progress_bar

if TYPE_CHECKING:
    from brainssl_utils.data.corpus import Corpus
    from brainssl_utils.data.splits.split import Split

Rows = npt.NDArray[np.int64]
PROBES: dict[str, Callable[..., Probe]] = {"linear": linear_probe, "knn": knn_probe}
OTHERS = "others"
"""Key of `label_curve`'s fine-tuning settings for the models that are not named."""


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

    Which labels are used is one rule:

    - without `labels`, those of the split's train and validation parts. The probe's settings are chosen on the validation
      part, which then joins the training part; where there is none, by cross-validation.
    - with `labels`, those of exactly these rows, whichever they are. The settings are chosen by cross-validation inside
      them, so that a result "with 12 labels" has used 12. The validation part plays no role, even if `labels` is
      `split.train`.

    Args:
        model: a `Run`, a method, an encoder, or a `FeatureBank` of `corpus`, which encodes each image once for any
            number of evaluations.
        corpus, split: the images, and who is labelled and tested.
        kind: "linear" or "knn".
        labels: rows whose labels are used, and no others; default the split's `train` and `validation`.
        seed: of the cross-validation's folds.
        image_size: as in `FeatureBank`.

    Returns:
        `test_report` with kind, labels (how many were used), features (D), chosen, validation_accuracy, seed.

    Raises:
        CourseError: an unknown kind, labels that are test images or of one class alone, features that are not finite.
    """
    check_choice("kind", kind, PROBES)
    rows, folds = _labelled(corpus, split, labels, seed)
    bank = as_bank(model, corpus, image_size)
    x, test_x = bank.rows(rows), bank.rows(split.test)
    probe = PROBES[kind](x, np.asarray(corpus.labels)[rows], test_x, folds)
    about = {"kind": kind, "labels": len(rows), "features": x.shape[1], "seed": seed}
    about |= {"chosen": probe.chosen, "validation_accuracy": probe.validation_accuracy}
    return {**about, **test_report(corpus.labels[split.test], probe.predictions, corpus.classes)}


def pixel_knn(corpus: Corpus, split: Split, labels: Rows | None = None, seed: int = 0) -> dict[str, Any]:
    """Nearest neighbours on raw pixels: what copies and look-alikes alone are worth. Arguments as in `evaluate`."""
    return evaluate(Pixels(), corpus, split, "knn", labels, seed)


def pixel_knn_by_copies(corpus: Corpus, seed: int = 0, seeds: int = 3) -> pd.DataFrame:
    """What copies among the labels are worth to `pixel_knn`, on unchanged test images of splits as published.

    Args:
        corpus: the images.
        seed: the first of the splits' seeds.
        seeds: how many.

    Returns:
        a row each for all labels, the labels without copies of test images, and those without as many others:
        correct, n, over all splits together.

    Raises:
        CourseError: as `evaluate`.
    """
    rows = []
    for each in range(seed, seed + seeds):
        split = paper_split(corpus, each)
        copied, others = copied_and_others(corpus, split, each)
        for name, gone in (("all labels", copied[:0]), ("copies removed", copied), ("others removed", others)):
            report = pixel_knn(corpus, split, labels=np.delete(split.train, gone), seed=each)
            rows.append((name, report["correct"], report["n"]))
    return pd.DataFrame(rows, columns=["labels", "correct", "n"]).groupby("labels", sort=False).sum()


def acquainted_answers(
    model: Any, corpus: Corpus, dealt: Sequence[Split], kind: str = "linear", seed: int = 0
) -> pd.DataFrame:
    """Let the two models of `acquainted_splits` answer the test images they share, and sort the answers by acquaintance.

    Args:
        model, corpus, kind, seed: as in `evaluate`.
        dealt: the two splits.

    Returns:
        one row a test image: row, truth, "met" and "not met" (the class that each model gives: the one that has learned from
        other images of its patient, the one that has not), copy (whether these hold a copy of it), unit (images with the
        same number are no independent evidence).

    Raises:
        CourseError: splits that test different images, or as `evaluate`.
    """
    first, second = dealt
    if not np.array_equal(first.test, second.test):
        raise CourseError("acquainted_answers: the two splits test different images. Take those of acquainted_splits.")
    unit, group = independent_units(corpus), corpus.table["group"].to_numpy()
    met_by_first = np.isin(unit[first.test], unit[first.train])
    one, other = (np.array(evaluate(model, corpus, part, kind, seed=seed)["predictions"]) for part in dealt)
    copy_in_first, copy_in_second = (np.isin(group[first.test], group[part.train]) for part in dealt)
    columns = {
        "row": first.test,
        "truth": np.asarray(corpus.labels)[first.test],
        "met": np.where(met_by_first, one, other),
        "not met": np.where(met_by_first, other, one),
        "copy": np.where(met_by_first, copy_in_first, copy_in_second),
        "unit": unit[first.test],
    }
    return pd.DataFrame(columns)


def label_curve(
    models: Mapping[str, Any],
    corpus: Corpus,
    split: Split,
    ns: Sequence[int] = (12, 123, 1235),
    seeds: Iterable[int] = (0, 1, 2),
    kinds: Sequence[str] = ("linear", "knn"),
    fine_tuning: FineTuning | Mapping[str, FineTuning] = FineTuning(),
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
        fine_tuning: settings of `fine_tune`, `seed` aside. A mapping gives them by model name, and those of all other
            models under "others".
        progress: show a bar.

    Returns:
        one row a result: method, kind, labels, seed, accuracy, lo, hi (95 % Wilson over the test images),
        balanced_accuracy, macro_f1; shares in 0..1.

    Raises:
        CourseError: an unknown kind or model name, a model without settings, fewer models in a list than seeds, or as
            `evaluate` and `fine_tune`.
    """
    seeds = list(seeds)
    _check_curve(models, seeds, kinds)
    settings = _settings_by_model(models, fine_tuning)
    pool = replace(split, train=np.concatenate([split.train, split.validation]), validation=split.validation[:0])
    sizes = sorted({min(int(n), len(pool.train)) for n in ns})
    subsets = {(n, seed): label_subset(pool, corpus, n, seed) for n in sizes for seed in seeds}
    rows: list[dict[str, Any]] = []
    with progress_bar(len(models) * len(subsets) * len(kinds), "labels", show=progress) as bar:
        for name, given in models.items():
            several = isinstance(given, (list, tuple))
            banks = [as_bank(each, corpus) for each in (given if several else [given])]
            for (n, seed), labels in subsets.items():
                bank = banks[seeds.index(seed) if several else 0]
                for kind in kinds:
                    if kind == "fine_tune":
                        tuning = replace(settings[name], seed=seed)
                        report = fine_tune(bank.model, corpus, split, labels, tuning, image_size=bank.image_size).report
                    else:
                        report = evaluate(bank, corpus, split, kind, labels, seed)
                    rows.append({"method": name, "kind": kind, "labels": n, "seed": seed, **_scores(report)})
                    bar.update()
    return pd.DataFrame(rows)


def _scores(report: dict[str, Any]) -> dict[str, float]:
    low, high = report["ci95"]
    scores = {name: report[name] for name in ("accuracy", "balanced_accuracy", "macro_f1")}
    return {**scores, "lo": low, "hi": high}


def _labelled(corpus: Corpus, split: Split, labels: Rows | None, seed: int) -> tuple[Rows, list[Fold]]:
    """The rows whose labels are used, and the index pairs into them on which a probe's settings are chosen."""
    rows = split.train if labels is None else np.sort(np.asarray(labels, np.int64))
    check_rows(corpus, split, rows)
    if labels is None and len(split.validation):
        return np.concatenate([rows, split.validation]), [holdout_fold(len(rows), len(split.validation))]
    group = corpus.table["group"].to_numpy()[rows]
    return rows, stratified_folds(np.asarray(corpus.labels)[rows], seed, groups=group)


def _settings_by_model(
    models: Mapping[str, Any], fine_tuning: FineTuning | Mapping[str, FineTuning]
) -> dict[str, FineTuning]:
    if isinstance(fine_tuning, FineTuning):
        return dict.fromkeys(models, fine_tuning)
    unknown = set(fine_tuning) - {*models, OTHERS}
    if unknown:
        raise CourseError(f"`fine_tuning` names models that are not there: {', '.join(sorted(unknown))}.")
    missing = set(models) - set(fine_tuning)
    if missing and OTHERS not in fine_tuning:
        raise CourseError(f"`fine_tuning` has no settings for {', '.join(sorted(missing))}: add them, or '{OTHERS}'.")
    return {name: fine_tuning[name if name in fine_tuning else OTHERS] for name in models}


def _check_curve(models: Mapping[str, Any], seeds: list[int], kinds: Sequence[str]) -> None:
    for kind in kinds:
        check_choice("kinds", kind, [*PROBES, "fine_tune"])
    for name, given in models.items():
        if isinstance(given, (list, tuple)):
            if len(given) != len(seeds):
                raise CourseError(
                    f"'{name}' has {len(given)} models for {len(seeds)} seeds; give one a seed, or one for all."
                )
        elif not isinstance(given, FeatureBank):
            encoder_of(given)
