"""How this machine trains fastest without touching the mathematics: every speed setting, with its reason, in one place."""

from __future__ import annotations

import ctypes
import functools
import platform
from contextlib import AbstractContextManager, nullcontext

import torch

from brainssl_utils.provenance import cpu_features

# glibc's mallopt parameters (malloc.h).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4


@functools.cache
def keep_freed_memory() -> bool:
    """Tell glibc's allocator to keep what a step frees, so that the next step need not fault the same pages in again.

    A step on CPU allocates and frees hundreds of megabytes; by default each large block goes back to the system at once
    and costs page faults when it is next taken (a trim threshold of -1 gives nothing back). Returns False, and changes
    nothing, where the C library is not glibc.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    settings = ((_M_MMAP_THRESHOLD, 1 << 30), (_M_TRIM_THRESHOLD, -1), (_M_MMAP_MAX, 0))
    return all(libc.mallopt(name, value) == 1 for name, value in settings)


@functools.cache
def has_fast_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 matrices in hardware (AMX or AVX512-BF16); emulated, it is slower than float32."""
    return not {"amx_bf16", "avx512_bf16"}.isdisjoint(cpu_features())


def accelerator() -> str:
    """Where networks train: "cuda" if there is one, otherwise "cpu" (these networks are small; Apple's MPS is not used)."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def precision() -> str:
    """Lightning's name of the arithmetic used in training: "bf16-mixed" where it is fast, "32-true" elsewhere."""
    if accelerator() == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    return "bf16-mixed" if has_fast_bfloat16() else "32-true"


def autocast() -> AbstractContextManager:
    """The context in which a network's forward pass runs: bfloat16 autocast where `precision()` says so."""
    if precision() == "bf16-mixed":
        return torch.autocast(accelerator(), dtype=torch.bfloat16)
    return nullcontext()


@functools.cache
def has_onednn_layout() -> bool:
    """Whether convolutions run on tensors in oneDNN's own layout (`onednn.py`): on Intel and AMD, where it was measured."""
    known = platform.machine().lower() in {"x86_64", "amd64"}
    available = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
    return accelerator() == "cpu" and known and available


def prepare() -> dict[str, str | int | bool]:
    """Apply the settings above once and return them, for printing and for the record."""
    kept = keep_freed_memory()
    return {
        "accelerator": accelerator(),
        "precision": precision(),
        "layout": "onednn" if has_onednn_layout() else "channels_last",
        "keeps_freed_memory": kept,
        "threads": torch.get_num_threads(),
    }
