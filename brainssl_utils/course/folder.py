"""The folder of a run: where it may lie, what its `run.json` says, and which files in it the run made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from brainssl_utils.course.plan import Lesson
from brainssl_utils.errors import CourseError
from brainssl_utils.files import naming, read_journal, write_json
from brainssl_utils.results.provenance import environment, git_commit, host

SCHEMA = 2
READABLE = (1, SCHEMA)  # lessons of schema 1 carry a `stamp` of the whole package in place of a key: they run again
MADE = {"records": "*.json", "checkpoints": "*.ckpt", "figures": "*.png", "tables": "*.csv"}  # what lessons write

Files = dict[str, dict[str, int]]  # folder: file name: time of its last change, ns


class RunFolder:
    """A run's folder and its record, `run.json`.

    An entry of the record holds a lesson's status and key, the digest of its text, and the names of the files it made
    in each folder of `MADE`: those of the kinds lessons write that appeared or changed while it ran. Of a lesson that ran
    beside others, they are those among them that its journal tells of. `forget` removes these and the lesson's executed
    copies, and nothing else that lies in the folder.

    Attributes:
        out: the folder.
        record: content of `run.json`.
    """

    def __init__(self, out: Path, record: dict[str, Any]) -> None:
        self.out, self.record = out, record
        self.lessons: dict[str, dict[str, Any]] = record["notebooks"]

    def executed(self, name: str, state: str = "") -> Path:
        """Path of a lesson's executed copy; of its `running` or `failed` one."""
        return self.out / "notebooks" / f"{name}{state and '.' + state}.ipynb"

    def journal(self, name: str) -> Path:
        """Path of the file that is told what a lesson writes while it runs beside others (`files.JOURNAL`)."""
        return self.out / ".journals" / name

    def finished(self, name: str) -> bool:
        """Whether the lesson ran to its end, under a key that can be compared."""
        entry = self.lessons.get(name, {})
        return entry.get("status") == "done" and "key" in entry and self.executed(name).is_file()

    def begin(self, name: str, key: str, text: str, beside_others: bool = False) -> None:
        """Note that a lesson starts, and what lies in the folder: so what it makes is known even if it is killed."""
        journal = self.journal(name)
        journal.unlink(missing_ok=True)
        if beside_others:
            with naming(journal):
                journal.parent.mkdir(exist_ok=True)
                journal.touch()
        made = {folder: self.lessons.get(name, {}).get(folder, []) for folder in MADE}
        entry = {"status": "running", "key": key, "text": text, "started": _now(), "found": _files(self.out)}
        self.lessons[name] = entry | made
        self.save()

    def end(self, name: str, status: str, **facts: Any) -> None:
        """Note how a lesson ended, and the files it made."""
        self.list_made(name)
        self.lessons[name] |= {"status": status, **facts}
        self.save(None if status == "done" else status)

    def list_made(self, name: str) -> None:
        """Add to a lesson's entry the files that are not what they were when it began."""
        entry, journal = self.lessons[name], self.journal(name)
        found = entry.pop("found", None)
        if found is None:
            return
        own = read_journal(journal) if journal.exists() else None
        for folder, files in _files(self.out).items():
            made = {file for file, when in files.items() if found.get(folder, {}).get(file) != when}
            if own is not None:
                made = {file for file in made if self.out / folder / file in own}
            entry[folder] = sorted({*entry.get(folder, []), *made})
        journal.unlink(missing_ok=True)

    def forget(self, name: str) -> None:
        """Remove the executed copies of a lesson, the files it made, and its entry."""
        entry = self.lessons.pop(name, {})
        files = [self.executed(name, state) for state in ("", "running", "failed")]
        files += [self.out / folder / Path(file).name for folder in MADE for file in entry.get(folder, [])]
        for file in entry.get("records", []):  # schema 1 lists records alone; a training's two files share their name
            files += [self.out / "checkpoints" / f"{Path(file).stem}{suffix}" for suffix in (".ckpt", ".key")]
        for path in files:
            path.unlink(missing_ok=True)

    def save(self, status: str | None = None) -> None:
        """Write `run.json`, with a new status of the whole run if one is given."""
        self.record |= {"status": status or self.record["status"], "updated": _now()}
        write_json(self.out / "run.json", self.record)


