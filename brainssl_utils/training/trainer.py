"""fit(): one call from a method and a corpus to a trained model with its record, resumable after any interruption."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import Logger

from brainssl_utils.checks import check_number
from brainssl_utils.compute import hardware, processes
from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.splits.split import Rows, Split
from brainssl_utils.errors import CourseError
from brainssl_utils.files import check_writable, clear_leftovers, hold
from brainssl_utils.methods.base import Method
from brainssl_utils.results import records
from brainssl_utils.results.provenance import host
from brainssl_utils.settings import Profile, get_profile
from brainssl_utils.showing import silent
from brainssl_utils.training.batches import Batches
from brainssl_utils.training.devices import Devices, Team
from brainssl_utils.training.health import HealthWatch
from brainssl_utils.training.lightning import CtrlC, Epochs, WholeCheckpoints, make_logger, quiet_lightning
from brainssl_utils.training.resuming import Checkpoint, Earlier, find_earlier
from brainssl_utils.training.run import Run, RunFiles, load_weights
from brainssl_utils.training.training import Training, default_tag


class FitOptions(TypedDict, total=False):
    """What else `fit` takes, by name.

    Attributes:
        labels: rows whose labels may be used; the split's `train` by default.
        tag: added to the record's name, to tell apart trainings that differ in a setting of the method; by default the
            settings in which the method differs from its protocol.
        probes: which readings of the frozen features go into the record beside the classifier's own test report;
            "linear" and "knn" by default.
        health: measure at the end of each epoch how the features fare (see `training.health`); True by default. What is
            trained is the same either way.
        progress: show a bar, one step an epoch, and say what is taken up or replaced; True by default.
        epochs: how many, in place of the profile's. A training of fewer epochs that is finished in `out`, and is the same
            otherwise, is taken further; the result is that of an uninterrupted one.
        logger: "csv" or "tensorboard": Lightning's logger writes each epoch's row of the history into `out/logs/NAME`.
        tune_process: let `compute.hardware.prepare` set this process up for speed (how freed memory is kept, huge
            pages): True, False, or None for what the environment variable BRAINSSL_TUNE says, on by default.
        devices, strategy, num_nodes: where it runs, see `training.devices.Devices`; by default on one device.
    """

    labels: Rows | None
    tag: str
    probes: Sequence[str]
    health: bool
    progress: bool
    epochs: int | None
    logger: str | None
    tune_process: bool | None
    devices: int
    strategy: str
    num_nodes: int


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

    With `devices=2` or more, or several machines, processes train together: Lightning starts the script that calls `fit`
    once more for each (strategy "ddp"), so notebooks cannot. A step is what it is in one process: its batch is the
    profile's, each process encodes its share of it, and losses, batch norms, queues and accuracies see all of it. The result
    is that of one device up to rounding, under the same key, and one goes on where the other stopped. What an encoder of
    your own draws at random (dropout) each process draws for its share. Every process returns the same `Run`; the first
    alone writes and speaks.

    Args:
        method: from `methods.make_method` or a class of `methods`; trained in place.
        corpus: the images.
        split: who may be seen and who is tested.
        profile: sizes and lengths, a name of `settings.PROFILES` or a `Profile`.
        seed: seeds batches and views. The weights' seed is `make_method`'s.
        out: the run's folder: the record goes to `out/records`, checkpoints to `out/checkpoints`. None keeps nothing.
        resume: take up a finished or interrupted training found in `out`.
        **options: labels, tag, probes, health, progress, epochs, logger, tune_process, devices, strategy, num_nodes: see
            `FitOptions`.

    Returns:
        the trained method with its record.

    Raises:
        CourseError: an unknown option, parts that do not fit together (see `Training`), devices that cannot train it (see
            `Devices`), or `out` cannot be written.
        KeyboardInterrupt: the user stopped it; the message says whether calling again goes on.
    """
    training = _training(method, corpus, split, get_profile(profile), seed, options)
    team = _team(training, options)
    options = {**options, "progress": options.get("progress", True) and team.first}
    say: Callable[[str], None] = print if options["progress"] else silent
    files = None if out is None else RunFiles(Path(out), training.name, training.key)
    if files and team.first:
        check_writable(files.out)
    logger = _logger(options.get("logger"), files)
    with _alone(files) if files and team.first else contextlib.nullcontext(), team.at_work(training):
        looks = files is not None and resume and team.first
        earlier = processes.agreed(find_earlier(training, files, say) if files and looks else Earlier())
        if earlier.record and earlier.start:
            load_weights(method, earlier.start.content)
        record = earlier.record or _train(training, files, earlier.start, logger, options, team)
        if team.first:
            _finish(training, record, options.get("probes", ("linear", "knn")), files, new=earlier.record is None)
        record = processes.agreed(record)
    return Run(method, record, files.record if files else None)


