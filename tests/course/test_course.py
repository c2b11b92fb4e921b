"""The course runs in order, stops where it must, and goes on from there."""

from __future__ import annotations

import errno
import io
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import filelock
import nbformat
import pytest
from tiny_course import PARAMETERS, write_course

from brainssl_utils import settings, validity
from brainssl_utils.course.job import Job
from brainssl_utils.course.notebook import NotebookError, Progress, first_problem, read_notebook
from brainssl_utils.course.plan import check_data, pick, read_course
from brainssl_utils.course.run import run_course
from brainssl_utils.errors import CourseError

SAVE = (
    "import json, pathlib\n"
    "folder = pathlib.Path(run_dir) / 'records'\n"
    "folder.mkdir(parents=True, exist_ok=True)\n"
    "(folder / '{name}.json').write_text(json.dumps([data, profile, seed]))"
)


def record_of(out: Path) -> dict:
    return json.loads((out / "run.json").read_text())


@pytest.fixture
def silent():
    lines: list[str] = []
    return lines


def test_course_runs_in_order_passes_parameters_and_skips_what_is_done(tmp_path, silent, capfd, monkeypatch):
    foreign = tmp_path / "jupyter" / "kernels" / "python3"
    foreign.mkdir(parents=True)
    (foreign / "kernel.json").write_text('{"argv": ["/bin/false"], "display_name": "x", "language": "python"}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    cells = {
        "01_first": [SAVE.format(name="first")],
        "02_second": [
            "import pathlib, sys, os\nassert (pathlib.Path(run_dir) / 'records' / 'first.json').exists()",
            "print(sys.executable, os.getcwd(), seed)",
        ],
    }
    folder = write_course(tmp_path / "notebooks", cells, {"02_second": ["01_first"]})
    out = tmp_path / "run {with braces}"
    arguments = {"profile": "smoke", "seed": 7, "out": out, "notebooks_dir": folder, "say": silent.append}
    record = run_course("phantoms:240", **arguments)
    assert record == record_of(out)
    assert capfd.readouterr() == ("", "")
    assert record["status"] == "done"
    assert record["parameters"] == {"data": "phantoms:240", "profile": "smoke", "seed": 7}
    assert json.loads((out / "records" / "first.json").read_text()) == ["phantoms:240", "smoke", 7]
    assert record["notebooks"]["01_first"]["records"] == ["first.json"]
    assert all(0 < entry["kernel_seconds"] < entry["seconds"] for entry in record["notebooks"].values())
    executed = nbformat.read(out / "notebooks" / "02_second.ipynb", as_version=4)
    interpreter, where, seed = executed.cells[-1].outputs[0].text.split()
    assert (interpreter, Path(where), seed) == (sys.executable, folder.resolve(), "7")
    assert [line.split(":")[0] for line in silent[:2]] == ["[1/2] 01_first"] * 2
    assert sorted(file.name for file in (out / "notebooks").iterdir()) == ["01_first.ipynb", "02_second.ipynb"]

    silent.clear()
    times = {file: file.stat().st_mtime_ns for file in (out / "notebooks").iterdir()}
    run_course("phantoms:240", **arguments)
    assert times == {file: file.stat().st_mtime_ns for file in (out / "notebooks").iterdir()}
    assert all("finished earlier" in line for line in silent[:2])

    write_course(folder, {**cells, "02_second": ["1 + 1"]}, {"02_second": ["01_first"]})
    run_course("phantoms:240", **arguments)
    assert times[out / "notebooks" / "01_first.ipynb"] == (out / "notebooks" / "01_first.ipynb").stat().st_mtime_ns
    assert nbformat.read(out / "notebooks" / "02_second.ipynb", as_version=4).cells[-1].source == "1 + 1"

    with pytest.raises(CourseError, match=r"seed 7 \(now 8\).*--fresh"):
        run_course("phantoms:240", **{**arguments, "seed": 8})


