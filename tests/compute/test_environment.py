"""The package's environment variables: what they decide, what is told of it, and that torch's OpenMP listens."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from brainssl_utils.compute import environment, hardware
from brainssl_utils.errors import CourseError

TOLD = "from brainssl_utils.compute.environment import waiting; print(waiting())"
TORCH = "import sys; sys.modules['torch'] = sys"  # stands for `import torch`, which takes seconds
FIRST = f"import brainssl_utils; {TORCH}; {TOLD}"
SECOND = f"{TORCH}; import brainssl_utils; {TOLD}"


def run(program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process whose environment has these variables, and none else that is about waiting."""
    ours = ("OMP_", "GOMP_", "BRAINSSL_")
    others = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=others | variables, capture_output=True, text=True, check=True)


@pytest.mark.parametrize(
    ("program", "variables", "told"),
    [
        (FIRST, {}, "passive"),
        (FIRST, {"BRAINSSL_WAIT": "active"}, "active"),
        (FIRST, {"BRAINSSL_WAIT": ""}, "passive"),
        (FIRST, {"OMP_WAIT_POLICY": "ACTIVE"}, "active"),
        (FIRST, {"OMP_WAIT_POLICY": "passive", "BRAINSSL_WAIT": "active"}, "passive"),
        (FIRST, {"GOMP_SPINCOUNT": "1000"}, "unknown"),
        (f"import os, brainssl_utils; os.environ['OMP_WAIT_POLICY'] = 'ACTIVE'; {TOLD}", {}, "unknown"),
    ],
)
def test_threads_wait_passively_unless_the_user_wants_otherwise(
    program: str, variables: dict[str, str], told: str
) -> None:
    assert run(program, **variables).stdout.split() == [told]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody tells what a process started with")
def test_what_is_told_is_true_where_torch_came_first() -> None:
    assert run(SECOND).stdout.split() == ["active"], "too late to change it"
    assert run(SECOND, OMP_WAIT_POLICY="PASSIVE").stdout.split() == ["passive"]
    late = f"{TORCH}; import os; os.environ['OMP_WAIT_POLICY'] = 'PASSIVE'; {SECOND}"
    assert run(late).stdout.split() == ["unknown"]


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP comes with torch on Linux")
@pytest.mark.parametrize(
    ("order", "variables", "told", "spins"),
    [
        ("brainssl_utils, torch", {}, "passive", "0"),
        ("torch, brainssl_utils", {}, "active", "300000"),
        ("brainssl_utils, torch", {"BRAINSSL_WAIT": "active"}, "active", "300000"),
    ],
)
def test_torchs_openmp_spins_as_it_is_told_and_as_we_tell(
    order: str, variables: dict[str, str], told: str, spins: str
) -> None:
    done = run(f"import {order}; {TOLD}", OMP_DISPLAY_ENV="verbose", **variables)
    assert done.stdout.split() == [told]
    if "GOMP_SPINCOUNT" not in done.stderr:
        pytest.skip("this torch does not bring GNU's OpenMP along")
    assert f"GOMP_SPINCOUNT = '{spins}'" in done.stderr


def test_a_child_process_waits_as_its_parent_even_if_it_loads_torch_first() -> None:
    parent = f"import brainssl_utils, subprocess, sys; subprocess.run([sys.executable, '-c', {SECOND!r}], check=True)"
    assert run(parent).stdout.split() == (["passive"] if sys.platform == "linux" else ["unknown"])


def test_where_the_system_does_not_tell_the_answer_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environment, "Path", lambda _: tmp_path / "missing")
    monkeypatch.setattr(environment, "_at_load", "PASSIVE")
    assert "torch" in sys.modules
    environment.apply()
    assert environment.waiting() == "unknown"


@pytest.mark.parametrize(("value", "wanted"), [("on", 1), ("1", 1), ("", 1), (" ON ", 1), ("off", 0), ("0", 0)])
def test_tuning_is_switched_by_its_variable(monkeypatch: pytest.MonkeyPatch, value: str, wanted: int) -> None:
    monkeypatch.setenv("BRAINSSL_TUNE", value)
    assert environment.tunes() == bool(wanted)
    monkeypatch.delenv("BRAINSSL_TUNE")
    assert environment.tunes()


@pytest.mark.parametrize("name", ["BRAINSSL_TUNE", "BRAINSSL_WAIT"])
def test_a_value_that_means_nothing_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "perhaps")
    with pytest.raises(CourseError, match=f"{name} is 'perhaps'"):
        hardware.prepare()
