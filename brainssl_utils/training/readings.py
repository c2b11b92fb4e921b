"""Trained runs read frozen, beside random weights and the encoder of full length that travels with the course."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.splits.split import Split
from brainssl_utils.data.splits.subsets import independent_units
from brainssl_utils.errors import CourseError
from brainssl_utils.evaluation.baselines import random_encoder
from brainssl_utils.evaluation.features import FeatureBank
from brainssl_utils.evaluation.protocol import evaluate
from brainssl_utils.training.reference import reference_for
from brainssl_utils.training.run import Run

TITLES = {"linear": "linear probe", "knn": "kNN"}
Pair = tuple[str, str]


class Readings(NamedTuple):
    """What several runs' frozen features tell of the test images.

    Attributes:
        scores: one row a result: setting, reading, model ("trained", "random", "shipped"), correct, n, accuracy, lo, hi
            (shares in 0..1, the last two a 95 % interval).
        chance: by setting, accuracy of always answering the largest class.
        pairs: by ("SETTING; READING", "random weights"), the two reports, as `results.effects.save_effect` takes them.
        groups: by the same names, which test images depend on each other.
    """

    scores: pd.DataFrame
    chance: dict[str, float]
    pairs: dict[Pair, tuple[Mapping[str, Any], Mapping[str, Any]]]
    groups: dict[Pair, npt.NDArray[np.int64]]


def read_runs(runs: Mapping[str, Run], splits: Mapping[str, Split], corpus: Corpus, seed: int = 0) -> Readings:
    """Set trained runs against untrained encoders of the same shape, read by the same probes on the same test images.

    Where an encoder of full length is shipped for a run's method, protocol and test images, it stands beside them.

    Args:
        runs: by the name of their setting; their records hold both readings, as `fit` leaves them.
        splits: by the same names.
        corpus: the images.
        seed: of the random weights and of the probe.

    Raises:
        CourseError: a run without its split, or whose record lacks a reading.
    """
    rows, readings = [], Readings(pd.DataFrame(), {}, {}, {})
    units, banks = independent_units(corpus), dict[tuple[str, int], FeatureBank]()
    for setting, run in runs.items():
        if setting not in splits:
            raise CourseError(f"splits has none for '{setting}'; there are: {', '.join(splits)}.")
        split, found = splits[setting], _evaluations(run)
        shape = run.method.config["encoder"], run.method.config["image_size"]
        if shape not in banks:
            banks[shape] = FeatureBank(random_encoder(*shape, seed), corpus)
        counts = np.bincount(corpus.labels[split.test])
        readings.chance[setting] = float(counts.max() / counts.sum())
        shipped = reference_for(run.method.name, corpus, split, run.method.protocol)
        for how, title in TITLES.items():
            reports = {"trained": found[how], "random": evaluate(banks[shape], corpus, split, how, seed=seed)}
            pair = f"{setting}; {title}", "random weights"
            readings.pairs[pair] = reports["trained"], reports["random"]
            readings.groups[pair] = units[split.test]
            if shipped is not None:
                reports["shipped"] = shipped.record["evaluations"][how]
            for model, report in reports.items():
                numbers = report["correct"], report["n"], report["accuracy"], *report["ci95"]
                rows.append((setting, title, model, *numbers))
    columns = ["setting", "reading", "model", "correct", "n", "accuracy", "lo", "hi"]
    return readings._replace(scores=pd.DataFrame(rows, columns=columns))


def _evaluations(run: Run) -> Mapping[str, Any]:
    found: Mapping[str, Any] = run.record["evaluations"]
    if missing := [how for how in TITLES if how not in found]:
        raise CourseError(f"{run.name} was not read by {', '.join(missing)}: train it with probes=('linear', 'knn').")
    return found
