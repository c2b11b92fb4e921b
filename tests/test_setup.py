"""The single command that makes the environment, with and without `make`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from brainssl_utils import setup
from brainssl_utils.errors import CourseError

ROOT = Path(__file__).parents[1]


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    called: list[list[str]] = []
    done = subprocess.CompletedProcess([], 0)
    monkeypatch.setattr(setup.subprocess, "run", lambda command, cwd: called.append(list(command)) or done)
    return called


def test_torch_and_torchvision_go_in_first_and_as_a_pair_within_the_constraints(commands, tmp_path):
    setup.make_environment(tmp_path / "new", "dev,docs")
    made, pair, project = commands
    assert made == [sys.executable, "-m", "venv", str(tmp_path / "new")]
    assert pair[-2:] == ["torch", "torchvision"] and project[-2:] == ["--editable", ".[dev,docs]"]
    assert all(command[command.index("--constraint") + 1] == "constraints.txt" for command in (pair, project))
    assert all(command[0] == str(setup.python_of(tmp_path / "new")) for command in (pair, project))
    assert setup.CPU_BUILD not in pair


def test_the_build_without_nvidias_libraries_comes_from_pytorchs_own_index(commands, tmp_path):
    setup.make_environment(tmp_path, torch="cpu")
    assert setup.CPU_BUILD in commands[1] and setup.CPU_BUILD == "https://download.pytorch.org/whl/cpu"
    with pytest.raises(CourseError, match="expected cpu"):
        setup.make_environment(tmp_path, torch="gpu")


def test_a_failing_step_ends_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(setup.subprocess, "run", lambda command, cwd: subprocess.CompletedProcess([], 1))
    with pytest.raises(SystemExit) as stop:
        setup.main(["--torch", "cpu"])
    assert stop.value.code == 2 and "Calling again goes on" in capsys.readouterr().err


def test_it_needs_nothing_but_python_itself():
    """An interpreter without site-packages reads it: there is no environment yet."""
    command = [
        sys.executable,
        "-S",
        "-I",
        "-c",
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import brainssl_utils.setup",
    ]
    assert subprocess.run(command, capture_output=True, text=True).stderr == ""


def test_make_calls_it():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "$(PYTHON) -m brainssl_utils.setup" in text
