"""fit(): one call from a method and a corpus to a trained model with its record, resumable after any interruption."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from torch import Tensor

from brainssl_utils.compute import hardware
from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.splits.leakage import leakage
from brainssl_utils.data.splits.split import Split
from brainssl_utils.errors import CourseError
from brainssl_utils.evaluation.features import FeatureBank
from brainssl_utils.evaluation.protocol import evaluate
from brainssl_utils.evaluation.reports import check_rows, test_report
from brainssl_utils.files import check_writable
from brainssl_utils.methods.base import Batch, Method, TrainingData
from brainssl_utils.results import records
from brainssl_utils.results.provenance import environment, git_commit, host
from brainssl_utils.sampling import endless
from brainssl_utils.settings import Profile, get_profile
from brainssl_utils.training.lightning import Epochs, quiet_lightning, usual_ctrl_c


@dataclass
class Run:
    """A finished training.

    Attributes:
        method: the trained method, on the CPU, in evaluation mode.
        record: everything the record file holds (DESIGN of records: `brainssl_utils.records`).
        path: the record's file, None when `fit` was given no folder.
    """

    method: Method
    record: dict[str, Any]
    path: Path | None

    @property
    def history(self) -> pd.DataFrame:
        """One row an epoch: epoch, c_loss, c_acc, r_acc, p_loss, p_acc, val_p_acc, dead_features, seconds."""
        return pd.DataFrame(self.record["history"])

    @property
    def test(self) -> dict[str, Any]:
        """The test report: the classifier's accuracy with its 95 % interval, recall, confusion."""
        return self.record["test"]

    @property
    def name(self) -> str:
        return self.record["name"]


@dataclass(frozen=True)
class Files:
    """Where the training called `name` lies in a run's folder."""

    out: Path
    name: str

    @property
    def record(self) -> Path:
        return self.out / "records" / f"{self.name}.json"

    @property
    def checkpoint(self) -> Path:
        return self.out / "checkpoints" / f"{self.name}.ckpt"

    def partial(self, key: str) -> Path:
        """The checkpoint while training lasts, apart from a finished one of other settings, which stays whole."""
        return self.checkpoint.with_name(f"{self.name}.{key}.part.ckpt")


