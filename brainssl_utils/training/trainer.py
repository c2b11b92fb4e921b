"""fit(): one call from a method and a corpus to a trained model with its record, resumable after any interruption."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint

from brainssl_utils import validity
from brainssl_utils.compute import hardware
from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.splits.leakage import leakage
from brainssl_utils.data.splits.split import Rows, Split
from brainssl_utils.errors import CourseError
from brainssl_utils.evaluation.features import FeatureBank
from brainssl_utils.evaluation.protocol import evaluate
from brainssl_utils.evaluation.reports import check_rows, test_report
from brainssl_utils.files import check_writable
from brainssl_utils.methods.base import Method, TrainingData
from brainssl_utils.results import records
from brainssl_utils.results.provenance import environment, git_commit, host
from brainssl_utils.settings import Profile, get_profile
from brainssl_utils.training.batches import Batches, training_data
from brainssl_utils.training.lightning import Epochs, WholeCheckpoints, quiet_lightning, read_checkpoint, usual_ctrl_c
from brainssl_utils.training.run import Run, RunFiles, load_weights


class FitOptions(TypedDict, total=False):
    """What else `fit` takes, by name.

    Attributes:
        labels: rows whose labels may be used; the split's `train` by default.
        tag: added to the record's name, to tell apart trainings that differ in a setting of the method; by default the
            settings in which the method differs from its protocol.
        probes: which readings of the frozen features go into the record beside the classifier's own test report;
            "linear" and "knn" by default.
        progress: show a bar, one step an epoch, and say what is taken up or replaced; True by default.
        tune_process: let `compute.hardware.prepare` set this process up for speed (how freed memory is kept, huge
            pages): True, False, or None for what the environment variable BRAINSSL_TUNE says, on by default.
    """

    labels: Rows | None
    tag: str
    probes: Sequence[str]
    progress: bool
    tune_process: bool | None


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
        size, wanted = self.method.encoder.image_size, self.profile.image_size
        if size != wanted:
            raise CourseError(
                f"the encoder takes {size} pixels, but profile '{self.profile.name}' has images of {wanted}: "
                f"build the method with image_size={wanted}."
            )
        stored = self.corpus.images.shape[-1]
        if wanted > stored:
            raise CourseError(
                f"profile '{self.profile.name}' has images of {wanted} pixels, but the corpus was loaded at {stored}, and "
                f"enlarging would only blur: load it with image_size={wanted}."
            )
        check_rows(self.corpus, self.split, self.labels)
        if not len(self.split.unlabeled):
            raise CourseError("the split has no unlabelled images: choose a smaller train or test part.")
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
        return validity.training_parts(
            {"name": method.name, "protocol": method.protocol, **method.config},
            method.first_weights.label,
            self.corpus.fingerprint,
            rows,
            asdict(self.profile),
            self.seed,
        )

    @cached_property
    def key(self) -> str:
        return validity.training_key(self.depends_on)

    @property
    def name(self) -> str:
        """What its files are called: method, tag, protocol, split, corpus, number of labels, profile, seed."""
        method = self.method
        about = [method.name or type(method).__name__, self.tag, method.protocol, self.split.name, self.corpus.name]
        parts = [*about, f"{len(self.labels)}labels", self.profile.name, f"seed{self.seed}"]
        return "-".join(re.sub(r"[^\w.]+", "_", part) for part in parts if part)

    def data(self) -> TrainingData:
        """The corpus at the profile's size as tensors."""
        return training_data(self.corpus, self.split, self.profile, self.seed, self.labels)

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


def fit(
    method: Method,
    corpus: Corpus,
    split: Split,
    profile: str | Profile = "quick",
    seed: int = 0,
    out: str | Path | None = None,
    resume: bool = True,
    **options: Unpack[FitOptions],
) -> Run:
    """Train `method` and score it once on the test images.

    A finished training of the same key found in `out` is read instead (`validity` says what a key is made of), an
    interrupted one goes on, and a method that was trained before starts again from its first weights. On its way `fit`
    sets this process up for speed: see `compute.hardware.prepare`, and `tune_process` to leave the process alone.

    Args:
        method: from `methods.make_method` or a class of `methods`; trained in place.
        corpus: the images.
        split: who may be seen and who is tested.
        profile: sizes and lengths, a name of `settings.PROFILES` or a `Profile`.
        seed: seeds batches and views. The weights' seed is `make_method`'s.
        out: the run's folder: the record goes to `out/records`, checkpoints to `out/checkpoints`. None keeps nothing.
        resume: take up a finished or interrupted training found in `out`.
        **options: labels, tag, probes, progress, tune_process: see `FitOptions`.

    Returns:
        the trained method with its record.

    Raises:
        CourseError: an unknown option, parts that do not fit together (see `Training`), or `out` cannot be written.
        KeyboardInterrupt: the user stopped it; the message says whether calling again goes on.
    """
    if unknown := set(options) - set(FitOptions.__annotations__):
        raise CourseError(f"fit has no parameter {', '.join(sorted(unknown))}.")
    given = options.get("labels")
    labels = split.train if given is None else np.asarray(given, dtype=np.int64)
    tag = options.get("tag") or default_tag(method)
    training = Training(method, corpus, split, get_profile(profile), seed, labels, tag)
    progress = options.get("progress", True)
    say: Callable[[str], None] = print if progress else _silent
    files = RunFiles(check_writable(out), training.name, training.key) if out is not None else None
    record = _finished(training, files, say) if files and resume else None
    if record is None:
        record = _train(training, files, resume, progress, options.get("tune_process"))
    evaluations = training.read(options.get("probes", ("linear", "knn")), record["evaluations"])
    changed = evaluations != record["evaluations"]
    record["evaluations"] = evaluations
    if files and (changed or not files.record.exists() or records.read_record(files.record).get("key") != training.key):
        records.write_record(record, files.record)
        files.drop_others()
    return Run(method, record, files.record if files else None)


