"""One lesson of a run: begun, executed and ended, each noted in `run.json` and said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import nbformat

from brainssl_utils.course.folder import RunFolder
from brainssl_utils.course.notebook import Beside, NotebookError, NotebookResult, Stopped, run_notebook
from brainssl_utils.course.plan import Lesson
from brainssl_utils.course.refresh import refresh, text_digest
from brainssl_utils.errors import CourseError
from brainssl_utils.files import JOURNAL
from brainssl_utils.settings import get_profile
from brainssl_utils.validity import lesson_key


@dataclass(frozen=True)
class Job:
    """A lesson read, checked and ready to run; `label` begins what is said of it."""

    lesson: Lesson
    notebook: nbformat.NotebookNode
    label: str = ""

    @property
    def name(self) -> str:
        return self.lesson.name

    def key(self, parameters: Mapping[str, Any], data: str, done: Mapping[str, Mapping[str, Any]]) -> str:
        """Key of its result; the profile counts by its sizes, and what the lesson needs must be done."""
        code = [cell.source for cell in self.notebook.cells if cell.cell_type == "code"]
        sizes = asdict(get_profile(parameters["profile"]))
        needs = {need: done[need]["key"] for need in self.lesson.needs}
        return lesson_key(code, {**parameters, "profile": sizes}, data, needs)


@dataclass(frozen=True)
class Runner:
    """Runs jobs into a run's folder. `execute` may be called in a thread of its own, the others in the main thread alone.

    Attributes:
        folder: the run's folder.
        parameters: data, profile and seed.
        data_digest: from `plan.check_data`.
        say: receives one line at each job's start and end.
        beside: what lessons are given that run beside others; None where they run one by one.
    """

    folder: RunFolder
    parameters: Mapping[str, Any]
    data_digest: str
    say: Callable[[str], None]
    beside: Beside | None = None

    def begin(self, job: Job) -> bool:
        """Note that a job starts; False if it was finished earlier and need not."""
        folder, name = self.folder, job.name
        key, entry = job.key(self.parameters, self.data_digest, folder.lessons), folder.lessons.get(name, {})
        if folder.finished(name) and entry["key"] == key:
            self.say(f"{job.label}: finished earlier ({entry['seconds']:.0f} s){_bring_up_to_date(job, folder)}")
            return False
        again = " again, for an older version of the course ran it" if "stamp" in entry else ""
        self.say(f"{job.label}: started{again}{self._expected(job.lesson)}")
        folder.begin(name, key, text_digest(job.notebook), self.beside is not None)
        return True

    def execute(self, job: Job) -> NotebookResult:
        """Run a job's notebook; raises as `run_notebook` does."""
        folder, beside = self.folder, self.beside
        given = {**self.parameters, "run_dir": str(folder.out)}
        arguments = (job.notebook, job.name, folder.executed(job.name), given, job.lesson.path.parent, job.label)
        if beside is None:
            return run_notebook(*arguments)
        env = {**beside.env, JOURNAL: str(folder.journal(job.name))}
        return run_notebook(*arguments, replace(beside, env=env))

    def end(self, job: Job, result: NotebookResult) -> None:
        """Note that a job came to its end."""
        self.folder.end(job.name, "done", seconds=round(result.seconds, 2), kernel_seconds=result.kernel_seconds)
        self.say(f"{job.label}: done in {result.seconds:.0f} s")

    def broke_off(self, job: Job, error: BaseException) -> None:
        """Note what stopped a job."""
        with suppress(CourseError):  # on a full disk: what stopped the notebook is told, not that run.json is stale
            if isinstance(error, NotebookError):
                self.folder.end(job.name, "failed", cell=error.cell, error=f"{error.error}: {error.reason}")
            elif isinstance(error, KeyboardInterrupt | Stopped):
                self.folder.end(job.name, "interrupted")
            else:
                self.folder.end(job.name, "failed", error=str(error))

    def _expected(self, lesson: Lesson) -> str:
        minutes = lesson.minutes.get(str(self.parameters["profile"]))
        return f" (about {minutes:g} min on two cores with bfloat16)" if minutes else ""


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