class Batches:
    """An epoch's batches, straight from memory: row numbers are drawn, images gathered, nothing else happens.

    Unlabelled and labelled rows are shuffled anew each epoch from (seed, epoch), so a resumed run sees the same batches.
    """

    def __init__(self, method: Method, data: TrainingData, unlabeled: Tensor, profile: Profile) -> None:
        self.method, self.data = method, data
        self.unlabeled, self.labeled = unlabeled, data.labeled
        # A method without a pretext task spends the whole step on labelled images instead.
        wanted = profile.batch_size if is_supervised(method) else profile.labeled_batch_size
        self.labeled_size = min(wanted, len(self.labeled))
        self.size = min(profile.batch_size, len(unlabeled))
        self.steps = profile.steps_per_epoch or max(1, len(unlabeled) // max(self.size, 1))

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(self.data.seed * 1_000_003 + 500_000 + self.method.current_epoch)
        unlabeled = endless(self.unlabeled, self.size, generator)
        labeled = endless(self.labeled, self.labeled_size, generator)
        for _ in range(self.steps):
            labeled_rows = next(labeled)
            rows = labeled_rows[:0] if is_supervised(self.method) else torch.cat([next(unlabeled), labeled_rows])
            images = self.data.images
            yield Batch(images[rows], images[labeled_rows], self.data.labels[labeled_rows], rows)


def is_supervised(method: Method) -> bool:
    return method.name == "supervised"


def fit(
    method: Method,
    corpus: Corpus,
    split: Split,
    profile: str | Profile = "quick",
    seed: int = 0,
    out: str | Path | None = None,
    resume: bool = True,
    progress: bool = True,
    labels: np.ndarray | None = None,
    tag: str = "",
    probes: tuple[str, ...] = ("linear", "knn"),
) -> Run:
    """Train `method` and score it once on the test images.

    Args:
        method: from `methods.make_method` or a class of `methods`; trained in place.
        corpus: the images.
        split: who may be seen and who is tested.
        profile: sizes and lengths, a name of `settings.PROFILES` or a `Profile`.
        seed: seeds batches and views. The weights' seed is `make_method`'s.
        out: the run's folder: the record goes to `out/records`, checkpoints to `out/checkpoints`. None keeps nothing.
        resume: take up a finished or interrupted training of the same settings found in `out`.
        progress: show a bar, one step an epoch.
        labels: rows whose labels may be used; the split's `train` by default.
        tag: added to the record's name, to tell apart trainings that differ in a setting of the method.
        probes: which readings of the frozen features go into the record beside the classifier's own test report.

    Returns:
        the trained method with its record.

    Raises:
        CourseError: the method's image size is not the profile's, the corpus is not the split's, a part is empty, or
            `out` cannot be written.
    """
    profile = get_profile(profile)
    labeled = np.asarray(split.train if labels is None else labels)
    check(method, corpus, split, profile, labeled)
    key = settings_key(method, corpus, split, profile, seed, labeled, probes)
    name = run_name(method, split, profile, seed, tag)
    files = Files(check_writable(out), name) if out is not None else None
    partial = files.partial(key) if files else None
    if files and resume and files.record.exists() and files.checkpoint.exists():
        record = records.read_record(files.record)
        if record.get("key") == key and load_weights(method, files.checkpoint, key):
            return Run(method, record, files.record)
    if partial and not resume:
        partial.unlink(missing_ok=True)

    speed = hardware.prepare()
    data = training_data(corpus, split, profile, seed, labeled)
    method.setup_data(data)
    batches = Batches(method, data, torch.tensor(split.unlabeled), profile)
    epochs = Epochs(f"{method.title} ({method.protocol})", profile.epochs, progress, key)
    callbacks: list[Callback] = [epochs]
    if partial:
        callbacks.append(
            ModelCheckpoint(partial.parent, partial.stem, save_on_train_epoch_end=True, enable_version_counter=False)
        )
    started = time.perf_counter()
    with quiet_lightning(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trainer = pl.Trainer(
            max_epochs=profile.epochs,
            accelerator=hardware.accelerator(),
            devices=1,
            precision=hardware.precision(),  # type: ignore[arg-type]
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=partial is not None,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        method.to(memory_format=torch.channels_last)
        with usual_ctrl_c(trainer, name):
            trainer.fit(method, batches, ckpt_path=str(partial) if partial and partial.exists() else None)
    method.cpu().eval()
    record = make_record(method, corpus, split, profile, seed, name, tag, key, data, probes)
    record |= {"throughput": throughput(method, batches), "device": {**host(), **speed}}
    record["taken_up_at_epochs"] = epochs.taken_up
    record["seconds"] = round(time.perf_counter() - started, 2)
    if files and partial:
        partial.replace(files.checkpoint)
        records.write_record(record, files.record)
    return Run(method, record, files.record if files else None)


def check(method: Method, corpus: Corpus, split: Split, profile: Profile, labeled: np.ndarray) -> None:
    """Refuse what cannot be trained, with a sentence that says why."""
    size = method.encoder.image_size
    if size != profile.image_size:
        raise CourseError(
            f"the encoder takes {size} pixels, but profile '{profile.name}' has images of {profile.image_size}: "
            f"build the method with image_size={profile.image_size}."
        )
    check_rows(corpus, split, labeled)
    if not len(split.unlabeled):
        raise CourseError("the split has no unlabelled images: choose a smaller train or test part.")
    classes = int(corpus.labels[labeled].max()) + 1
    if classes > method.config["n_classes"]:
        raise CourseError(
            f"the labels have {classes} classes, but the method was built for {method.config['n_classes']}: "
            f"build it with n_classes={len(corpus.classes)}."
        )


def training_data(corpus: Corpus, split: Split, profile: Profile, seed: int, labeled: np.ndarray) -> TrainingData:
    """Put the corpus at the profile's size into tensors."""
    patient = pd.Series(corpus.table["patient"]).replace("", None)
    codes = pd.factorize(patient)[0]
    return TrainingData(
        images=torch.from_numpy(np.array(corpus.resized(profile.image_size))),
        labels=torch.from_numpy(np.array(corpus.labels, dtype=np.int64)),
        group=torch.from_numpy(corpus.table["group"].to_numpy(np.int64).copy()),
        patient=torch.from_numpy(codes.astype(np.int64)),
        pool=torch.from_numpy(np.concatenate([split.unlabeled, labeled]).astype(np.int64)),
        labeled=torch.from_numpy(labeled.astype(np.int64)),
        test=torch.from_numpy(np.array(split.test, dtype=np.int64)),
        validation=torch.from_numpy(np.array(split.validation, dtype=np.int64)),
        seed=seed,
    )


def make_record(
    method: Method,
    corpus: Corpus,
    split: Split,
    profile: Profile,
    seed: int,
    name: str,
    tag: str,
    key: str,
    data: TrainingData,
    probes: tuple[str, ...],
) -> dict[str, Any]:
    """Score the test images and gather everything a reader of the result needs to know."""
    images, labels = data.images[data.test], data.labels[data.test]
    leak = leakage(corpus, split)
    bank = FeatureBank(method, corpus)
    return {
        "schema": records.SCHEMA_VERSION,
        "name": name,
        "key": key,
        "method": method.name,
        "title": method.title,
        "protocol": method.protocol,
        "tag": tag,
        "split": split.name,
        "split_info": split.info,
        "leakage": leak.reset_index().to_dict("records"),
        "data": {
            "name": corpus.name,
            "fingerprint": corpus.fingerprint,
            "synthetic": corpus.synthetic,
            "n": len(corpus),
            "counts": {
                "labelled": len(data.labeled),
                "unlabelled": len(split.unlabeled),
                "validation": len(split.validation),
                "test": len(split.test),
            },
        },
        "profile": profile.name,
        "sizes": asdict(profile),
        "seed": seed,
        "config": method.config,
        "history": method.history,
        "test": test_report(labels.numpy(), method.predict(images).numpy(), corpus.classes),
        "evaluations": {
            kind: evaluate(bank, corpus, split, kind=kind, labels=data.labeled.numpy(), seed=seed) for kind in probes
        },
        "versions": environment(),
        "commit": git_commit(),
    }


def throughput(method: Method, batches: Batches) -> dict[str, float]:
    """Views a second over the training steps, the first epoch (which warms up) left out where there is another."""
    seconds = [float(row["seconds"] or 0) for row in method.history]
    a_step = method.views_seen / (len(method.history) * len(batches))
    timed = seconds[1:] or seconds
    return {"views_per_second": round(a_step * len(batches) * len(timed) / max(sum(timed), 1e-9), 1)}


def settings_key(
    method: Method,
    corpus: Corpus,
    split: Split,
    profile: Profile,
    seed: int,
    labeled: np.ndarray,
    probes: tuple[str, ...],
) -> str:
    """Hash everything that determines a training, so that only the very same one is taken up or reused."""
    digest = hashlib.sha256()
    start = [float(parameter.detach().double().abs().sum()) for parameter in method.parameters()]
    described = [method.name, method.protocol, method.config, corpus.fingerprint, asdict(profile), seed, probes, start]
    digest.update(json.dumps(described, sort_keys=True, default=str).encode())
    for rows in (labeled, split.unlabeled, split.test, split.validation):
        digest.update(np.ascontiguousarray(rows, dtype=np.int64).tobytes() + b"|")
    return digest.hexdigest()[:16]


def run_name(method: Method, split: Split, profile: Profile, seed: int, tag: str) -> str:
    """Name a training's files: method, tag, protocol, split, profile, seed."""
    parts = [method.name, tag, method.protocol, split.name, profile.name, f"seed{seed}"]
    return "-".join(part.replace(" ", "_") for part in parts if part)


def load_run(out: str | Path, record: dict[str, Any]) -> Run:
    """Bring back a finished training from its record and the checkpoint beside it.

    Args:
        out: the run's folder, as given to `fit`.
        record: from `records.read_records(out)`.

    Raises:
        CourseError: the checkpoint is gone, or is of another training than the record.
    """
    from brainssl_utils.methods import make_method

    files = Files(Path(out), record["name"])
    if not files.checkpoint.exists():
        raise CourseError(f"{files.checkpoint} is missing: delete the record {record['name']} and train it again.")
    config = dict(record["config"])
    size, n_classes = config.pop("image_size"), config.pop("n_classes")
    config.pop("features")
    method = make_method(record["method"], record["protocol"], size, record["seed"], n_classes, **config)
    if not load_weights(method, files.checkpoint, record["key"]):
        raise CourseError(f"{files.checkpoint} is of another training than the record beside it: train it again.")
    return Run(method, record, files.record)


def load_weights(method: Method, checkpoint: Path, key: str) -> bool:
    """Load a finished training's weights and history into `method`; False, and nothing done, if they are another's."""
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    if content.get("key") != key:
        return False
    method.load_state_dict(content["state_dict"])
    method.on_load_checkpoint(content)
    method.eval()
    return True


__all__ = ["CourseError", "Run", "fit"]