def check_place(out: Path, notebooks_dir: Path, lessons: Sequence[Lesson], data: str) -> None:
    """Refuse an output folder (absolute) whose files would lie among the notebooks that are run, or among the data.

    Raises:
        CourseError: it does.
    """
    target = (out / "notebooks").resolve()
    inside = any(_lies_in(path, notebooks_dir) for path in (out, target))
    around = any(_lies_in(path, target) for path in (notebooks_dir, *(lesson.path.resolve() for lesson in lessons)))
    if not out.is_file() and (inside or around):  # that a file is no folder is told by check_writable
        raise CourseError(
            f"output folder {out}: the executed copies in {target} would lie among the notebooks they are made of, in "
            f"{notebooks_dir}. Choose a folder of its own, such as runs/course."
        )
    if out.is_relative_to(data):
        raise CourseError(f"output folder {out} lies in the data folder. Choose one outside it.")


def open_folder(
    out: Path, parameters: Mapping[str, Any], lessons: Sequence[Lesson], whole: bool, fresh: bool
) -> RunFolder:
    """Open a run's folder: to go on with the run in it, or to start one.

    Args:
        out: the folder.
        parameters: data, profile and seed of the run.
        lessons: the ones that are to run.
        whole: they are all of the course.
        fresh: forget what earlier calls made: of all lessons if the run is whole, of `lessons` otherwise.

    Raises:
        CourseError: `run.json` is unreadable or of other parameters (and nobody starts the whole run afresh), a lesson
            needs one that has not finished, or a notebook would be overwritten that no run made. Nothing was removed.
    """
    path, starts_again = out / "run.json", fresh and whole
    before = _read(path)
    if path.exists() and before is None and not starts_again:
        raise CourseError(
            f"{path} is not readable as a run of this version: choose another --out, or start again with --fresh."
        )
    if before and not starts_again:
        _compare_parameters(out, before["parameters"], parameters)
    folder = RunFolder(out, before or {"notebooks": {}})
    for name in folder.lessons:
        folder.list_made(name)
    _check_needs(folder, lessons)
    _check_copies(folder, lessons)
    if before is None and path.exists():
        path.replace(out / "run.unreadable.json")
    if fresh:
        for name in list(folder.lessons) if whole else [lesson.name for lesson in lessons]:
            folder.forget(name)
    record: dict[str, Any] = {"schema": SCHEMA, "status": "running", "started": _now(), "parameters": dict(parameters)}
    record |= {"versions": environment(), "git_commit": git_commit(), "host": host(), "notebooks": folder.lessons}
    return RunFolder(out, record)


def _read(path: Path) -> dict[str, Any] | None:
    """Return the content of a `run.json` that a run wrote, None if there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(content, dict) or content.get("schema") not in READABLE:
        return None
    parts = [content.get("parameters"), content.get("notebooks")]
    return content if all(isinstance(part, dict) for part in parts) else None


def _compare_parameters(out: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    differing = [f"{name} {before.get(name)} (now {value})" for name, value in now.items() if before.get(name) != value]
    if differing:
        raise CourseError(
            f"{out} holds a run with {', '.join(differing)}. Choose another --out, or start it again with --fresh."
        )


def _check_needs(folder: RunFolder, lessons: Sequence[Lesson]) -> None:
    picked = {lesson.name for lesson in lessons}
    for lesson in lessons:
        for need in lesson.needs:
            if need not in picked and not folder.finished(need):
                raise CourseError(
                    f"{lesson.name} reads what {need} makes, and {folder.out} holds no finished {need} of this version. "
                    f"Run {need} into it first."
                )


def _check_copies(folder: RunFolder, lessons: Sequence[Lesson]) -> None:
    for lesson in lessons:
        copies = [folder.executed(lesson.name, state) for state in ("", "running", "failed")]
        found = [copy for copy in copies if copy.exists()]
        if found and lesson.name not in folder.lessons:
            raise CourseError(f"{found[0]} is not of a run in {folder.out} and would be lost. Choose another --out.")


def _files(out: Path) -> Files:
    found: Files = {folder: {} for folder in MADE}
    for folder, kind in MADE.items():
        for file in (out / folder).glob(kind):
            with suppress(FileNotFoundError):  # a lesson that runs replaces checkpoints
                if file.is_file():
                    found[folder][file.name] = file.stat().st_mtime_ns
    return found


def _lies_in(path: Path, folder: Path) -> bool:
    """Whether `path` is `folder` or below it, by whatever links and spelling of their names."""
    return folder.exists() and any(place.exists() and place.samefile(folder) for place in (path, *path.parents))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
