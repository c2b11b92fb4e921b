"""What this machine is: the cores and the memory of a process, and the instruction sets that speed depends on."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
)  # with how many threads a process starts; PyTorch goes by the second, if that is set
_CPU_FLAGS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_of_cores(processes: int) -> dict[str, str]:
    """Return the environment with which each of `processes` that work side by side keeps to its share of the cores."""
    return dict.fromkeys(THREADS, str(max(1, available_cores() // processes)))


def peak_memory() -> float:
    """Return the most memory this process has held at once, in GiB; NaN where Python cannot tell (Windows)."""
    try:
        import resource
    except ImportError:
        return math.nan
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)  # Linux and BSD count in KiB


def cpu_features() -> list[str]:
    """Instruction sets that speed here depends on, as Linux names them; [] on other systems and where it does not say."""
    if sys.platform != "linux":
        return []
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "").split()
    return [flag for flag in _CPU_FLAGS if flag in flags]
