"""The course from end to end: its notebooks executed in order by papermill into one folder, resumable at any point."""

from __future__ import annotations

import glob
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat

from brainssl_utils.course import plan as plan
from brainssl_utils.course.notebook import NotebookError, check_parameters, read_notebook, run_notebook
from brainssl_utils.course.plan import Lesson
from brainssl_utils.errors import CourseError
from brainssl_utils.files import check_writable, write_json
from brainssl_utils.results.provenance import environment, git_commit, host
from brainssl_utils.settings import get_profile

SCHEMA = 1
FOLDERS = ("notebooks", "records", "figures", "checkpoints")


@dataclass(frozen=True)
class Job:
    """A lesson read, checked and ready to run."""

    lesson: Lesson
    notebook: nbformat.NotebookNode

    @property
    def name(self) -> str:
        return self.lesson.name


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
    as its cells, the parameters, the data, the package and the notebooks it needs are what they were.

    Args:
        data: "phantoms", "phantoms:N" or a folder with the archives or images.
        profile: name of a profile in `settings.PROFILES`.
        seed: seed handed to every notebook, 0 or more.
        out: the run's folder: `notebooks/` (executed copies), `records/`, `figures/`, `checkpoints/`, `run.json`.
        only: notebooks to run, by name or number; what they need must have run into `out` before or be among them.
        fresh: forget what earlier calls left in `out` (with `only`: of those notebooks) and start again.
        notebooks_dir: folder of the notebooks and `course.toml`; the checkout's by default.
        say: receives one line at each notebook's start and end.

    Returns:
        The content of `run.json`.

    Raises:
        CourseError: a parameter, the data, the output folder or a notebook is not as it must be; nothing has run.
        NotebookError: a notebook stopped; calling again goes on with it.
        KeyboardInterrupt: the user stopped the run; calling again goes on with the notebook that was running.
    """
    profile, seed = get_profile(profile).name, _check_seed(seed)
    data, data_stamp = plan.check_data(str(data))
    parameters: dict[str, Any] = {"data": data, "profile": profile, "seed": seed}
    folder = plan.find_notebooks(notebooks_dir)
    lessons = plan.read_course(folder)
    picked = plan.pick(lessons, only)
    jobs = [Job(lesson, read_notebook(lesson.path)) for lesson in picked]
    out = Path(out).expanduser().resolve()
    if out.is_relative_to(data):
        raise CourseError(f"output folder {out} lies in the data folder. Choose one outside it.")
    for job in jobs:
        check_parameters(job.notebook, job.name, [*parameters, "run_dir"])
    with _only_one_run(check_writable(out)):
        record = _open_record(out, parameters, jobs, len(jobs) == len(lessons), fresh)
        return _run_jobs(jobs, record, {**parameters, "run_dir": str(out)}, data_stamp, say)


def _run_jobs(
    jobs: Sequence[Job],
    record: dict[str, Any],
    parameters: Mapping[str, Any],
    data_stamp: str,
    say: Callable[[str], None],
) -> dict[str, Any]:
    package, done, out = plan.package_stamp(), record["notebooks"], Path(parameters["run_dir"])
    began = time.perf_counter()
    _save(out, record, status="running")
    for number, job in enumerate(jobs, 1):
        label = f"[{number}/{len(jobs)}] {job.name}"
        needs = {need: done[need]["stamp"] for need in job.lesson.needs}
        stamp = plan.lesson_stamp(job.notebook, parameters, package, data_stamp, needs)
        target = out / "notebooks" / f"{job.name}.ipynb"
        if _finished(done.get(job.name), target) and done[job.name]["stamp"] == stamp:
            say(f"{label}: finished earlier ({done[job.name]['seconds']:.0f} s)")
            continue
        say(f"{label}: started{_expected(job.lesson, str(parameters['profile']))}")
        done[job.name] = {"status": "running", "stamp": stamp, "started": _now()}
        _save(out, record)
        before = _records(out)
        try:
            result = run_notebook(job.notebook, job.name, target, parameters, job.lesson.path.parent, label)
        except NotebookError as error:
            done[job.name] |= {"status": "failed", "cell": error.cell, "error": f"{error.error}: {error.reason}"}
            _save(out, record, status="failed")
            raise
        except KeyboardInterrupt:
            done[job.name] |= {"status": "interrupted"}
            _save(out, record, status="interrupted")
            raise
        done[job.name] |= {
            "status": "done",
            "seconds": round(result.seconds, 2),
            "kernel_seconds": result.kernel_seconds,
            "records": sorted(name for name, when in _records(out).items() if before.get(name) != when),
        }
        _save(out, record)
        say(f"{label}: done in {result.seconds:.0f} s")
    _save(out, record, status="done")
    say(f"{len(jobs)} notebooks done in {_duration(time.perf_counter() - began)}: {out / 'notebooks'}")
    return record


def _check_seed(seed: int) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise CourseError(f"seed {seed!r}: a whole number from 0 to {2**32 - 1} is expected.")
    return seed


def _check_needs(jobs: Sequence[Job], done: Mapping[str, Any], out: Path) -> None:
    picked = {job.name for job in jobs}
    for job in jobs:
        for need in job.lesson.needs:
            entry = done.get(need)
            if need not in picked and not _finished(entry, out / "notebooks" / f"{need}.ipynb"):
                raise CourseError(
                    f"{job.name} reads what {need} makes, and {out} holds no finished {need}. Run {need} into it first."
                )


def _finished(entry: Mapping[str, Any] | None, target: Path) -> bool:
    return entry is not None and entry.get("status") == "done" and target.is_file()


def _open_record(
    out: Path, parameters: Mapping[str, Any], jobs: Sequence[Job], whole: bool, fresh: bool
) -> dict[str, Any]:
    """Return the run's record: the one in `out` to go on with, or a new one."""
    path = out / "run.json"
    old: dict[str, Any] | None = None
    if path.exists():
        try:
            old = json.loads(path.read_text(encoding="utf-8"))
            assert old is not None and old["schema"] == SCHEMA and isinstance(old["notebooks"], dict)
        except (ValueError, KeyError, TypeError, AssertionError):
            if not (fresh and whole):
                raise CourseError(
                    f"{path} is not readable: choose another --out, or start again with --fresh."
                ) from None
            old = {"parameters": dict(parameters), "notebooks": {}}
        _compare_parameters(out, old["parameters"], parameters, fresh and whole)
    _check_needs(jobs, old["notebooks"] if old else {}, out)
    if fresh and old:
        _forget(out, old, None if whole else [job.name for job in jobs])
        old = None if whole else old
    record: dict[str, Any] = {"schema": SCHEMA, "status": "running", "started": _now(), "parameters": dict(parameters)}
    record |= {"versions": environment(), "git_commit": git_commit(), "host": host()}
    record["notebooks"] = old["notebooks"] if old else {}
    return record


