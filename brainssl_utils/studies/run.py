"""Run a study: what is finished is not done again, what fails is told and the rest goes on; here, or on Dask's workers."""

from __future__ import annotations

import logging
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import fmean
from typing import Any

from brainssl_utils.compute.machine import share_of_cores
from brainssl_utils.errors import CourseError
from brainssl_utils.files import check_writable, only_one_run
from brainssl_utils.results.records import read_record, write_record
from brainssl_utils.studies.plan import Recipe, Study
from brainssl_utils.studies.tasks import (
    Job,
    Outcome,
    Source,
    Todo,
    block_path,
    corpus_at,
    do,
    look,
    one_line,
    write_row,
)
from brainssl_utils.training.run import RunFiles

COPIES_SIZE = 96
CONNECT_SECONDS = 30
LOOK_SECONDS = 10  # how often a cluster is asked whether it has grown
Results = Iterator[tuple[Todo, Outcome]]


def run_study(
    study: Study,
    data: str | None,
    out: str | Path,
    workers: int = 0,
    scheduler: str | None = None,
    seeds: Sequence[int] | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, str]:
    """Do what is left of a study, all of its first seed before the next; call again to go on after any interruption.

    Args:
        study: from `read_study`.
        data: place of the images, as in `load_corpus`; None for phantoms where the study is meant for them.
        out: folder for records, checkpoints and readings. Workers write there too: on other machines it must be the same
            folder under the same path.
        workers: 0 does everything in this process; N starts a Dask cluster of N processes on this machine.
        scheduler: address of a running Dask cluster ("tcp://host:8786") to use instead. Its workers need this package and
            the images at `data`, and are best given one thread each, since a process does one training at a time.
        seeds: which of the study's; all by default.
        say: takes the lines of progress.

    Returns:
        title -> one line, of what failed; empty if nothing did.

    Raises:
        CourseError: seeds that the study has not, images that cannot be loaded or split as it wants, a folder that is
            not writable or in which another run is at work, a scheduler that does not answer. Nothing has run then.
    """
    chosen = _chosen_seeds(study, seeds)
    if workers < 0 or (workers and scheduler):
        raise CourseError(f"workers is {workers}: give 0 or more, and none beside a scheduler.")
    out = check_writable(out).resolve()
    with only_one_run(out, out / "records", out / "checkpoints", out / "readings"):
        source = _source(study, data, say)
        jobs = [
            Job(subject, seed, study.seeds, study.readings, source, out)
            for seed in chosen
            for subject in study.subjects
        ]
        todos = [look(job) for job in jobs]
        left = [todo for todo in todos if not todo.finished]
        log = _Log(todos, say)
        if left:
            here = not workers and scheduler is None
            for todo, outcome in _here(left) if here else _on_dask(left, workers, scheduler, log):
                _keep(todo, outcome)
                log.add(todo, outcome)
    return log.failures


def _chosen_seeds(study: Study, seeds: Sequence[int] | None) -> list[int]:
    chosen = list(study.seeds if seeds is None else dict.fromkeys(seeds))
    if unknown := [seed for seed in chosen if seed not in study.seeds]:
        raise CourseError(f"{study.path} has seeds {', '.join(map(str, study.seeds))}, not {unknown[0]}.")
    return chosen


def _source(study: Study, data: str | None, say: Callable[[str], None]) -> Source:
    """Load the images, and find the copies among them, so that workers find both in the cache."""
    synthetic = study.data.startswith("phantoms")
    if data is None and not synthetic:
        raise CourseError(f"{study.path} is meant for {study.data}: say where they are with --data DIR.")
    place = data or study.data
    if not place.startswith("phantoms"):
        place = str(Path(place).expanduser().resolve())
    size = max([COPIES_SIZE, *(recipe.profile.image_size for recipe in study.recipes)])
    corpus = corpus_at(place, size)
    corpus.table  # noqa: B018
    if corpus.synthetic and not synthetic:
        say(f"{study.path} is meant for {study.data}; these images are synthetic.")
    return Source(place, size, corpus.fingerprint)


def _keep(todo: Todo, outcome: Outcome) -> None:
    """Write what a worker has sent, unless it wrote it into this very folder."""
    job, record = todo.job, outcome.record
    path = RunFiles(job.out, todo.name, todo.key).record
    if record is not None and not (path.exists() and read_record(path).get("key") == todo.key):
        write_record(record, path)
    blocks = {block.key: block for block in todo.missing}
    for row in outcome.readings:
        path = block_path(job.out, todo.name, blocks[row["key"]])
        if not path.exists():
            write_row(row, path)


def _here(todos: Sequence[Todo]) -> Results:
    """One after the other in this process: the fastest on a machine of few cores, each training using all of them."""
    for todo in todos:
        yield todo, do(todo.job)


