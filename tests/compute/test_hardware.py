"""The settings behind training's speed: what they change, and that nothing changes where they cannot be had."""

from __future__ import annotations

import ctypes
import json
import math
import os
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from brainssl_utils.compute import hardware, machine

HEAP = """
import json
from brainssl_utils.compute import hardware
told = hardware.prepare()
parts, marked = open("/proc/self/smaps").read().split("VmFlags:"), 0
for before, flags in zip(parts, parts[1:]):
    if " hg" in flags.partition("\\n")[0]:
        marked += int(before.rpartition("\\nSize:")[2].split()[0])
print(json.dumps([told["keeps_freed_memory"], told["huge_pages"], marked]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="huge pages are asked for on Linux only")
def test_the_heap_is_marked_for_huge_pages_where_that_is_told() -> None:
    done = subprocess.run([sys.executable, "-c", HEAP], capture_output=True, text=True, check=True)
    kept, huge, marked = json.loads(done.stdout)
    assert kept >= huge
    assert (marked >= 3 << 20) == huge, f"{marked} KiB are marked"


def test_without_kept_memory_no_huge_pages_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "keep_freed_memory", lambda: False)
    assert hardware.use_huge_pages.__wrapped__() is False


@pytest.mark.parametrize(
    ("variable", "calls", "changed"),
    [
        ("", [None], True),
        ("off", [None], False),
        ("0", [True], True),  # what is said goes before what is set
        ("on", [False], False),
        ("off", [True, None], True),  # what is set for a process stays
    ],
)
def test_the_settings_of_the_process_are_left_alone_where_that_is_asked(
    variable: str, calls: list[bool | None], changed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    monkeypatch.setenv("BRAINSSL_TUNE", variable)
    monkeypatch.setattr(hardware, "_in_effect", {"keeps_freed_memory": False, "huge_pages": False})
    monkeypatch.setattr(hardware, "keep_freed_memory", lambda: made.append("kept") is None)
    monkeypatch.setattr(hardware, "use_huge_pages", lambda: made.append("huge") is None)
    for call in calls:
        told = hardware.prepare(call)
    assert made == (["kept", "huge"] if changed else [])
    assert told["keeps_freed_memory"] == told["huge_pages"] == changed


SYSTEMS = {"win32": "Windows", "darwin": "Darwin"}


@pytest.fixture(params=SYSTEMS)
def elsewhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Another system than Linux, as far as the package asks: no libc to load, no affinity, no /proc."""

    def refuse(*_: object) -> None:
        raise OSError("there is none here")

    monkeypatch.setattr(sys, "platform", request.param)
    monkeypatch.setattr(platform, "system", lambda: SYSTEMS[request.param])
    monkeypatch.setattr(ctypes, "CDLL", refuse)
    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    for name in ("keep_freed_memory", "use_huge_pages", "has_fast_bfloat16"):
        monkeypatch.setattr(hardware, name, getattr(hardware, name).__wrapped__)  # without what is remembered
    monkeypatch.setattr(hardware, "_in_effect", {"keeps_freed_memory": False, "huge_pages": False})
    return request.param


def test_on_other_systems_the_same_calls_answer_and_change_nothing(elsewhere: str) -> None:
    assert machine.available_cores() == 6 and machine.cpu_features() == []
    assert not hardware.keep_freed_memory() and not hardware.use_huge_pages() and not hardware.has_fast_bfloat16()
    told = hardware.prepare(tune=True)
    assert not told["keeps_freed_memory"] and not told["huge_pages"]
    assert told["precision"] == "32-true" or told["accelerator"] == "cuda"


def test_where_not_even_the_number_of_cores_is_known_there_is_one(
    elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert machine.available_cores() == 1


def test_peak_memory_is_in_gib_on_every_system_that_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    told = SimpleNamespace(ru_maxrss=3 * 2**20)
    monkeypatch.setitem(sys.modules, "resource", SimpleNamespace(getrusage=lambda _: told, RUSAGE_SELF=0))
    monkeypatch.setattr(sys, "platform", "linux")
    assert machine.peak_memory() == 3  # KiB
    monkeypatch.setattr(sys, "platform", "darwin")
    assert machine.peak_memory() == 3 / 1024  # bytes
    monkeypatch.setitem(sys.modules, "resource", None)  # Windows has no such module
    assert math.isnan(machine.peak_memory())


def test_a_linux_without_glibc_keeps_its_allocator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(ctypes, "CDLL", lambda _: pytest.fail("the C library was touched"))
    assert hardware.keep_freed_memory.__wrapped__() is False


@pytest.mark.parametrize(
    "flags", ["flags\t\t: fpu avx2 amx_bf16", "flags\t\t: fpu avx2", "Features\t: fp asimd bf16", ""]
)
def test_bfloat16_is_fast_only_where_the_processor_says_so(monkeypatch: pytest.MonkeyPatch, flags: str) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: f"processor\t: 0\n{flags}\n")
    assert hardware.has_fast_bfloat16.__wrapped__() == ("amx_bf16" in flags)
