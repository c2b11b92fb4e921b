"""A training as a whole: the parts that decide its numbers, its key and name, its record and its readings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from brainssl_utils import validity
from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.splits.leakage import leakage
from brainssl_utils.data.splits.split import Rows, Split
from brainssl_utils.data.splits.subsets import independent_units
from brainssl_utils.errors import CourseError
from brainssl_utils.evaluation.features import FeatureBank
from brainssl_utils.evaluation.protocol import evaluate
from brainssl_utils.evaluation.reports import check_rows, test_report
from brainssl_utils.methods.base import Method, TrainingData, describe
from brainssl_utils.results import records
from brainssl_utils.results.provenance import environment, git_commit
from brainssl_utils.settings import Profile
from brainssl_utils.training.batches import training_data


@dataclass(frozen=True, eq=False)
class Training:
    """One training: all that decides its numbers, and what they are called and kept under.

    Attributes:
        method: with the settings and the weights it starts from.
        corpus: the images.
        split: who may be seen and who is tested.
        profile: sizes and lengths.
        seed: of batches and views.
        labels: rows whose labels may be used.
        tag: see `FitOptions`.

    Raises:
        CourseError: the parts do not fit together; the message says which and what to change.
    """

    method: Method
    corpus: Corpus
    split: Split
    profile: Profile
    seed: int
    labels: Rows
    tag: str = ""

    def __post_init__(self) -> None:
        self.method.check_unchanged()
        size, wanted = self.method.encoder.image_size, self.profile.image_size
        if size != wanted:
            raise CourseError(
                f"the encoder takes {size} pixels, but profile '{self.profile.name}' has images of {wanted}: "
                f"build the method with image_size={wanted} (a network of your own: OwnEncoder(network, {wanted}))."
            )
        stored = self.corpus.images.shape[-1]
        if wanted > stored:
            raise CourseError(
                f"profile '{self.profile.name}' has images of {wanted} pixels, but the corpus was loaded at {stored}, and "
                f"enlarging would only blur: load it with image_size={wanted}."
            )
        check_rows(self.corpus, self.split, self.labels)
        if len(np.unique(self.corpus.labels[self.labels])) < 2:
            raise CourseError(
                f"all {len(self.labels)} labelled images are of one class, so there is nothing to tell apart: give labels of "
                "two classes or more."
            )
        if not len(self.split.unlabeled):
            raise CourseError("the split has no unlabelled images: choose a smaller train or test part.")
        if not np.isin(self.split.unlabeled, self.pool).any():
            raise CourseError("every unlabelled image has a copy among the labelled ones: leave one_per_group out.")
        classes = len(self.corpus.classes)
        if classes != self.method.config["n_classes"]:
            raise CourseError(
                f"the corpus has {classes} classes, but the method was built for {self.method.config['n_classes']}: "
                f"build it with n_classes={classes}."
            )

    @cached_property
    def depends_on(self) -> dict[str, Any]:
        """What decides the numbers, by name (see `validity`)."""
        method = self.method
        rows = {
            "labels": self.labels,
            **{part: getattr(self.split, part) for part in ("unlabeled", "test", "validation")},
        }
        if method.config.get("one_per_group"):
            rows["pool"] = self.pool  # copies are found by a search whose outcome nothing else in the key tells
        return validity.training_parts(
            {"name": method.name, "protocol": method.protocol, **method.deciding},
            method.first_weights.label,
            self.corpus.fingerprint,
            rows,
            asdict(self.profile),
            self.seed,
        )

    @cached_property
    def pool(self) -> Rows:
        """Rows whose images the method may see: all, or one of each group of copies, a labelled one where there is one."""
        if not self.method.config.get("one_per_group"):
            return np.concatenate([self.split.unlabeled, self.labels])
        rows = np.concatenate([self.labels, self.split.unlabeled])
        groups = self.corpus.table["group"].to_numpy()[rows]
        return rows[np.sort(np.unique(groups, return_index=True)[1])]

    @cached_property
    def key(self) -> str:
        try:
            return validity.training_key(self.depends_on)
        except TypeError as error:
            raise CourseError(
                f"a setting of {self.method.title} cannot be kept in a record ({error}): settings are numbers, text and lists."
            ) from error

    def with_epochs(self, epochs: int) -> Training:
        """The same training at another length."""
        return replace(self, profile=replace(self.profile, epochs=epochs))

    @property
    def name(self) -> str:
        """What its files are called: method, tag, protocol, split, corpus, number of labels, profile, seed."""
        method = self.method
        about = [method.name or type(method).__name__, self.tag, method.protocol, self.split.name, self.corpus.name]
        parts = [*about, f"{len(self.labels)}labels", self.profile.name, f"seed{self.seed}"]
        return "-".join(re.sub(r"[^\w.]+", "_", part) for part in parts if part)

    def data(self) -> TrainingData:
        """The corpus at the profile's size as tensors."""
        return training_data(self.corpus, self.split, self.profile, self.seed, self.labels, self.pool)

    def record(self, data: TrainingData) -> dict[str, Any]:
        """Score the test images and gather everything a reader of the result needs to know."""
        method, corpus, split = self.method, self.corpus, self.split
        predicted = method.predict(data.images[data.test]).numpy()
        parts = {
            "labelled": self.labels,
            "unlabelled": split.unlabeled,
            "validation": split.validation,
            "test": split.test,
        }
        return {
            "schema": records.SCHEMA_VERSION,
            "name": self.name,
            "key": self.key,
            "depends_on": self.depends_on,
            "method": method.name,
            "title": method.title,
            "protocol": method.protocol,
            "tag": self.tag,
            "split": split.name,
            "split_info": split.info,
            "leakage": leakage(corpus, split).reset_index().to_dict("records"),
            "data": {
                "name": corpus.name,
                "fingerprint": corpus.fingerprint,
                "image_size": corpus.images.shape[-1],
                "synthetic": corpus.synthetic,
                "n": len(corpus),
                "counts": {part: len(rows) for part, rows in parts.items()},
            },
            "profile": self.profile.name,
            "sizes": asdict(self.profile),
            "seed": self.seed,
            "weights_seed": method.first_weights.seed,
            "config": method.config,
            "history": method.history,
            "test": test_report(data.labels[data.test].numpy(), predicted, corpus.classes),
            "test_rows": split.test.tolist(),
            # For comparisons by pairs: one patient's slices, and copies, are no independent evidence.
            "test_units": independent_units(corpus)[split.test].tolist(),
            # As text: a file of ten thousand lines opens in no editor.
            "rows": {part: " ".join(map(str, rows.tolist())) for part, rows in parts.items() if part != "test"},
            "evaluations": {},
            "versions": environment(),
            "commit": git_commit(),
        }

    def read(self, probes: Sequence[str], known: dict[str, Any]) -> dict[str, Any]:
        """Read the frozen features by each probe; what is in `known` under the same key is not read again."""
        # All labels of the split: its validation part, where there is one, serves the probe's choices.
        labels = None if np.array_equal(self.labels, self.split.train) else self.labels
        bank = FeatureBank(self.method, self.corpus)
        found = dict(known)
        for kind in probes:
            key = validity.evaluation_key(self.key, kind, self.seed)
            if found.get(kind, {}).get("key") != key:
                found[kind] = {"key": key, **evaluate(bank, self.corpus, self.split, kind, labels, self.seed)}
        return found


def default_tag(method: Method) -> str:
    """What tells a training of this method apart from its protocol's own: the settings in which it differs."""
    return "-".join(f"{name}_{_in_a_name(value)}" for name, value in method.changes.items())


def _in_a_name(value: Any) -> Any:
    """A setting as part of a file's name: code and short settings as they are, a long one by its digest."""
    text = describe(value) if isinstance(value, dict) else value
    return text if len(str(text)) <= 40 else validity.digest(value)[:8]
