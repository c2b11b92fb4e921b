"""Files are written whole or not at all; what the disk refuses is told by the final path; only dead writers are cleared."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from brainssl_utils import files
from brainssl_utils.errors import CourseError, exit_code
from brainssl_utils.files import atomic_path, check_writable, clear_leftovers, hold, temporary_path, write_json


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("call", ["replace", "open"])
def test_a_write_that_the_disk_refuses_is_told_by_its_final_path(tmp_path, monkeypatch, code, call):
    target = write_json(tmp_path / "folder" / "run.json", [1])

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(code, os.strerror(code), str(arguments[0]))

    monkeypatch.setattr("os.replace" if call == "replace" else "io.open", refuse)
    with pytest.raises(CourseError) as told:
        write_json(target, [2])
    monkeypatch.undo()
    message = str(told.value)
    assert message.startswith(f"cannot write {target}: {os.strerror(code).lower()}. ")
    assert ".tmp" not in message and "\n" not in message
    assert target.read_text() == "[\n 1\n]\n" and os.listdir(target.parent) == ["run.json"]
    write_json(target, [2])


def test_a_full_disk_is_seen_behind_a_librarys_own_error(tmp_path):
    def library() -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise RuntimeError("unexpected pos 801344 vs 801296") from error

    with (
        pytest.raises(CourseError, match=r"cannot write .*model\.ckpt: no space left"),
        atomic_path(tmp_path / "model.ckpt"),
    ):
        library()
    with pytest.raises(RuntimeError, match="another"), atomic_path(tmp_path / "model.ckpt"):
        raise RuntimeError("another matter")


def test_a_folder_in_a_files_place_is_named(tmp_path):
    (tmp_path / "run.json").mkdir()
    with pytest.raises(CourseError, match=r"run\.json: is a directory\. A folder of that name lies there"):
        write_json(tmp_path / "run.json", [])
    assert os.listdir(tmp_path) == ["run.json"]


def test_a_full_disk_refuses_a_folder_in_one_line(tmp_path, monkeypatch):
    def full(self: Path, *arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, "touch", full)
    with pytest.raises(CourseError, match=r"No space left on device\. Make room"):
        check_writable(tmp_path)


def test_output_to_a_full_disk_is_no_traceback(capsys):
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    assert exit_code(full) == 2
    assert capsys.readouterr().err.startswith("error: a disk is full")


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def of(process: int, path: Path, place: str = "") -> Path:
    """A temporary name for `path` as another process would make it."""
    mine = f"-{files._place()}-{os.getpid()}-"
    return path.with_name(temporary_path(path).name.replace(mine, f"-{place or files._place()}-{process}-"))


@pytest.mark.skipif(os.name != "posix", reason="Windows has no harmless way to ask whether a process runs")
def test_leftovers_of_dead_processes_go_and_nothing_else(tmp_path):
    dead = ended_process()
    gone_file, gone_folder = of(dead, tmp_path / "a.npz"), of(dead, tmp_path / "phantoms")
    gone_folder.mkdir()
    (gone_folder / "image.jpg").touch()
    elsewhere_old, elsewhere_new = (of(dead, tmp_path / name, "0123ab") for name in ("old.npz", "new.npz"))
    running, parents = temporary_path(tmp_path / "b.npz"), of(os.getppid(), tmp_path / "c.npz")
    foreign = [tmp_path / name for name in (".note.tmp", ".a.npz.0123abcd.tmp", "a.npz", ".a.npz.part", "x.tmp")]
    for path in (gone_file, elsewhere_old, elsewhere_new, running, parents, *foreign):
        path.touch()
    for path in (elsewhere_old, running, *foreign):
        os.utime(path, (0, 0))
    assert set(clear_leftovers(tmp_path, tmp_path / "missing")) == {gone_file, gone_folder, elsewhere_old}
    assert set(tmp_path.iterdir()) == {elsewhere_new, running, parents, *foreign}


HOLD = """
import sys, time
from pathlib import Path
from brainssl_utils.files import hold
with hold(Path(sys.argv[1]), lambda: print("busy", flush=True)):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_lock_makes_the_second_wait_and_a_killed_holder_lets_go(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path / "folder" / ".lock")]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    second = None
    try:
        assert first.stdout and first.stdout.readline() == "held\n"

        def refuse() -> None:
            raise CourseError("at work")

        with pytest.raises(CourseError, match="at work"), hold(tmp_path / "folder" / ".lock", refuse):
            raise AssertionError("held by two")
        second = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert second.stdout and second.stdout.readline() == "busy\n"
        first.kill()
        started = time.monotonic()
        assert second.stdout.readline() == "held\n" and time.monotonic() - started < 30
    finally:
        for process in (first, second):
            if process is not None:
                process.kill()
                process.communicate()
