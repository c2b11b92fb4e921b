"""fit(): one call from a method and a corpus to a trained model with its record, resumable after any interruption."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import Logger

from brainssl_utils import validity
from brainssl_utils.checks import check_number
from brainssl_utils.compute import hardware
from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.splits.leakage import leakage
from brainssl_utils.data.splits.split import Rows, Split
from brainssl_utils.errors import CourseError
from brainssl_utils.evaluation.features import FeatureBank
from brainssl_utils.evaluation.protocol import evaluate
from brainssl_utils.evaluation.reports import check_rows, test_report
from brainssl_utils.files import check_writable, clear_leftovers, hold
from brainssl_utils.methods.base import Method, TrainingData, describe
from brainssl_utils.results import records
from brainssl_utils.results.provenance import environment, git_commit, host
from brainssl_utils.settings import Profile, get_profile
from brainssl_utils.training.batches import Batches, training_data
from brainssl_utils.training.lightning import (
    Epochs,
    WholeCheckpoints,
    make_logger,
    quiet_lightning,
    read_checkpoint,
    usual_ctrl_c,
)
from brainssl_utils.training.run import Run, RunFiles, load_weights

PLAIN_OPTIMIZER = Method.configure_optimizers


class FitOptions(TypedDict, total=False):
    """What else `fit` takes, by name.

    Attributes:
        labels: rows whose labels may be used; the split's `train` by default.
        tag: added to the record's name, to tell apart trainings that differ in a setting of the method; by default the
            settings in which the method differs from its protocol.
        probes: which readings of the frozen features go into the record beside the classifier's own test report;
            "linear" and "knn" by default.
        progress: show a bar, one step an epoch, and say what is taken up or replaced; True by default.
        epochs: how many, in place of the profile's. A training of fewer epochs that is finished in `out`, and is the same
            otherwise, is taken further; the result is that of an uninterrupted one.
        logger: "csv" or "tensorboard": Lightning's logger writes each epoch's row of the history into `out/logs/NAME`.
        tune_process: let `compute.hardware.prepare` set this process up for speed (how freed memory is kept, huge
            pages): True, False, or None for what the environment variable BRAINSSL_TUNE says, on by default.
    """

    labels: Rows | None
    tag: str
    probes: Sequence[str]
    progress: bool
    epochs: int | None
    logger: str | None
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
        **options: labels, tag, probes, progress, epochs, logger, tune_process: see `FitOptions`.

    Returns:
        the trained method with its record.

    Raises:
        CourseError: an unknown option, parts that do not fit together (see `Training`), or `out` cannot be written.
        KeyboardInterrupt: the user stopped it; the message says whether calling again goes on.
    """
    training = _training(method, corpus, split, get_profile(profile), seed, options)
    say: Callable[[str], None] = print if options.get("progress", True) else _silent
    files = RunFiles(check_writable(out), training.name, training.key) if out is not None else None
    logger = _logger(options.get("logger"), files)
    with _alone(files) if files else contextlib.nullcontext():
        found = _finished(training, files, say) if files and resume else None
        start = _start(training, files, say) if files and resume and found is None else None
        record = found or _train(training, files, start, logger, options)
        evaluations = training.read(options.get("probes", ("linear", "knn")), record["evaluations"])
        changed = evaluations != record["evaluations"]
        record["evaluations"] = evaluations
        if files and (found is None or changed):
            records.write_record(record, files.record)
            files.drop_others()
    return Run(method, record, files.record if files else None)


def _training(
    method: Method, corpus: Corpus, split: Split, profile: Profile, seed: int, options: FitOptions
) -> Training:
    """The training that `fit`'s parameters ask for."""
    if unknown := set(options) - set(FitOptions.__annotations__):
        raise CourseError(f"fit has no parameter {', '.join(sorted(unknown))}.")
    epochs, given = options.get("epochs"), options.get("labels")
    if epochs is not None:
        check_number("epochs", epochs, at_least=1, whole=True)
        profile = replace(profile, epochs=int(epochs))
    labels = split.train if given is None else np.asarray(given, dtype=np.int64)
    tag = options.get("tag") or default_tag(method)
    return Training(method, corpus, split, profile, seed, labels, tag)


def _in_a_name(value: Any) -> Any:
    """A setting as part of a file's name: code and short settings as they are, a long one by its digest."""
    text = describe(value) if isinstance(value, dict) else value
    return text if len(str(text)) <= 40 else validity.digest(value)[:8]


def _logger(name: str | None, files: RunFiles | None) -> Logger | None:
    if name is None:
        return None
    if files is None:
        raise CourseError(f"logger {name!r} writes into the run's folder: give one, out=...")
    return make_logger(name, files.log)


