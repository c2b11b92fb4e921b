"""Lessons beside each other: in their order, each with its share of the machine, stopped together, with the same results."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import nbformat
import psutil
import pytest
from tiny_course import write_course

from brainssl_utils.compute.machine import THREADS, available_cores, share_of_cores
from brainssl_utils.course import at_once
from brainssl_utils.course.at_once import as_many_as_fit, turn
from brainssl_utils.course.job import Job
from brainssl_utils.course.notebook import NotebookError
from brainssl_utils.course.plan import Lesson, find_notebooks, read_course
from brainssl_utils.course.run import run_course
from brainssl_utils.errors import CourseError

# Cells of the tiny lessons. `meet` says "I am here" and waits for another, so that the two must be running together.
PLACE = "import os, pathlib, time\nplace = pathlib.Path(run_dir)\n"
MEET = (
    PLACE + "(place / 'here {me}').touch()\nend = time.monotonic() + 60\n"
    "while not (place / 'here {other}').exists():\n"
    "    assert time.monotonic() < end, 'nobody came'\n    time.sleep(0.02)"
)
WAIT = (
    PLACE
    + "(place / '{me}.pid').write_text(str(os.getpid()))\nwhile not (place / 'go').exists():\n    time.sleep(0.05)"
)
WRITE = (
    "from brainssl_utils.files import write_json\n"
    "write_json(place / 'records' / '{me}.json', [data, profile, seed])\nprint(sorted([data, profile]), seed)"
)


def record_of(out: Path) -> dict:
    return json.loads((out / "run.json").read_text())


def states(out: Path) -> dict[str, str]:
    return {name: entry["status"] for name, entry in record_of(out)["notebooks"].items()}


def outputs(out: Path, name: str) -> list:
    cells = nbformat.read(out / "notebooks" / f"{name}.ipynb", as_version=4).cells
    return [(cell.source.replace(str(out), "OUT"), cell.get("outputs"), cell.get("execution_count")) for cell in cells]


@pytest.fixture
def go(tmp_path):
    """Run tiny lessons two at a time into `tmp_path / "run"`; returns the lines said."""

    def call(cells: dict[str, list[str]], needs: dict[str, list[str]] | None = None, **options) -> list[str]:
        lines: list[str] = []
        folder = write_course(tmp_path / "course", cells, needs)
        given = {
            "profile": "smoke",
            "out": tmp_path / "run",
            "notebooks_dir": folder,
            "at_once": 2,
            "say": lines.append,
        }
        run_course(**{**given, **options})
        return lines

    return call


def meeting(one: str, other: str) -> dict[str, list[str]]:
    """Two lessons that write while both are running."""
    pairs = ((one, other), (other, one))
    return {me: [MEET.format(me=me, other=him), WRITE.format(me=me), MEET.format(me=f"{me}2", other=f"{him}2")]
            for me, him in pairs}  # fmt: skip


def test_two_lessons_run_together_and_a_third_waits_for_the_one_it_needs(go, tmp_path, capfd):
    here = Path.cwd()
    look = "assert (place / 'notebooks' / '01_first.ipynb').exists(), 'too early'"
    cells = {**meeting("01_first", "02_second"), "03_third": [PLACE + look]}
    lines = go(cells, {"03_third": ["01_first"]})
    assert capfd.readouterr() == ("", "")
    assert record_of(tmp_path / "run")["status"] == "done"
    assert states(tmp_path / "run") == dict.fromkeys(cells, "done")
    assert [line.split(" (")[0] for line in lines[:2]] == ["[1/3] 01_first: started", "[2/3] 02_second: started"]
    assert lines.index("[3/3] 03_third: started") > next(i for i, line in enumerate(lines) if "01_first: done" in line)
    assert Path.cwd() == here

    lines = go(cells, {"03_third": ["01_first"]})
    assert len(lines) == 4 and all("finished earlier" in line for line in lines[:3])


def test_results_are_those_of_lessons_one_by_one(go, tmp_path):
    cells = {f"0{i}_lesson": [PLACE, WRITE.format(me=f"0{i}_lesson"), "os.getcwd(), seed"] for i in (1, 2, 3)}
    needs = {"03_lesson": ["01_lesson"]}
    go(cells, needs, out=tmp_path / "two")
    go(cells, needs, out=tmp_path / "one", at_once=1)
    one, two = (record_of(tmp_path / name)["notebooks"] for name in ("one", "two"))
    changing = {"started", "seconds", "kernel_seconds"}
    for name in cells:
        assert outputs(tmp_path / "one", name) == outputs(tmp_path / "two", name)
        assert {k: v for k, v in one[name].items() if k not in changing} == {
            k: v for k, v in two[name].items() if k not in changing
        }
    for place in ("one", "two"):
        assert sorted(file.name for file in (tmp_path / place / "records").iterdir()) == [
            f"{name}.json" for name in cells
        ]
    lines = go(cells, needs, out=tmp_path / "two", at_once=1)
    assert all("finished earlier" in line for line in lines[:3])


def test_each_lesson_is_known_by_the_files_it_wrote_while_another_ran(go, tmp_path):
    cells, out = meeting("01_first", "02_second"), tmp_path / "run"
    go(cells)
    made = {name: entry["records"] for name, entry in record_of(out)["notebooks"].items()}
    assert made == {"01_first": ["01_first.json"], "02_second": ["02_second.json"]}
    assert not list((out / ".journals").iterdir())
    with pytest.raises(NotebookError, match="01_first"):
        go({**cells, "01_first": ["assert False"]}, only=["01"], fresh=True)
    assert [file.name for file in (out / "records").iterdir()] == ["02_second.json"]


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_terminal_shows_the_progress_of_one_lesson_alone(go, capsys, monkeypatch, at_once):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    go({"01_first": ["print('word')"]}, at_once=at_once)
    assert ("[1/1] 01_first cell 3/4" in capsys.readouterr().out) == (at_once == 1)


THREADS_CELL = f"import json, os\nprint(json.dumps([os.environ.get(name) for name in {THREADS}]))"


def threads_of(out: Path) -> list:
    return json.loads(nbformat.read(out / "notebooks" / "01_first.ipynb", as_version=4).cells[-1].outputs[0].text)


@pytest.mark.parametrize("set_by_user", ["", "OMP_NUM_THREADS"])
@pytest.mark.parametrize("at_once", [1, 2])
def test_kernels_share_the_cores_unless_the_user_says_how_many_threads(go, tmp_path, monkeypatch, at_once, set_by_user):
    for name in THREADS:
        monkeypatch.delenv(name, raising=False)
    if set_by_user:
        monkeypatch.setenv(set_by_user, "3")
    before = dict(os.environ)
    go({"01_first": [THREADS_CELL]}, at_once=at_once)
    share = str(max(1, available_cores() // 2)) if at_once == 2 and not set_by_user else None
    assert threads_of(tmp_path / "run") == ([share] * 3 if not set_by_user else ["3", None, None])
    assert dict(os.environ) == before


def test_a_share_of_the_cores_is_one_at_least(monkeypatch):
    monkeypatch.setattr("brainssl_utils.compute.machine.available_cores", lambda: 6)
    assert [set(share_of_cores(processes).values()) for processes in (1, 2, 4, 9)] == [{"6"}, {"3"}, {"1"}, {"1"}]


@pytest.mark.parametrize(("cores", "gib", "number"), [(1, 16, 1), (2, 4, 1), (2, 8, 2), (64, 500, 2)])
def test_two_lessons_at_once_are_usual_where_cores_and_memory_allow(monkeypatch, cores, gib, number):
    monkeypatch.setattr(at_once, "available_cores", lambda: cores)
    memory = psutil.virtual_memory()._replace(available=gib * 2**30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    assert as_many_as_fit() == number


@pytest.mark.parametrize("number", [0, -1, 1.5, True])
def test_no_other_number_of_lessons_at_once_is_taken(go, tmp_path, number):
    with pytest.raises(CourseError, match=f"at_once is {number}: it must be a whole number at least 1"):
        go({"01_first": ["a = 1"]}, at_once=number)
    assert not (tmp_path / "run").exists()


def test_an_unknown_option_is_refused(tmp_path):
    with pytest.raises(CourseError, match="no parameter at_ones"):
        run_course(out=tmp_path / "run", at_ones=2)


def test_the_lesson_on_which_the_end_hangs_comes_first_and_each_after_those_it_needs():
    lessons = read_course(find_notebooks())
    jobs = [Job(lesson, nbformat.v4.new_notebook()) for lesson in lessons]
    order: list[str] = []
    waiting = list(jobs)
    while waiting:
        job = turn(waiting, [])
        assert job is not None
        waiting.remove(job)
        order.append(job.name)
    free = [lesson for lesson in lessons if not lesson.needs]

    def chain(lesson: Lesson) -> float:
        return lesson.minutes["quick"] + max(
            (chain(other) for other in lessons if lesson.name in other.needs), default=0
        )

    assert order[0] == max(free, key=chain).name
    position = {name: place for place, name in enumerate(order)}
    assert all(position[need] < position[lesson.name] for lesson in lessons for need in lesson.needs)
    assert position["09_without_negatives"] < position["A1_copies"], "long, and not left to the end"
    *others, last = [job for job in jobs if not job.lesson.needs]
    needy = replace(last.lesson, needs=tuple(job.name for job in others))
    assert turn([Job(needy, last.notebook)], others[:1]) is None, "one that it needs still runs"


def test_a_failing_lesson_stops_the_others_and_the_run_goes_on_from_there(go, tmp_path):
    out = tmp_path / "run"
    fail = PLACE + (
        "while not (place / '02_second.pid').exists():\n    time.sleep(0.02)\nassert (place / 'go').exists(), 'mend me'"
    )
    cells = {"01_first": [fail], "02_second": [WAIT.format(me="02_second")], "03_third": ["a = 1"]}
    lines: list[str] = []
    began = time.monotonic()
    with pytest.raises(NotebookError) as caught:
        go(cells, say=lines.append)
    assert (caught.value.notebook, caught.value.error, caught.value.reason) == ("01_first", "AssertionError", "mend me")
    assert time.monotonic() - began < 60
    assert record_of(out)["status"] == "failed"
    assert states(out) == {"01_first": "failed", "02_second": "interrupted"}
    assert lines[-1] == "[2/3] 02_second: stopped; the same command goes on with it"
    assert not psutil.pid_exists(int((out / "02_second.pid").read_text()))
    assert sorted(file.name for file in (out / "notebooks").iterdir()) == [
        "01_first.failed.ipynb",
        "02_second.running.ipynb",
    ]
    (out / "go").touch()
    go(cells)
    assert states(out) == dict.fromkeys(cells, "done")
    assert sorted(file.stem for file in (out / "notebooks").iterdir()) == list(cells)


def test_a_full_disk_under_one_lesson_stops_the_other_and_is_told_in_one_line(go, tmp_path, monkeypatch):
    from papermill.iorw import LocalHandler

    out = tmp_path / "run"

    def full(self, text, path):
        if "02_second" in path and (out / "01_first.pid").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        Path(path).write_text(text)

    meet = PLACE + "while not (place / '01_first.pid').exists():\n    time.sleep(0.02)"
    cells = {"01_first": [WAIT.format(me="01_first")], "02_second": [meet, "a = 1"]}
    with monkeypatch.context() as patch, pytest.raises(CourseError) as told:
        patch.setattr(LocalHandler, "write", full)
        go(cells)
    assert str(told.value).startswith(f"cannot write {out / 'notebooks' / '02_second.ipynb'}: no space left on device.")
    assert states(out) == {"01_first": "interrupted", "02_second": "failed"} and record_of(out)["status"] == "failed"
    (out / "go").touch()
    go(cells)
    assert states(out) == dict.fromkeys(cells, "done")


def running(out: Path, names: list[str], program: subprocess.Popen) -> list[psutil.Process]:
    """The kernels of these lessons, once they are all at work."""
    deadline = time.monotonic() + 60
    files = [out / f"{name}.pid" for name in names]
    while not all(file.exists() and file.read_text() for file in files):
        assert program.poll() is None and time.monotonic() < deadline, "the lessons never ran together"
        time.sleep(0.05)
    return [psutil.Process(int(file.read_text())) for file in files]


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("how", ["SIGINT", "SIGKILL"])
def test_a_stopped_run_leaves_no_kernel_behind_and_goes_on(go, tmp_path, how):
    names, out = ["01_first", "02_second"], tmp_path / "run"
    count = PLACE + "with open(place / '{me}.count', 'a') as file:\n    file.write('x')"
    cells = {name: [count.format(me=name), WAIT.format(me=name)] for name in names}
    cells["00_before"] = [count.format(me="00_before")]
    cells["03_after"] = [count.format(me="03_after")]
    needs = {name: ["00_before"] for name in names} | {"03_after": names}
    cells = {name: cells[name] for name in sorted(cells)}
    folder = write_course(tmp_path / "course", cells, needs)
    program = (  # tests started in the background inherit a deaf ear for SIGINT
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from brainssl_utils.course.run import run_course\n"
        f"run_course(profile='smoke', out={str(out)!r}, notebooks_dir={str(folder)!r}, at_once=2)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        kernels = running(out, names, process)
        process.send_signal(getattr(signal, how))
        said, error = process.communicate(timeout=30)
        assert process.returncode != 0
        _, alive = psutil.wait_procs(kernels, timeout=30)
        assert not alive, "kernels outlived their run"
    finally:
        process.kill()
    assert states(out)["00_before"] == "done" and "03_after" not in states(out)
    if how == "SIGINT":
        assert states(out) == {"00_before": "done", **dict.fromkeys(names, "interrupted")}
        assert record_of(out)["status"] == "interrupted"
        assert error.rstrip().endswith("KeyboardInterrupt") and said.count("stopped; the same command") == 2
    (out / "go").touch()
    go(cells, needs)
    assert states(out) == dict.fromkeys(cells, "done")
    counts = {name: (out / f"{name}.count").read_text() for name in cells}
    assert counts == {"00_before": "x", "01_first": "xx", "02_second": "xx", "03_after": "x"}
    assert sorted(file.stem for file in (out / "notebooks").iterdir()) == list(cells)