def test_a_kernels_own_logs_are_silent_and_leave_no_trace_in_the_notebook(tmp_path, silent, capfd):
    """A kernel that is ended while it answers logs a traceback of its own, by tornado."""
    source = "import logging\nlogging.getLogger('tornado.general').error('ended while it answered')"
    course = write_course(
        tmp_path / "course", {"01_log": [f"{source}\nprint([name for name in dir() if name[0] != '_'])"]}
    )
    run_course("phantoms:240", "smoke", out=tmp_path / "out", notebooks_dir=course)
    cell = nbformat.read(tmp_path / "out" / "notebooks" / "01_log.ipynb", as_version=4).cells[-1]
    [output] = cell.outputs
    assert "ended while it answered" not in "".join(capfd.readouterr())
    assert "ended while it answered" not in output.text and "logging" in output.text and "quiet" not in output.text


def test_failing_notebook_is_named_with_cell_and_error_and_the_run_goes_on_from_there(tmp_path, silent):
    flag = tmp_path / "mended"
    fail = f"import pathlib\nassert pathlib.Path({str(flag)!r}).exists(), 'mend me'"
    cells = {"01_first": ["a = 1"], "02_second": ["b = 2", fail, "c = 3"], "03_third": ["d = 4"]}
    folder = write_course(tmp_path / "notebooks", cells)
    out = tmp_path / "run"
    with pytest.raises(NotebookError) as caught:
        run_course(profile="smoke", out=out, notebooks_dir=folder, say=silent.append)
    error = caught.value
    assert (error.notebook, error.cell, error.error, error.reason) == ("02_second", 4, "AssertionError", "mend me")
    assert "Traceback" not in str(error)
    record = record_of(out)
    assert record["status"] == "failed"
    assert {name: entry["status"] for name, entry in record["notebooks"].items()} == {
        "01_first": "done",
        "02_second": "failed",
    }
    assert not (out / "notebooks" / "02_second.ipynb").exists()
    assert (out / "notebooks" / "02_second.failed.ipynb").exists()

    flag.touch()
    first = (out / "notebooks" / "01_first.ipynb").stat().st_mtime_ns
    assert run_course(profile="smoke", out=out, notebooks_dir=folder, say=silent.append)["status"] == "done"
    assert first == (out / "notebooks" / "01_first.ipynb").stat().st_mtime_ns
    assert sorted(file.stem for file in (out / "notebooks").iterdir()) == ["01_first", "02_second", "03_third"]


@pytest.mark.parametrize("source", ["import sys\nsys.exit(0)", "import os\nos.kill(os.getpid(), 9)"])
def test_notebook_that_ends_early_is_not_done(tmp_path, source, silent):
    folder = write_course(tmp_path / "notebooks", {"01_first": [source, "a = 1"]})
    with pytest.raises(NotebookError, match="01_first stopped at cell 3"):
        run_course(profile="smoke", out=tmp_path / "run", notebooks_dir=folder, say=silent.append)
    assert record_of(tmp_path / "run")["status"] == "failed"


