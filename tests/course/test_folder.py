"""A run never removes what it did not make, and never takes the notebooks it runs for its own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nbformat
import pytest
from tiny_course import write_course

from brainssl_utils.course import job
from brainssl_utils.course.notebook import NotebookError, NotebookResult
from brainssl_utils.course.run import run_course
from brainssl_utils.errors import CourseError

MADE = ("records/{}.json", "checkpoints/{}.ckpt", "checkpoints/{}.0123.part.ckpt", "figures/{}.png", "tables/{}.csv")
FOREIGN = (
    "notebooks/mine.ipynb",
    "records/notes.json",
    "records/first.txt",
    "checkpoints/mine.ckpt",
    "figures/mine.png",
    "tables/mine.csv",
    "notes.txt",
)


def tree(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name not in (".lock", "run.json")
    }


def touch(out: Path, *names: str) -> None:
    for name in names:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("x")


@pytest.fixture
def course(tmp_path):
    cells = {"01_first": ["a = 1"], "02_second": ["b = 2"]}
    return write_course(tmp_path / "course" / "notebooks", cells, {"02_second": ["01_first"]})


@pytest.fixture
def go(tmp_path, course, monkeypatch):
    """Run the course into `tmp_path / "run"` with notebooks that write files of every kind, without kernels."""

    def execute(notebook, name, target, parameters, cwd, label):
        touch(Path(parameters["run_dir"]), *(file.format(name.split("_")[1]) for file in MADE))
        if stop.get(name):
            raise stop[name]
        target.parent.mkdir(exist_ok=True)
        nbformat.write(notebook, target)
        return NotebookResult(1.0, 0.1)

    def call(**arguments) -> list[str]:
        lines: list[str] = []
        given = {"profile": "smoke", "out": tmp_path / "run", "notebooks_dir": course, "say": lines.append}
        run_course(**{**given, **arguments})
        return lines

    stop: dict[str, BaseException] = {}
    call.stop = stop  # type: ignore[attr-defined]
    monkeypatch.setattr(job, "run_notebook", execute)
    return call


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("out", [".", "notebooks", "notebooks/run", "link", "linked", "around", "UP/../."])
def test_folder_of_the_notebooks_is_refused_as_a_run_before_anything_is_touched(course, go, fresh, out, tmp_path):
    place = course.parent
    (place / "link").symlink_to(place)  # whose notebooks/ is the source
    (place / "linked").mkdir()
    (place / "linked" / "notebooks").symlink_to(course)
    (place / "around").mkdir()
    (place / "around" / "notebooks").symlink_to(place)  # which holds the source
    (place / "UP").mkdir()
    (place / "run.json").write_text(json.dumps({"schema": 1, "parameters": {}, "notebooks": {}}))
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    with pytest.raises(CourseError, match=r"would lie among the notebooks.*Choose a folder of its own"):
        go(out=place / out, fresh=fresh)
    assert before == {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}


def test_notebooks_that_are_links_into_the_output_folder_are_refused(course, go, tmp_path):
    kept = tmp_path / "run" / "notebooks" / "01_first.ipynb"
    kept.parent.mkdir(parents=True)
    (course / "01_first.ipynb").rename(kept)
    (course / "01_first.ipynb").symlink_to(kept)
    with pytest.raises(CourseError, match="would lie among the notebooks"):
        go(fresh=True)
    assert kept.is_file()


def test_somebodys_notebook_is_not_overwritten_by_an_executed_copy(go, tmp_path):
    touch(tmp_path / "run", "notebooks/02_second.ipynb")
    for fresh in (False, True):
        with pytest.raises(CourseError, match=r"02_second\.ipynb is not of a run.*another --out"):
            go(fresh=fresh)
    assert tree(tmp_path / "run") == {"notebooks/02_second.ipynb": b"x"}


def test_copy_of_an_earlier_run_stays_until_its_successor_is_whole(tmp_path):
    out, folder = tmp_path / "run", write_course(tmp_path / "notebooks", {"01_first": ["a = 1"]})
    arguments = {"profile": "smoke", "out": out, "notebooks_dir": folder, "say": lambda line: None}
    run_course(**arguments)
    copy = out / "notebooks" / "01_first.ipynb"
    content = copy.read_bytes()
    look = f"import pathlib\nassert not pathlib.Path({str(copy)!r}).exists(), 'kept'"
    write_course(folder, {"01_first": [look]})
    with pytest.raises(NotebookError, match="kept"):
        run_course(**arguments)
    assert copy.read_bytes() == content
    assert sorted(file.name for file in copy.parent.iterdir()) == ["01_first.failed.ipynb", "01_first.ipynb"]


def test_fresh_removes_what_the_run_made_and_nothing_else(go, tmp_path):
    out = tmp_path / "run"
    touch(out, *FOREIGN)
    foreign = tree(out)
    go()
    touch(out, "figures/later.png")
    foreign["figures/later.png"] = b"x"
    assert len(tree(out)) == len(foreign) + 2 * (len(MADE) + 1)
    go.stop["01_first"] = NotebookError("01_first", 1, "Stop", "")
    with pytest.raises(NotebookError):
        go(fresh=True, only=["02", "01"])
    made = {file.format("first") for file in MADE}
    assert set(tree(out)) == {*foreign, *made}
    assert foreign.items() <= tree(out).items()


def test_fresh_of_one_lesson_leaves_the_others(go, tmp_path):
    out = tmp_path / "run"
    go()
    touch(out, *FOREIGN)
    go.stop["02_second"] = NotebookError("02_second", 1, "Stop", "")
    before = tree(out)
    with pytest.raises(NotebookError):
        go(fresh=True, only=["2"])
    assert set(before) - set(tree(out)) == {"notebooks/02_second.ipynb"}
    assert set(tree(out)) == {*before} - {"notebooks/02_second.ipynb"}


@pytest.mark.parametrize("stop", [NotebookError("01_first", 1, "Stop", ""), KeyboardInterrupt(), SystemExit("killed")])
def test_files_of_a_stopped_lesson_are_known_to_be_the_runs(go, tmp_path, stop):
    out = tmp_path / "run"
    touch(out, *FOREIGN)
    go.stop["01_first"] = stop
    with pytest.raises(type(stop)):
        go()
    del go.stop["01_first"]
    go()
    entry = json.loads((out / "run.json").read_text())["notebooks"]["01_first"]
    assert (entry["status"], entry["records"]) == ("done", ["first.json"])
    assert entry["checkpoints"] == ["first.0123.part.ckpt", "first.ckpt"] and "found" not in entry
    go.stop["01_first"] = KeyboardInterrupt()
    (out / "records" / "first.json").write_text("of the earlier run")
    with pytest.raises(KeyboardInterrupt):
        go(fresh=True)
    assert set(tree(out)) == {*FOREIGN, *(file.format("first") for file in MADE)}
    assert (out / "records" / "first.json").read_text() == "x"


def old_record(out: Path) -> None:
    """Turn a run's record into one of schema 1."""
    record = json.loads((out / "run.json").read_text())
    record["schema"] = 1
    for name, entry in record["notebooks"].items():
        record["notebooks"][name] = {key: entry[key] for key in ("status", "started", "seconds", "records")}
        record["notebooks"][name]["stamp"] = "0123456789abcdef"
    (out / "run.json").write_text(json.dumps(record))