@contextlib.contextmanager
def _alone(files: RunFiles) -> Iterator[None]:
    """Hold the training of this name in this folder: a second one waits, and finds what the first one made."""
    waits = f"{files.name}: another process trains it in {files.out}; this one waits until that is done."
    with hold(files.lock, lambda: print(waits, flush=True)):
        clear_leftovers(files.record.parent, files.checkpoint.parent)
        yield


def default_tag(method: Method) -> str:
    """What tells a training of this method apart from its protocol's own: the settings in which it differs."""
    return "-".join(f"{name}_{_in_a_name(value)}" for name, value in method.changes.items())


def _silent(message: str) -> None:
    pass


def _finished(training: Training, files: RunFiles, say: Callable[[str], None]) -> dict[str, Any] | None:
    """The record of this very training where it and its weights are there; the weights are loaded then."""
    if not files.record.exists():
        return None
    try:
        record = records.read_record(files.record)
    except records.NoRecordError as error:
        say(f"{error} It is replaced when this training is done.")
        return None
    if record.get("key") != training.key:
        if not _is_shorter(record, training):
            say(
                f"{training.name}: {_what_differs(record, training)}; its record is replaced when this training is done."
            )
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


def _is_shorter(record: dict[str, Any], training: Training) -> bool:
    """Whether a record is of this very training with fewer epochs, which can be taken further.

    Not where a method brings its own optimiser: a schedule of learning rates would be planned for its length.
    """
    epochs = record.get("sizes", {}).get("epochs", 0)
    if not 0 < epochs < training.profile.epochs or type(training.method).configure_optimizers is not PLAIN_OPTIMIZER:
        return False
    return record.get("key") == training.with_epochs(epochs).key


def _start(training: Training, files: RunFiles, say: Callable[[str], None]) -> Path | None:
    """The checkpoint to go on from: this training's own, interrupted, or that of a finished one with fewer epochs."""
    interrupted = read_checkpoint(files.checkpoint, training.key)
    if interrupted is not None:
        say(f"{training.name}: goes on after epoch {interrupted['epoch'] + 1} of {training.profile.epochs}.")
        return files.checkpoint
    record = None
    with contextlib.suppress(records.NoRecordError):
        record = records.read_record(files.record) if files.record.exists() else None
    if record is None or not _is_shorter(record, training):
        return None
    shorter, epochs = replace(files, key=record["key"]), record["sizes"]["epochs"]
    if read_checkpoint(shorter.checkpoint, shorter.key) is None:
        say(
            f"{training.name}: {epochs} epochs were trained earlier, but their weights are gone; training from the start."
        )
        return None
    say(f"{training.name}: {epochs} epochs were trained earlier; going on to {training.profile.epochs}.")
    return shorter.checkpoint


def _train(
    training: Training, files: RunFiles | None, start: Path | None, logger: Logger | None, options: FitOptions
) -> dict[str, Any]:
    """Train from the first weights, or go on from the checkpoint `start`; return the record."""
    method, profile = training.method, training.profile
    started = time.perf_counter()
    show = options.get("progress", True)
    if show and method.history and start is None:
        print(f"{training.name}: this object was trained before; it starts again from its first weights.")
    method.start_over()
    speed = hardware.prepare(options.get("tune_process"))
    data = training.data()
    batches = Batches(method, data, torch.tensor(training.split.unlabeled), profile)
    epochs = Epochs(f"{method.title} ({method.protocol})", profile.epochs, show, training.key)
    if files and start != files.checkpoint:
        files.checkpoint.unlink(missing_ok=True)
    kept = "call again to continue" if files else "nothing was kept; with a folder (out=...) the next call could go on"
    try:
        method.setup_data(data)
        with quiet_lightning(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            trainer = _trainer(profile.epochs, epochs, files, logger)
            method.to(memory_format=torch.channels_last)
            with usual_ctrl_c(trainer, f"training of {training.name} was interrupted: {kept}"):
                trainer.fit(method, batches, ckpt_path=str(start) if start else None)
        method.cpu().eval()
        record = training.record(data)
        record |= {"throughput": throughput(method, batches), "device": {**host(), **speed}}
    finally:
        method.release()
    record |= {"taken_up_at_epochs": epochs.taken_up, "continued_from": epochs.continued_from}
    record["seconds"] = round(time.perf_counter() - started, 2)
    return record


def _trainer(epochs: int, closing: Epochs, files: RunFiles | None, logger: Logger | None) -> pl.Trainer:
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
        logger=logger or False,
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