def test_cell_without_execution_count_is_a_problem():
    cell = nbformat.v4.new_code_cell("a = 1", execution_count=1)
    notebook = nbformat.v4.new_notebook(cells=[cell, nbformat.v4.new_code_cell("  \n"), nbformat.v4.new_code_cell("b")])
    problem = first_problem(notebook, "01")
    assert problem is not None and problem.cell == 3
    notebook.cells[-1].execution_count = 2
    assert first_problem(notebook, "01") is None


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the kernel's end is watched in Linux's /proc")
@pytest.mark.parametrize("how", ["SIGKILL", "SIGINT"])
def test_stopped_run_is_resumed_without_running_finished_notebooks_again(tmp_path, how):
    count = "import pathlib\nwith open(pathlib.Path(run_dir) / '{name}.count', 'a') as file:\n    file.write('x')"
    wait = (
        "import os, time\n(pathlib.Path(run_dir) / 'pid').write_text(str(os.getpid()))\n"
        "while not (pathlib.Path(run_dir) / 'go').exists():\n    time.sleep(0.05)"
    )
    names = ("01_first", "02_second", "03_third")
    cells = {name: [count.format(name=name)] for name in names}
    cells["02_second"].append(wait)
    folder, out = write_course(tmp_path / "notebooks", cells), tmp_path / "run"
    program = (  # tests started in the background inherit a deaf ear for SIGINT
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from brainssl_utils.course.run import run_course\n"
        f"run_course(profile='smoke', out={str(out)!r}, notebooks_dir={str(folder)!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not (out / "pid").exists() or not (out / "pid").read_text():
            assert process.poll() is None and time.monotonic() < deadline, "the second notebook never started"
            time.sleep(0.05)
        process.send_signal(getattr(signal, how))
        assert process.wait(timeout=30) != 0
    finally:
        process.kill()
    kernel = int((out / "pid").read_text())
    while Path(f"/proc/{kernel}").exists() and "State:\tZ" not in Path(f"/proc/{kernel}/status").read_text():
        assert time.monotonic() < deadline, "the kernel outlived its run"
        time.sleep(0.05)
    assert record_of(out)["notebooks"]["01_first"]["status"] == "done"
    assert not (out / "notebooks" / "02_second.ipynb").exists()

    (out / "go").touch()
    run_course(profile="smoke", out=out, notebooks_dir=folder, say=lambda line: None)
    assert [(out / f"{name}.count").read_text() for name in names] == ["x", "xx", "x"]
    assert sorted(file.stem for file in (out / "notebooks").iterdir()) == list(names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"profile": "fast"}, "unknown profile 'fast'"),
        ({"seed": -1}, "seed -1"),
        ({"data": "nowhere"}, "nowhere does not exist"),
        ({"data": "phantoms:many"}, "number of files"),
        ({"data": "phantoms:30"}, "60 or more"),
        ({"data": "phantoms:²"}, "number of files"),
        ({"only": ["99"]}, "'99' is not a notebook"),
        ({"only": ["0"]}, "fits 01_first and 02_second"),
        ({"only": []}, "no notebook picked"),
        ({"only": ["02"]}, "Run 01_first into it first"),
    ],
)
def test_bad_arguments_are_refused_before_anything_runs(tmp_path, arguments, message):
    folder = write_course(tmp_path / "n", {"01_first": ["a = 1"], "02_second": ["b"]}, {"02_second": ["01_first"]})
    with pytest.raises(CourseError, match=message):
        run_course(**{"out": tmp_path / "run", "notebooks_dir": folder, **arguments})
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize(
    ("wanted", "picked"),
    [
        ("4", "04_fourth"),
        ("04", "04_fourth"),
        ("1", "01_first"),
        ("10", "10_tenth"),
        ("A", "A1_more"),
        ("10_t", "10_tenth"),
    ],
)
def test_lessons_are_picked_by_number_name_or_how_it_starts(tmp_path, wanted, picked):
    names = ["01_first", "04_fourth", "10_tenth", "11_eleventh", "A1_more"]
    lessons = read_course(write_course(tmp_path, {name: ["a = 1"] for name in names}))
    assert [lesson.name for lesson in pick(lessons, [wanted])] == [picked]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (PARAMETERS.replace("seed", "sed"), "unknown parameter sed and no parameter seed"),
        (PARAMETERS + "\nepochs = 3", "unknown parameter epochs"),
        ("pass  # run_dir =", "no parameters found"),
    ],
)
def test_misspelt_parameter_is_refused_before_the_first_notebook(tmp_path, cell, message):
    folder = write_course(tmp_path / "notebooks", {"01_first": ["a = 1"], "02_second": [cell]})
    with pytest.raises(CourseError, match=message):
        run_course(out=tmp_path / "run", notebooks_dir=folder)
    assert not (tmp_path / "run" / "notebooks").exists()


def class_files(folder: Path, **numbers: int) -> None:
    """Class folders of files that a listing takes for images; nothing may try to decode them."""
    for name, number in numbers.items():
        (folder / name).mkdir(parents=True)
        for place in range(number):
            (folder / name / f"{place}.png").write_bytes(b"1")


def test_unusable_folders_are_refused(tmp_path):
    folder = write_course(tmp_path / "notebooks", {"01_first": ["a = 1"]})
    with pytest.raises(CourseError, match=r"no course\.toml"):
        run_course(out=tmp_path / "run", notebooks_dir=tmp_path)
    data = tmp_path / "data"
    data.mkdir()
    (data / "read.txt").touch()
    with pytest.raises(CourseError, match="no class folders with images"):
        run_course(str(data), out=tmp_path / "run", notebooks_dir=folder)
    class_files(data, glioma=10, meningioma=10)
    with pytest.raises(CourseError, match="lies in the data folder"):
        run_course(str(data), out=data / "run", notebooks_dir=folder)
    with pytest.raises(CourseError, match="is a single file"):
        run_course(str(data / "glioma" / "0.png"), out=tmp_path / "run", notebooks_dir=folder)
    with pytest.raises(CourseError, match="is a file"):
        run_course(str(data), out=folder / "course.toml", notebooks_dir=folder)