def test_run_of_an_older_version_is_recognised_and_its_lessons_run_again(go, tmp_path):
    go()
    old_record(tmp_path / "run")
    with pytest.raises(CourseError, match="holds no finished 01_first of this version"):
        go(only=["02"])
    lines = go(only=["01"])
    assert "[1/1] 01_first: started again, for an older version of the course ran it" in lines
    lines = go()
    assert "[1/2] 01_first: finished earlier (1 s)" in lines
    assert "[2/2] 02_second: started again, for an older version of the course ran it" in lines
    assert all("finished earlier" in line for line in go()[:2])


def test_fresh_after_an_older_version_removes_its_copies_records_and_checkpoints(go, tmp_path):
    out = tmp_path / "run"
    go()
    old_record(out)
    touch(out, *FOREIGN)
    go.stop["01_first"] = SystemExit()
    with pytest.raises(SystemExit):
        go(fresh=True)
    left = {file.format("second") for file in MADE} - {"records/second.json", "checkpoints/second.ckpt"}
    assert set(tree(out)) == {*FOREIGN, *left, *(file.format("first") for file in MADE)}


@pytest.mark.parametrize(
    "content",
    ["[]", "{", '{"schema": 99, "parameters": {}, "notebooks": {}}', '{"schema": 1, "parameters": []}', "\udcff"],
)
def test_record_of_something_else_is_refused_and_kept_beside_when_a_run_starts_afresh(go, tmp_path, content):
    out = tmp_path / "run"
    out.mkdir()
    raw = os.fsencode(content)
    (out / "run.json").write_bytes(raw)
    with pytest.raises(CourseError, match=r"run\.json is not readable"):
        go()
    with pytest.raises(CourseError, match=r"run\.json is not readable"):
        go(fresh=True, only=["01"])
    assert (out / "run.json").read_bytes() == raw
    go(fresh=True)
    assert (out / "run.unreadable.json").read_bytes() == raw


def test_folder_is_free_again_when_a_run_ends_however_it_ends(go):
    go.stop["02_second"] = SystemExit()
    with pytest.raises(SystemExit):
        go()
    with pytest.raises(CourseError, match="seed 0"):
        go(seed=1)
    go.stop.clear()
    go()
    go()
