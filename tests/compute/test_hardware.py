"""The settings behind training's speed: what they change, and that nothing changes where they cannot be had."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from brainssl_utils.compute import hardware

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