def test_fresh_starts_again_and_other_files_stay(tmp_path, silent):
    cells = {"01_first": [SAVE.format(name="first")], "02_second": [SAVE.format(name="second")]}
    folder, out = write_course(tmp_path / "notebooks", cells), tmp_path / "run"
    arguments = {"profile": "smoke", "out": out, "notebooks_dir": folder, "say": silent.append}
    run_course(seed=0, **arguments)
    (out / "my notes.txt").touch()
    (out / "checkpoints").mkdir()
    for name in ("first.ckpt", "first.key", "second.ckpt"):
        (out / "checkpoints" / name).touch()
    record = out / "records" / "second.json"
    times = [(file, file.stat().st_mtime_ns) for file in (record, out / "notebooks" / "02_second.ipynb")]
    run_course(seed=0, only=["01"], fresh=True, **arguments)
    assert [file.name for file in (out / "checkpoints").iterdir()] == ["second.ckpt"]
    assert times == [(file, file.stat().st_mtime_ns) for file, _ in times]
    with pytest.raises(CourseError, match="seed 0"):
        run_course(seed=1, only=["01"], fresh=True, **arguments)
    assert run_course(seed=1, fresh=True, **arguments)["status"] == "done"
    assert json.loads(record.read_text()) == ["phantoms", "smoke", 1]
    assert (out / "my notes.txt").exists()


def test_second_run_into_one_folder_is_refused(tmp_path):
    folder = write_course(tmp_path / "notebooks", {"01_first": ["a = 1"]})
    (tmp_path / "run").mkdir()
    with (
        filelock.FileLock(tmp_path / "run" / ".lock"),
        pytest.raises(CourseError, match="another run is at work"),
    ):
        run_course(out=tmp_path / "run", notebooks_dir=folder)


@pytest.mark.parametrize("write", [1, 2, 3])
def test_full_disk_under_the_executed_copy_is_one_line_and_the_run_goes_on(tmp_path, silent, monkeypatch, write):
    from papermill.iorw import LocalHandler

    cells = {"01_first": ["a = 1"], "02_second": [SAVE.format(name="second"), "print('x' * 1000)", "c = 3"]}
    folder, out, writes = write_course(tmp_path / "notebooks", cells), tmp_path / "run", []

    def full(self, text, path):
        if "02_second" in path:
            writes.append(path)
        Path(path).write_text(text[:1000] if len(writes) >= write else text)
        if len(writes) >= write:
            raise OSError(errno.ENOSPC, "No space left on device")

    arguments = {"profile": "smoke", "out": out, "notebooks_dir": folder, "say": silent.append}
    with monkeypatch.context() as patch, pytest.raises(CourseError) as told:
        patch.setattr(LocalHandler, "write", full)
        run_course(**arguments)
    assert str(told.value) == (
        f"cannot write {out / 'notebooks' / '02_second.ipynb'}: no space left on device. "
        "Make room on that disk, then give the same command again."
    )
    assert record_of(out)["notebooks"]["02_second"]["status"] == "failed"
    first = (out / "notebooks" / "01_first.ipynb").stat().st_mtime_ns
    assert run_course(**arguments)["status"] == "done"
    assert first == (out / "notebooks" / "01_first.ipynb").stat().st_mtime_ns
    assert sorted(file.name for file in (out / "notebooks").iterdir()) == ["01_first.ipynb", "02_second.ipynb"]