def _finish(
    training: Training, record: dict[str, Any], probes: Sequence[str], files: RunFiles | None, new: bool
) -> None:
    """Read the features by the probes into the record, and write it where it is new or has changed."""
    evaluations = training.read(probes, record["evaluations"])
    changed = evaluations != record["evaluations"]
    record["evaluations"] = evaluations
    if files and (new or changed):
        records.write_record(record, files.record)
        files.drop_others()


def _team(training: Training, options: FitOptions) -> Team:
    """The processes that the training is to be done by, before the others are started."""
    named = {name: options.get(name) for name in ("devices", "strategy", "num_nodes") if name in options}
    devices = Devices(**named)  # type: ignore[arg-type]
    devices.check(training)
    with quiet_lightning():
        return Team(devices)


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


def _train(
    training: Training,
    files: RunFiles | None,
    start: Checkpoint | None,
    logger: Logger | None,
    options: FitOptions,
    team: Team,
) -> dict[str, Any]:
    """Train from the first weights, or go on from `start`; return the record, which the first process alone makes."""
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
    if files and team.first and (start is None or start.path != files.checkpoint):
        files.checkpoint.unlink(missing_ok=True)
    kept = "call again to continue" if files else "nothing was kept; with a folder (out=...) the next call could go on"
    try:
        method.setup_data(data)
        with quiet_lightning(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            ctrl_c = CtrlC()
            watch = [HealthWatch(batches)] if options.get("health", True) else []
            callbacks: list[Callback] = [*watch, epochs, ctrl_c]
            where = team.devices.for_trainer(method.encoder)
            trainer = _trainer(profile.epochs, callbacks, files, start, logger, where)
            method.to(memory_format=torch.channels_last)
            with ctrl_c.heard(trainer, f"training of {training.name} was interrupted: {kept}"):
                trainer.fit(method, batches, ckpt_path=str(start.path) if start else None)
        method.to(hardware.accelerator()).eval()  # Lightning leaves it on the CPU
        record = training.record(data) if team.first else {}
        method.cpu()
        if not team.first:
            return {}
        record |= {
            "throughput": throughput(method, batches),
            "device": {**host(), **speed, **team.devices.about()},
        }
    finally:
        method.release()
    record |= {"taken_up_at_epochs": epochs.taken_up, "continued_from": epochs.continued_from}
    record["seconds"] = round(time.perf_counter() - started, 2)
    return record


def _trainer(
    epochs: int,
    callbacks: list[Callback],
    files: RunFiles | None,
    start: Checkpoint | None,
    logger: Logger | None,
    where: dict[str, Any],
) -> pl.Trainer:
    if files:
        target = files.checkpoint
        callbacks.append(
            ModelCheckpoint(target.parent, target.stem, save_on_train_epoch_end=True, enable_version_counter=False)
        )
    return pl.Trainer(
        max_epochs=epochs,
        **where,
        precision=hardware.precision(),  # type: ignore[arg-type]
        callbacks=callbacks,
        plugins=[WholeCheckpoints(start.content if start else None)],
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