def _on_dask(todos: Sequence[Todo], workers: int, scheduler: str | None, log: _Log) -> Results:
    """On a cluster, as results come; Dask gives the job of a worker that died to another, three times.

    It is given no more jobs than it has threads. Of jobs that it has never timed it parks some behind others at once, and
    lets a worker that is through with its own stand idle for as long as one takes.
    """
    from dask.distributed import TimeoutError, wait

    with ExitStack() as stack:
        client = _client(stack, workers, scheduler)
        log.workers = workers or max(1, len(client.ncores()))
        waiting, running = deque(todos), dict[Any, Todo]()
        while waiting or running:
            free = max(1, sum(client.nthreads().values())) - len(running)
            for todo in [waiting.popleft() for _ in range(min(free, len(waiting)))]:
                running[client.submit(do, todo.job, key=f"{todo.name}-{todo.key}", pure=False)] = todo
            with suppress(TimeoutError):  # workers may have joined meanwhile
                wait(list(running), timeout=LOOK_SECONDS, return_when="FIRST_COMPLETED")
            for future in [future for future in running if future.done()]:
                error = future.exception()
                yield running.pop(future), future.result() if error is None else Outcome(error=one_line(error))


def _client(stack: ExitStack, workers: int, scheduler: str | None) -> Any:
    """A client of the scheduler, or of a new cluster on this machine, which ends with `stack`."""
    from dask.distributed import Client, LocalCluster

    if scheduler is not None:
        try:
            return stack.enter_context(Client(scheduler, timeout=CONNECT_SECONDS))
        except (OSError, ValueError) as error:
            raise CourseError(f"no Dask scheduler answers at {scheduler}: {one_line(error)}") from error
    cluster = LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address=":0",
        silence_logs=logging.ERROR,  # what becomes of a job is told by the study's own lines
        memory_limit=0,  # a worker that is stopped for its size would only lose an epoch and grow again
        env=share_of_cores(workers),  # Dask itself would give each one thread
    )
    return stack.enter_context(Client(stack.enter_context(cluster)))


class _Log:
    """Says what is done, what failed and how long the rest may take, by what the same kinds of work took before."""

    def __init__(self, todos: Sequence[Todo], say: Callable[[str], None]) -> None:
        self.say, self.workers, self.failures = say, 1, dict[str, str]()
        self._left = {todo.name: todo for todo in todos if not todo.finished}
        self._total, self._done = len(todos), len(todos) - len(self._left)
        self._training: dict[str, list[float]] = defaultdict(list)  # seconds, by method
        self._reading: dict[str, list[float]] = defaultdict(list)  # seconds, by kind
        for todo in todos:
            if todo.trained and isinstance(todo.job.subject, Recipe):
                self._note(todo, read_record(RunFiles(todo.job.out, todo.name, todo.key).record))
        say(f"{self._total} to do, {self._done} finished before.{self._remaining()}")

    def add(self, todo: Todo, outcome: Outcome) -> None:
        self._left.pop(todo.name)
        self._done += 1
        told = []
        if outcome.record is not None and outcome.went:
            seconds = self._note(todo, outcome.record)
            test = outcome.record["test"]
            told.append(f"trained in {duration(seconds)}, {test['correct']} of {test['n']} test images right")
        for row in outcome.readings:
            self._reading[row["kind"]].append(row["seconds"])
        if outcome.readings:
            told.append(f"{len(outcome.readings)} readings")
        if outcome.error:
            self.failures[todo.job.title] = outcome.error
            told = [f"failed: {outcome.error}"]
        done = f"[{self._done}/{self._total}] {todo.job.title}: {'; '.join(told) or 'nothing was left to do'}."
        self.say(f"{time.strftime('%H:%M')} {done}{self._remaining()}")

    def _note(self, todo: Todo, record: dict[str, Any]) -> float:
        seconds = sum(float(row["seconds"] or 0) for row in record["history"])
        self._training[record["method"]].append(seconds)
        return seconds

    def _remaining(self) -> str:
        """About how long the rest takes; what was not yet done once takes as long as its like on average."""
        trainings = [
            todo.job.subject.method
            for todo in self._left.values()
            if isinstance(todo.job.subject, Recipe) and not todo.trained
        ]
        readings = [block.kind for todo in self._left.values() for block in todo.missing]
        expected = _expected(trainings, self._training) + _expected(readings, self._reading)
        return f" About {duration(expected / self.workers)} left." if expected else ""


def _expected(wanted: Sequence[str], known: dict[str, list[float]]) -> float:
    """Seconds that the wanted kinds of work take, 0 where nothing is known of any."""
    if not known:
        return 0.0
    overall = fmean(map(fmean, known.values()))
    return sum(fmean(known[kind]) if kind in known else overall for kind in wanted)


def duration(seconds: float) -> str:
    """A time as a person says it: 40 s, 12 min, 3.4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
