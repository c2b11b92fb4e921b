"""The environment variables that the package reads, and how threads wait: settled before torch loads.

| variable | values | what it decides |
|---|---|---|
| BRAINSSL_TUNE | on (default) or 1, off or 0 | whether a training changes its process's memory settings (`hardware.py`) |
| BRAINSSL_WAIT | passive (default), active | how threads of torch, scikit-learn and faiss wait for each other |

A step on a CPU is hundreds of small pieces of work, each shared out among all cores, and the fastest thread waits for the
slowest. By default GNU's OpenMP, which comes with torch, lets it spin: it asks again 300,000 times before it sleeps. On an
idle machine that saves a few microseconds a piece. Where something else keeps a core busy, the spinning thread holds the
processor from the very thread it waits for, until the system takes it away. Waiting passively, it sleeps at once. OpenMP
reads OMP_WAIT_POLICY once, as torch is loaded, so the variable is set as `brainssl_utils` is imported and helps only if
that comes before `import torch`; processes started from there inherit it. One that is set already stays as it is.
(GNU: https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html; LLVM's and Intel's runtimes know the variable too.)

Measured: `benchmarks/results/waiting.md`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from brainssl_utils.checks import check_choice

TUNE, WAIT, POLICY = "BRAINSSL_TUNE", "BRAINSSL_WAIT", "OMP_WAIT_POLICY"

_UNKNOWN = "unknown"
_at_load: str | None = _UNKNOWN  # the policy that torch's OpenMP found, as far as can be told


def apply() -> None:
    """Let threads wait passively, unless the user wants otherwise or torch is here already; called by the package."""
    global _at_load
    if "torch" in sys.modules:
        _at_load = _at_start()
        return
    if os.environ.get(WAIT, "").strip().lower() != "active":
        os.environ.setdefault(POLICY, "PASSIVE")
    _at_load = os.environ.get(POLICY)


def waiting() -> str:
    """How threads wait in this process: "passive", "active" (they spin first), or "unknown".

    Unknown: torch was loaded before this package and the system does not tell what the process started with, the
    variable has changed since, or GOMP_SPINCOUNT, which goes before it, is set.

    Raises:
        CourseError: BRAINSSL_WAIT has a value that is none.
    """
    _choice(WAIT, {"passive": True, "active": False})
    if os.environ.get(POLICY) != _at_load or "GOMP_SPINCOUNT" in os.environ:
        return _UNKNOWN
    return "passive" if (_at_load or "").strip().lower() == "passive" else "active"


def tunes() -> bool:
    """Whether BRAINSSL_TUNE allows a training to change the settings of its process.

    Raises:
        CourseError: it has a value that is none.
    """
    return _choice(TUNE, {"on": True, "1": True, "off": False, "0": False})


def _choice(name: str, values: dict[str, bool]) -> bool:
    """What the variable's value stands for; the first of them where it is not set, or empty."""
    value = os.environ.get(name, "").strip().lower() or next(iter(values))
    check_choice(f"environment variable {name}", value, values)
    return values[value]


def _at_start() -> str | None:
    """The policy that this process started with, which no later change of `os.environ` reaches; Linux alone tells."""
    try:
        lines = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:
        return _UNKNOWN
    name = f"{POLICY}=".encode()
    return next((line[len(name) :].decode(errors="replace") for line in lines if line.startswith(name)), None)