def default_tag(method: Method) -> str:
    """What tells a training of this method apart from its protocol's own: the settings in which it differs."""
    return "-".join(f"{name}_{value}" for name, value in method.changes.items())


def _silent(message: str) -> None:
    pass


def _finished(training: Training, files: RunFiles, say: Callable[[str], None]) -> dict[str, Any] | None:
    """The record of this very training where it and its weights are there; the weights are loaded then."""
    if not files.record.exists():
        return None
    record = records.read_record(files.record)
    if record.get("key") != training.key:
        say(f"{training.name}: {_what_differs(record, training)}; its record is replaced when this training is done.")
        return None
    content = read_checkpoint(files.checkpoint, training.key)
    if content is None:
        say(f"{training.name}: the record is there, its weights are not; training again.")
        return None
    load_weights(training.method, content)
    say(f"{training.name}: finished earlier, read from {files.record}.")
    return record


def _what_differs(record: dict[str, Any], training: Training) -> str:
    before, now = record.get("depends_on"), training.depends_on
    if before is None:
        return "an earlier version of the course trained one of this name"
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    shown = [f"{name} {before.get(name)} (now {now.get(name)})" for name in names[:3]]
    return f"one of this name was trained with {', '.join(shown)}{' and more' if len(names) > 3 else ''}"


def _train(
    training: Training, files: RunFiles | None, resume: bool, progress: bool, tune_process: bool | None
) -> dict[str, Any]:
    """Train from the first weights, or go on where an interrupted training stopped; return the record."""
    method, profile = training.method, training.profile
    started = time.perf_counter()
    method.start_over()
    speed = hardware.prepare()
    data = training.data()
    batches = Batches(method, data, torch.as_tensor(training.split.unlabeled), profile)
    epochs = Epochs(f"{method.title} ({method.protocol})", profile.epochs, progress, training.key)
    going_on = files is not None and resume and read_checkpoint(files.checkpoint, training.key) is not None
    if files and not going_on:
        files.checkpoint.unlink(missing_ok=True)
    kept = "call again to continue" if files else "nothing was kept; with a folder (out=...) the next call could go on"
    try:
        method.setup_data(data)
        with quiet_lightning(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            trainer = _trainer(profile.epochs, epochs, files)
            method.to(memory_format=torch.channels_last)
            with usual_ctrl_c(trainer, f"training of {training.name} was interrupted: {kept}"):
                trainer.fit(method, batches, ckpt_path=str(files.checkpoint) if files and going_on else None)
        method.cpu().eval()
        record = training.record(data)
        record |= {"throughput": throughput(method, batches), "device": {**host(), **speed}}
    finally:
        method.release()
    record["taken_up_at_epochs"] = epochs.taken_up
    record["seconds"] = round(time.perf_counter() - started, 2)
    return record


def _trainer(epochs: int, closing: Epochs, files: RunFiles | None) -> pl.Trainer:
    callbacks: list[Callback] = [closing]
    if files:
        target = files.checkpoint
        callbacks.append(
            ModelCheckpoint(target.parent, target.stem, save_on_train_epoch_end=True, enable_version_counter=False)
        )
    return pl.Trainer(
        max_epochs=epochs,
        accelerator=hardware.accelerator(),
        devices=1,
        precision=hardware.precision(),  # type: ignore[arg-type]
        callbacks=callbacks,
        plugins=[WholeCheckpoints()],
        logger=False,
        enable_checkpointing=files is not None,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def throughput(method: Method, batches: Batches) -> dict[str, float]:
    """Views a second over the training steps, the first epoch (which warms up) left out where there is another."""
    seconds = [float(row["seconds"] or 0) for row in method.history]
    a_step = method.views_seen / (len(method.history) * len(batches))
    timed = seconds[1:] or seconds
    return {"views_per_second": round(a_step * len(batches) * len(timed) / max(sum(timed), 1e-9), 1)}
