"""`brainssl doctor` tells what keeps the course from running, what to do about it, and nothing else is in the way of that."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from brainssl_utils import cli
from brainssl_utils.course import doctor
from brainssl_utils.errors import CourseError

STATES = {doctor.OK, doctor.NOTE, doctor.TROUBLE}


def test_every_check_reports_and_the_training_on_trial_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("BRAINSSL_CACHE", str(tmp_path / "cache"))
    findings = doctor.examine(tmp_path, seconds=0.1)
    assert [finding.name for finding in findings] == [
        "Python", "packages", "disk", "memory", "writing", "cache", "processor", "JupyterLab", "training",
    ]  # fmt: skip
    assert {finding.state for finding in findings} <= STATES
    assert all(finding.advice for finding in findings if finding.state != doctor.OK)
    assert "images a second" in findings[-1].found and not list(tmp_path.glob("*.tmp"))


def test_a_python_that_is_too_old_or_untested_is_told():
    assert doctor.python((3, 10)).state == doctor.TROUBLE and "3.11" in doctor.python((3, 10)).advice
    assert doctor.python((3, 12)).state == doctor.OK
    assert doctor.python((3, 20)).state == doctor.NOTE


@pytest.mark.parametrize(
    ("wanted", "state", "words"),
    [
        ("no-such-package>=1", doctor.TROUBLE, "no-such-package is missing"),
        ("numpy>=999", doctor.TROUBLE, "needs >=999"),
        ("numpy>=1", doctor.NOTE, "tested: 0.0.1"),
        ("no-such-package; extra == 'dev'", doctor.OK, "0 packages"),
    ],
)
def test_packages_are_held_to_what_is_required_and_to_the_tested_versions(tmp_path, monkeypatch, wanted, state, words):
    (tmp_path / "constraints.txt").write_text("NumPy==0.0.1\n")
    monkeypatch.setattr(doctor, "shipped", lambda name: tmp_path / name)
    monkeypatch.setattr(doctor, "requires", lambda project: [wanted])
    found = doctor.packages()
    assert found.state == state and words in found.found and bool(found.advice) == (state != doctor.OK)


def test_little_disk_or_memory_is_told(tmp_path, monkeypatch):
    import psutil

    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda place: type("Usage", (), {"free": doctor.GIB // 2}))
    assert doctor.disk(tmp_path / "not" / "there").state == doctor.TROUBLE
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 3 * doctor.GIB}))
    assert doctor.memory().state == doctor.NOTE


def test_a_kernel_of_another_environment_is_told(monkeypatch):
    from jupyter_client import kernelspec

    spec = kernelspec.KernelSpec(argv=[str(Path(sys.executable).parent / "elsewhere" / "python")])
    monkeypatch.setattr(kernelspec.KernelSpecManager, "get_kernel_spec", lambda self, name: spec)
    found = doctor.jupyter()
    assert found.state == doctor.TROUBLE and "ipykernel install" in found.advice


def test_a_check_that_breaks_is_a_trouble_and_the_command_says_so(tmp_path, monkeypatch, capsys):
    def broken(folder: Path) -> None:
        raise CourseError("cannot write there")

    monkeypatch.setattr(doctor, "check_writable", broken)
    monkeypatch.setattr(doctor, "training", lambda seconds: 1 / 0)
    with pytest.raises(SystemExit) as stop:
        cli.main(["doctor", "--out", str(tmp_path)])
    output = capsys.readouterr().out
    assert stop.value.code == 1 and "In the way of the course: writing, cache, training." in output
    assert "ZeroDivisionError" in output and "damaged" in output


def test_the_troubleshooting_page_names_it_first():
    page = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    assert "brainssl doctor" in page.split("\n\n")[1]
