"""A piece of a study's work: one training with its readings, as a description that travels and the function that does it.

A worker writes where the study's folder lies, as each part is done: the checkpoint after every epoch, the record, one small
file a reading. So a worker can be killed at any moment, and whoever does the piece again goes on from there.
"""

from __future__ import annotations

import functools
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from brainssl_utils import validity
from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.loading import load_corpus
from brainssl_utils.data.splits.named import make_split
from brainssl_utils.data.splits.split import Split
from brainssl_utils.data.splits.subsets import label_subset
from brainssl_utils.errors import CourseError
from brainssl_utils.evaluation.baselines import Pixels, random_encoder
from brainssl_utils.evaluation.features import FeatureBank
from brainssl_utils.evaluation.fine_tuning import FineTuning
from brainssl_utils.evaluation.protocol import label_curve
from brainssl_utils.files import atomic_path
from brainssl_utils.methods import make_method, method_title
from brainssl_utils.results.records import read_record
from brainssl_utils.studies.plan import FINE_TUNE, FROZEN, MOST_DRAWS, Baseline, Reading, Recipe
from brainssl_utils.training.run import RunFiles
from brainssl_utils.training.trainer import FitOptions, fit
from brainssl_utils.training.training import Training

_ONE_AT_A_TIME = threading.Lock()  # two trainings in one process would draw from the same random numbers


@dataclass(frozen=True)
class Source:
    """Where a worker finds the images, and which ones they must be.

    Attributes:
        place: as in `load_corpus`; a folder by its absolute path, the same on every worker.
        image_size: pixels at which they are loaded.
        fingerprint: of the corpus that the study was started with.
    """

    place: str
    image_size: int
    fingerprint: str

    def corpus(self) -> Corpus:
        """The images, read once a process from this machine's cache.

        Raises:
            CourseError: they are other images than those the study was started with.
        """
        corpus = corpus_at(self.place, self.image_size)
        if corpus.fingerprint != self.fingerprint:
            raise CourseError(
                f"the images at {self.place} on this worker (fingerprint {corpus.fingerprint[:12]}) are not those the "
                f"study was started with ({self.fingerprint[:12]}): copy the same files there."
            )
        return corpus


@functools.lru_cache(maxsize=1)
def corpus_at(place: str, image_size: int) -> Corpus:
    """`load_corpus`, once a process."""
    return load_corpus(place, image_size)


@functools.lru_cache(maxsize=8)
def _split(source: Source, name: str, seed: int) -> Split:
    return make_split(name, source.corpus(), seed)


@dataclass(frozen=True)
class Block:
    """One reading: with so many labels, drawn with this seed, under a key of its own; `tuning` of "fine_tune" alone."""

    kind: str
    labels: int
    draw: int
    seed: int
    tuning: FineTuning | None
    key: str

    @property
    def settings(self) -> str:
        """Digest of what was chosen for it, the draw's seed aside."""
        return settings_digest(self.tuning)


def settings_digest(tuning: FineTuning | None) -> str:
    """Digest of a reading's settings; of probes, which have none, "probe"."""
    return "probe" if tuning is None else validity.digest({**asdict(tuning), "seed": None})


def tuning_for(subject: Recipe | Baseline, kind: str, reading: Reading) -> FineTuning | None:
    """Settings with which `subject` is fine-tuned; None of a probe. From scratch, the whole network learns at one rate."""
    if kind != FINE_TUNE:
        return None
    if isinstance(subject, Baseline):
        return replace(reading.fine_tuning, encoder_lr_factor=1.0, freeze="all" if subject.name == FROZEN else "none")
    return reading.fine_tuning


@dataclass(frozen=True)
class Job:
    """A training and its readings, or the readings of a baseline: all that a worker needs to know.

    Attributes:
        subject: what is trained or read.
        seed: of split, weights and batches.
        seeds: all those of the study, among which draws of labels are dealt out.
        readings: of the study; those that are not of `subject` are passed over.
        source: the images.
        out: the study's folder, an absolute path.
    """

    subject: Recipe | Baseline
    seed: int
    seeds: tuple[int, ...]
    readings: tuple[Reading, ...]
    source: Source
    out: Path

    @property
    def title(self) -> str:
        return f"{self.subject.title}, seed {self.seed}"

    @property
    def split(self) -> Split:
        return _split(self.source, self.subject.split, self.seed)

    def training(self, recipe: Recipe) -> Training:
        """The training as `fit` would do it."""
        corpus, profile, split = self.source.corpus(), recipe.profile, self.split
        method = make_method(
            recipe.method, recipe.protocol, profile.image_size, self.seed, len(corpus.classes), **recipe.changes
        )
        wanted = len(split.train) if recipe.labels is None else recipe.labels
        labels = label_subset(split, corpus, wanted, self.seed) if wanted < len(split.train) else split.train
        return Training(method, corpus, split, profile, self.seed, labels, recipe.tag)

    def identity(self) -> tuple[str, str]:
        """Name and key: what its files are called, and what decides its numbers."""
        if isinstance(self.subject, Recipe):
            training = self.training(self.subject)
            return training.name, training.key
        corpus, split, size = self.source.corpus(), self.split, self.subject.profile.image_size
        rows = {"labels": split.train, "test": split.test}
        about = ({"name": self.subject.name}, f"seed {self.seed}", corpus.fingerprint, rows, {"image_size": size})
        words = [self.subject.name, split.name, corpus.name, f"{size}px", f"seed{self.seed}"]
        name = "-".join(re.sub(r"[^\w.]+", "_", word) for word in words)
        return name, validity.training_key(validity.training_parts(*about, self.seed))

    def blocks(self, key: str) -> Iterator[Block]:
        """Its readings, given its key."""
        for reading in self.readings:
            sizes = self._sizes(reading)
            for kind in reading.kinds_for(self.subject):
                tuning = tuning_for(self.subject, kind, reading)
                for labels, draw in sizes:
                    seed = MOST_DRAWS * self.seed + draw
                    evaluation = validity.evaluation_key(key, kind, seed)
                    own = validity.digest(evaluation, labels, settings_digest(tuning))
                    yield Block(kind, labels, draw, seed, tuning, own)

    def _sizes(self, reading: Reading) -> list[tuple[int, int]]:
        """Numbers of labels, each with the number of the draw; all labels there are can be drawn in one way only."""
        there = len(self.split.train)
        few = [labels for labels in reading.labels if labels < there]
        sizes = [(labels, draw) for labels in few for draw in range(reading.draws_of(labels, self.seed, self.seeds))]
        return sizes if len(few) == len(reading.labels) else [*sizes, (there, 0)]