def test_what_a_killed_run_left_half_written_is_cleared(tmp_path, silent):
    folder, out = write_course(tmp_path / "notebooks", {"01_first": ["a = 1"]}), tmp_path / "run"
    program = (
        "import os\nfrom pathlib import Path\nfrom brainssl_utils.files import atomic_path\n"
        f"with atomic_path(Path({str(out)!r}, 'figures', 'a.png')) as path:\n    path.touch()\n    os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 9
    assert len(list((out / "figures").iterdir())) == 1
    run_course(profile="smoke", out=out, notebooks_dir=folder, say=silent.append)
    assert list((out / "figures").iterdir()) == []


def test_unreadable_record_of_a_run_is_reported_and_fresh_gets_past_it(tmp_path, silent):
    folder, out = write_course(tmp_path / "notebooks", {"01_first": ["a = 1"]}), tmp_path / "run"
    out.mkdir()
    (out / "run.json").write_text('{"schema": 1, "notebo')
    with pytest.raises(CourseError, match=r"run\.json is not readable"):
        run_course(out=out, notebooks_dir=folder)
    assert run_course(out=out, notebooks_dir=folder, fresh=True, say=silent.append)["status"] == "done"


def test_key_changes_with_everything_a_result_depends_on_and_with_nothing_else(tmp_path, monkeypatch):
    cells = {"01_first": ["a = 1"], "02_second": ["a = 2"], "03_third": ["# a comment\na  =  1"]}
    folder = write_course(tmp_path / "notebooks", cells, {"02_second": ["01_first"]})
    first, second, same = (Job(lesson, read_notebook(lesson.path)) for lesson in read_course(folder))
    parameters = {"data": "d", "profile": "smoke", "seed": 0}
    keys = [
        first.key(parameters, "d", {}),
        first.key({**parameters, "seed": 1}, "d", {}),
        first.key({**parameters, "profile": "quick"}, "d", {}),
        first.key(parameters, "e", {}),
        second.key(parameters, "d", {"01_first": {"key": "x"}}),
        second.key(parameters, "d", {"01_first": {"key": "y"}}),
    ]
    assert len(set(keys)) == len(keys)
    assert same.key(parameters, "d", {}) == keys[0]
    same.notebook.cells[0].source = "other words"
    assert same.key(parameters, "d", {}) == keys[0]
    monkeypatch.setitem(settings.PROFILES, "smoke", replace(settings.PROFILES["smoke"], epochs=3))
    longer = first.key(parameters, "d", {})
    monkeypatch.setitem(validity.VERSIONS, "training", 99)
    assert len({*keys, longer, first.key(parameters, "d", {})}) == len(keys) + 2


@pytest.mark.parametrize(
    ("classes", "message"), [({"glioma": 40}, "all 40 images are of one class"), ({"yes": 9, "no": 9}, "18 images are")]
)
def test_data_that_cannot_be_divided_is_refused_before_a_notebook_starts(tmp_path, classes, message):
    class_files(tmp_path / "data", **classes)
    with pytest.raises(CourseError, match=message):
        run_course(str(tmp_path / "data"), "smoke", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_data_digest_changes_with_the_files(tmp_path):
    class_files(tmp_path / "data", glioma=10, meningioma=10)
    path, before = check_data(str(tmp_path / "data"))
    assert (path, before) == check_data(str(tmp_path / "data"))
    (tmp_path / "data" / "glioma" / "b.png").write_bytes(b"1")
    assert before != check_data(path)[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[notebook]", "malformed"),
        ('[[notebook]]\nfile = "01.ipynb"', "malformed"),
        ('[[notebook]]\nfile = "01.ipynb"\ntitle = ""\nneeds = ["02"]', "01 needs 02, not listed before it"),
        ('[[notebook]]\nfile = "01.ipynb"\ntitle = ""\nneeds = []', "01.ipynb is missing"),
    ],
)
def test_bad_course_file_is_reported(tmp_path, text, message):
    (tmp_path / "course.toml").write_text(text)
    with pytest.raises(CourseError, match=message):
        run_course(out=tmp_path / "run", notebooks_dir=tmp_path)


def test_progress_shows_cell_and_last_line_on_a_terminal_and_nothing_in_a_log():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, expected in ((Terminal(), "04_simclr cell 3/9 epoch 2/10"), (io.StringIO(), "")):
        progress = Progress("04_simclr", 9, stream)
        progress.cell(cell_index=2)
        progress.write("epoch 1/10\repoch 2/10\n")
        progress.flush()
        assert expected in stream.getvalue()
        assert bool(expected) == bool(stream.getvalue())
