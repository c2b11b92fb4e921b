"""Several lessons at once: which one's turn it is, each in a kernel of its own, and all stopped when one fails.

On two cores a lesson alone leaves one idle for half of its time: importing, drawing and reading features know but one
thread. Two lessons beside each other, of one thread each, fill both. Every kernel is talked to by a thread of this process;
`run.json` is written by the main thread alone.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress

from brainssl_utils.compute.machine import THREADS, available_cores, share_of_cores
from brainssl_utils.course.job import Job, Runner
from brainssl_utils.course.notebook import Beside, NotebookResult, Stopped
from brainssl_utils.errors import CourseError

GIB_EACH = 3  # memory that a lesson may take


def as_many_as_fit() -> int:
    """How many lessons to run at once on this machine: 2 if it has the cores and the free memory for it, else 1."""
    import psutil

    memory = psutil.virtual_memory().available / 2**30
    return 2 if available_cores() >= 2 and memory >= 2 * GIB_EACH else 1


def beside_others(at_once: int) -> Beside:
    """What each of so many lessons is given: its share of the cores, unless the user has said how many threads to use."""
    told = any(name in os.environ for name in THREADS)
    return Beside({} if told else share_of_cores(at_once), threading.Event())


def run_at_once(jobs: Sequence[Job], runner: Runner, at_once: int) -> None:
    """Run what is not finished, up to `at_once` jobs side by side.

    Raises:
        NotebookError, CourseError: what stopped the first job that failed. No other was started then, and those that ran
            were stopped: waiting for them could take minutes, and their trainings go on from the last whole epoch.
        KeyboardInterrupt: the user stopped the run, and with it all jobs.
    """
    waiting, running = list(jobs), dict[Future[NotebookResult], Job]()
    with ThreadPoolExecutor(at_once) as pool:
        try:
            while waiting or running:
                while len(running) < at_once and (job := turn(waiting, running.values())):
                    waiting.remove(job)
                    if runner.begin(job):
                        running[pool.submit(runner.execute, job)] = job
                ended, _ = wait(running, timeout=1, return_when=FIRST_COMPLETED)  # Windows hears Ctrl-C between waits
                for future in ended:
                    runner.end(running[future], future.result())
                    del running[future]
        except BaseException:
            _stop(running, runner)
            raise


def turn(waiting: Sequence[Job], running: Iterable[Job]) -> Job | None:
    """The job whose turn it is; None while all wait for what they need.

    It is the one on which the end of the run hangs: with those that need it, and those that need them, the longest by the
    minutes in `course.toml`. So none is left to run alone at the end.
    """
    undone = {job.name for job in (*waiting, *running)}
    ready = [job for job in waiting if undone.isdisjoint(job.lesson.needs)]

    def minutes(job: Job) -> float:
        """Those of the job and of the longest chain that waits for it."""
        after = (minutes(other) for other in waiting if job.name in other.lesson.needs)
        return max(job.lesson.minutes.values(), default=0) + max(after, default=0)

    return max(ready, key=minutes, default=None)  # of equal ones the first


def _stop(running: dict[Future[NotebookResult], Job], runner: Runner) -> None:
    """Stop the jobs that run, and note how each ended: those that failed last, for the run takes its status from them."""
    if runner.beside is not None:
        runner.beside.stop.set()
    wait(running)
    for future, job in sorted(running.items(), key=lambda item: not isinstance(item[0].exception(), Stopped)):
        error = future.exception()
        if error is None:
            with suppress(CourseError):  # the disk is full: that stopped the other
                runner.end(job, future.result())
            continue
        runner.broke_off(job, error)
        if isinstance(error, Stopped):
            runner.say(f"{job.label}: stopped; the same command goes on with it")