@dataclass(frozen=True)
class Todo:
    """A job, and what of it is left to do."""

    job: Job
    name: str
    key: str
    trained: bool
    missing: tuple[Block, ...]

    @property
    def finished(self) -> bool:
        return self.trained and not self.missing


@dataclass
class Outcome:
    """What became of a job.

    Attributes:
        record: of its training; None of a baseline's.
        went: whether it was trained now.
        readings: rows of the blocks that were read now.
        error: one line on what went wrong; "" if nothing did.
    """

    record: dict[str, Any] | None = None
    went: bool = False
    readings: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""


def look(job: Job) -> Todo:
    """What of a job is left to do, by the files in the study's folder.

    A training is finished with its record. Where its weights are there as well, the record's own probes must be today's.
    """
    name, key = job.identity()
    missing = tuple(block for block in job.blocks(key) if not block_path(job.out, name, block).exists())
    return Todo(job, name, key, isinstance(job.subject, Baseline) or _is_trained(job, name, key), missing)


def _is_trained(job: Job, name: str, key: str) -> bool:
    files = RunFiles(job.out, name, key)
    if not files.record.exists():
        return False
    record = read_record(files.record)
    probes = record.get("evaluations", {})
    current = all(found.get("key") == validity.evaluation_key(key, kind, job.seed) for kind, found in probes.items())
    return record.get("key") == key and (current or not files.checkpoint.exists())


def block_path(out: Path, name: str, block: Block) -> Path:
    """The file of one reading."""
    return out / "readings" / f"{name}-{block.kind}-{block.labels}labels-draw{block.draw}.{block.key}.csv"


def do(job: Job) -> Outcome:
    """Do what is left of a job. What goes wrong is told in the outcome: the other jobs go on."""
    outcome = Outcome()
    with _ONE_AT_A_TIME:
        try:
            _do(job, outcome)
        except Exception as error:
            outcome.error = one_line(error)
    return outcome


def _do(job: Job, outcome: Outcome) -> None:
    todo, corpus = look(job), job.source.corpus()
    if isinstance(job.subject, Recipe):
        training = job.training(job.subject)
        method, profile = training.method, training.profile
        options: FitOptions = {"labels": training.labels, "tag": training.tag, "progress": False}
        run = fit(method, corpus, job.split, profile, job.seed, job.out, **options)
        outcome.record, outcome.went = run.record, not todo.trained
        model: Any = run
    else:
        size = job.subject.profile.image_size
        model = Pixels() if job.subject.name == "pixels" else random_encoder("paper", size, job.seed)
    bank = FeatureBank(model, corpus, job.subject.profile.image_size)
    for block in todo.missing:
        row = {**_about(job, todo, corpus), **_read(block, bank, corpus, job.split)}
        write_row(row, block_path(job.out, todo.name, block))
        outcome.readings.append(row)


def _read(block: Block, bank: FeatureBank, corpus: Corpus, split: Split) -> dict[str, Any]:
    started = time.perf_counter()
    tuning = block.tuning or FineTuning()
    table = label_curve({"model": bank}, corpus, split, [block.labels], [block.seed], [block.kind], tuning)
    row = {str(name): value for name, value in table.drop(columns=["method", "seed"]).iloc[0].items()}
    about = {"key": block.key, "settings": block.settings, "draw": block.draw}
    return {**about, **row, "seconds": round(time.perf_counter() - started, 2)}


def _about(job: Job, todo: Todo, corpus: Corpus) -> dict[str, Any]:
    """Whose reading it is."""
    subject = job.subject
    if isinstance(subject, Recipe):
        model = ", ".join(filter(None, (method_title(subject.method), subject.tag)))
        names = {"method": subject.method, "tag": subject.tag, "protocol": subject.protocol, "model": model}
    else:
        names = {"method": subject.name, "tag": "", "protocol": "", "model": subject.name}
    place = {"split": subject.split, "profile": subject.profile.name, "seed": job.seed, "training": todo.key}
    return {**names, **place, "data": corpus.name, "fingerprint": corpus.fingerprint, "synthetic": corpus.synthetic}


def write_row(row: Mapping[str, Any], path: Path) -> None:
    """Write one reading, whole or not at all."""
    with atomic_path(path) as temporary:
        pd.DataFrame([row]).to_csv(temporary, index=False)


def one_line(error: BaseException) -> str:
    """An error as one line; its kind too, unless it is told for the user."""
    text = " ".join(str(error).split())
    return text if isinstance(error, CourseError) else f"{type(error).__name__}: {text}"