def _compare_parameters(out: Path, before: Mapping[str, Any], now: Mapping[str, Any], starts_again: bool) -> None:
    differing = [f"{name} {before.get(name)} (now {value})" for name, value in now.items() if before.get(name) != value]
    if differing and not starts_again:
        raise CourseError(
            f"{out} holds a run with {', '.join(differing)}. Choose another --out, or start it again with --fresh."
        )


def _forget(out: Path, record: dict[str, Any], names: Sequence[str] | None) -> None:
    """Remove what a run left: all of it, or the executed copies and trained models of the notebooks in `names`."""
    if names is None:
        for folder in FOLDERS:
            shutil.rmtree(out / folder, ignore_errors=True)
        (out / "run.json").unlink(missing_ok=True)
        return
    for name in names:
        entry = record["notebooks"].pop(name, {})
        (out / "notebooks" / f"{name}.ipynb").unlink(missing_ok=True)
        for record_name in entry.get("records", []):
            (out / "records" / record_name).unlink(missing_ok=True)
            for made in (out / "checkpoints").glob(f"{glob.escape(Path(record_name).stem)}.*"):
                made.unlink()


def _only_one_run(out: Path) -> Any:
    """Hold the run's folder: two runs in one would overwrite each other's files."""
    import filelock

    try:
        return filelock.FileLock(out / ".lock").acquire(timeout=0)
    except filelock.Timeout:
        raise CourseError(f"another run is at work in {out}. Wait for it, or choose another --out.") from None


def _save(out: Path, record: dict[str, Any], status: str | None = None) -> None:
    if status is not None:
        record["status"] = status
    record["updated"] = _now()
    write_json(out / "run.json", record)


def _records(out: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in (out / "records").glob("*.json")}


def _expected(lesson: Lesson, profile: str) -> str:
    minutes = lesson.minutes.get(profile)
    return f" (about {minutes:g} min on two cores)" if minutes else ""


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
