"""The course from end to end: its notebooks executed by papermill into one folder, resumable at any point."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

from brainssl_utils.checks import check_number
from brainssl_utils.course import plan
from brainssl_utils.course.at_once import beside_others, run_at_once
from brainssl_utils.course.folder import MADE, check_place, open_folder
from brainssl_utils.course.job import Job, Runner
from brainssl_utils.course.notebook import NotebookError, check_parameters, read_notebook
from brainssl_utils.errors import CourseError
from brainssl_utils.files import check_writable, only_one_run
from brainssl_utils.settings import check_seed, get_profile


class CourseOptions(TypedDict, total=False):
    """What else `run_course` takes, by name.

    Attributes:
        notebooks_dir: folder of the notebooks and `course.toml`; the checkout's by default.
        at_once: how many lessons may run side by side, each in a process of its own with its share of the cores; 1 by
            default, one after the other in the course's order. Results are the same up to rounding, which threads change.
        say: receives one line at each notebook's start and end; `print` by default.
    """

    notebooks_dir: str | Path | None
    at_once: int
    say: Callable[[str], None]


def run_course(
    data: str = "phantoms",
    profile: str = "quick",
    seed: int = 0,
    out: str | Path = "runs/course",
    only: Sequence[str] | None = None,
    fresh: bool = False,
    **options: Unpack[CourseOptions],
) -> dict[str, Any]:
    """Run the course's notebooks; go on from where an earlier call with the same parameters stopped.

    Everything is checked before the first notebook starts. A notebook that finished earlier is not run again as long
    as its key is what it was (`validity.lesson_key`); if its text alone was edited, the executed copy takes it over.

    Args:
        data: "phantoms", "phantoms:N" or a folder with the archives or images.
        profile: name of a profile in `settings.PROFILES`.
        seed: seed handed to every notebook, 0 or more.
        out: the run's folder: `notebooks/` (executed copies), `run.json`, and what the notebooks write.
        only: notebooks to run, by name or number; what they need must have run into `out` before or be among them.
        fresh: remove what earlier calls made in `out` (with `only`: of those notebooks) and start again.
        **options: notebooks_dir, at_once, say: see `CourseOptions`.

    Returns:
        The content of `run.json`.

    Raises:
        CourseError: a parameter, the data, the output folder or a notebook is not as it must be; nothing has run.
            Or the disk is full: calling again, when there is room, goes on with the notebook that was running.
        NotebookError: a notebook stopped; calling again goes on with it.
        KeyboardInterrupt: the user stopped the run; calling again goes on with what was running.
    """
    if unknown := set(options) - set(CourseOptions.__annotations__):
        raise CourseError(f"run_course has no parameter {', '.join(sorted(unknown))}.")
    at_once, say = options.get("at_once", 1), options.get("say", print)
    check_number("at_once", at_once, at_least=1, whole=True)
    profile, seed = get_profile(profile).name, check_seed(seed)
    data, data_digest = plan.check_data(str(data))
    source = plan.find_notebooks(options.get("notebooks_dir"))
    lessons = plan.read_course(source)
    picked = plan.pick(lessons, only)
    labels = [f"[{number}/{len(picked)}] {lesson.name}" for number, lesson in enumerate(picked, 1)]
    jobs = [Job(lesson, read_notebook(lesson.path), label) for lesson, label in zip(picked, labels)]
    out = Path(out).expanduser().resolve()
    check_place(out, source, lessons, data)
    parameters: dict[str, Any] = {"data": data, "profile": profile, "seed": seed}
    for job in jobs:
        check_parameters(job.notebook, job.name, [*parameters, "run_dir"])
    with only_one_run(check_writable(out), out / "notebooks", *(out / made for made in MADE)):
        folder = open_folder(out, parameters, picked, len(picked) == len(lessons), fresh)
        runner = Runner(folder, parameters, data_digest, say, beside_others(at_once) if at_once > 1 else None)
        _run_jobs(jobs, runner, at_once)
    return folder.record


def _run_jobs(jobs: Sequence[Job], runner: Runner, at_once: int) -> None:
    """Run what is not finished."""
    began = time.perf_counter()
    folder = runner.folder
    folder.save(status="running")
    if at_once > 1:
        run_at_once(jobs, runner, at_once)
    else:
        _run_in_order(jobs, runner)
    folder.save(status="done")
    runner.say(f"{len(jobs)} notebooks done in {_duration(time.perf_counter() - began)}: {folder.out / 'notebooks'}")


def _run_in_order(jobs: Sequence[Job], runner: Runner) -> None:
    for job in jobs:
        if not runner.begin(job):
            continue
        try:
            result = runner.execute(job)
        except (NotebookError, CourseError, KeyboardInterrupt) as error:
            runner.broke_off(job, error)
            raise
        runner.end(job, result)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
