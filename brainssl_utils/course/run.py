"""The course from end to end: its notebooks executed in order by papermill into one folder, resumable at any point."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nbformat

from brainssl_utils.course import plan
from brainssl_utils.course.folder import MADE, RunFolder, check_place, open_folder
from brainssl_utils.course.notebook import NotebookError, check_parameters, read_notebook, run_notebook
from brainssl_utils.course.plan import Lesson
from brainssl_utils.course.refresh import refresh, text_digest
from brainssl_utils.errors import CourseError
from brainssl_utils.files import check_writable, only_one_run
from brainssl_utils.settings import check_seed, get_profile
from brainssl_utils.validity import lesson_key


@dataclass(frozen=True)
class Job:
    """A lesson read, checked and ready to run."""

    lesson: Lesson
    notebook: nbformat.NotebookNode

    @property
    def name(self) -> str:
        return self.lesson.name

    def key(self, parameters: Mapping[str, Any], data: str, done: Mapping[str, Mapping[str, Any]]) -> str:
        """Key of its result; the profile counts by its sizes, and what the lesson needs must be done."""
        code = [cell.source for cell in self.notebook.cells if cell.cell_type == "code"]
        sizes = asdict(get_profile(parameters["profile"]))
        needs = {need: done[need]["key"] for need in self.lesson.needs}
        return lesson_key(code, {**parameters, "profile": sizes}, data, needs)


def run_course(
    data: str = "phantoms",
    profile: str = "quick",
    seed: int = 0,
    out: str | Path = "runs/course",
    only: Sequence[str] | None = None,
    fresh: bool = False,
    notebooks_dir: str | Path | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Run the course's notebooks in order; go on from where an earlier call with the same parameters stopped.

    Everything is checked before the first notebook starts. A notebook that finished earlier is not run again as long
    as its key is what it was (`validity.lesson_key`); if its text alone was edited, the executed copy takes it over.

    Args:
        data: "phantoms", "phantoms:N" or a folder with the archives or images.
        profile: name of a profile in `settings.PROFILES`.
        seed: seed handed to every notebook, 0 or more.
        out: the run's folder: `notebooks/` (executed copies), `run.json`, and what the notebooks write.
        only: notebooks to run, by name or number; what they need must have run into `out` before or be among them.
        fresh: remove what earlier calls made in `out` (with `only`: of those notebooks) and start again.
        notebooks_dir: folder of the notebooks and `course.toml`; the checkout's by default.
        say: receives one line at each notebook's start and end.

    Returns:
        The content of `run.json`.

    Raises:
        CourseError: a parameter, the data, the output folder or a notebook is not as it must be; nothing has run.
            Or the disk is full: calling again, when there is room, goes on with the notebook that was running.
        NotebookError: a notebook stopped; calling again goes on with it.
        KeyboardInterrupt: the user stopped the run; calling again goes on with the notebook that was running.
    """
    profile, seed = get_profile(profile).name, check_seed(seed)
    data, data_digest = plan.check_data(str(data))
    source = plan.find_notebooks(notebooks_dir)
    lessons = plan.read_course(source)
    picked = plan.pick(lessons, only)
    jobs = [Job(lesson, read_notebook(lesson.path)) for lesson in picked]
    out = Path(out).expanduser().resolve()
    check_place(out, source, lessons, data)
    parameters: dict[str, Any] = {"data": data, "profile": profile, "seed": seed}
    for job in jobs:
        check_parameters(job.notebook, job.name, [*parameters, "run_dir"])
    with only_one_run(check_writable(out), out / "notebooks", *(out / made for made in MADE)):
        folder = open_folder(out, parameters, picked, len(picked) == len(lessons), fresh)
        _run_jobs(jobs, folder, parameters, data_digest, say)
    return folder.record


def _run_jobs(
    jobs: Sequence[Job],
    folder: RunFolder,
    parameters: Mapping[str, Any],
    data_digest: str,
    say: Callable[[str], None],
) -> None:
    """Run in order what is not finished."""
    began = time.perf_counter()
    folder.save(status="running")
    for number, job in enumerate(jobs, 1):
        label = f"[{number}/{len(jobs)}] {job.name}"
        key, entry = job.key(parameters, data_digest, folder.lessons), folder.lessons.get(job.name, {})
        if folder.finished(job.name) and entry["key"] == key:
            say(f"{label}: finished earlier ({entry['seconds']:.0f} s){_bring_up_to_date(job, folder)}")
            continue
        again = " again, for an older version of the course ran it" if "stamp" in entry else ""
        say(f"{label}: started{again}{_expected(job.lesson, str(parameters['profile']))}")
        folder.begin(job.name, key, text_digest(job.notebook))
        given = {**parameters, "run_dir": str(folder.out)}
        try:
            result = run_notebook(
                job.notebook, job.name, folder.executed(job.name), given, job.lesson.path.parent, label
            )
        except (NotebookError, CourseError) as error:
            with suppress(CourseError):  # on a full disk: what stopped the notebook is told, not that run.json is stale
                folder.end(job.name, "failed", **_reason(error))
            raise
        except KeyboardInterrupt:
            folder.end(job.name, "interrupted")
            raise
        folder.end(job.name, "done", seconds=round(result.seconds, 2), kernel_seconds=result.kernel_seconds)
        say(f"{label}: done in {result.seconds:.0f} s")
    folder.save(status="done")
    say(f"{len(jobs)} notebooks done in {_duration(time.perf_counter() - began)}: {folder.out / 'notebooks'}")


def _reason(error: NotebookError | CourseError) -> dict[str, Any]:
    if isinstance(error, NotebookError):
        return {"cell": error.cell, "error": f"{error.error}: {error.reason}"}
    return {"error": str(error)}


def _bring_up_to_date(job: Job, folder: RunFolder) -> str:
    """Give a finished lesson's executed copy the notebook's text where that was edited since; say what was done."""
    entry, text = folder.lessons[job.name], text_digest(job.notebook)
    if entry["text"] == text:
        return ""
    if not refresh(job.notebook, folder.executed(job.name), entry["text"]):
        return "; the notebook's new text was not taken over, for the executed copy was edited by hand"
    entry["text"] = text
    folder.save()
    return "; the notebook's new text was taken over"


def _expected(lesson: Lesson, profile: str) -> str:
    minutes = lesson.minutes.get(profile)
    return f" (about {minutes:g} min on two cores)" if minutes else ""


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
