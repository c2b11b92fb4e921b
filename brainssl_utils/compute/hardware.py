"""How this machine trains fastest without touching the mathematics: every speed setting, with its reason, in one place."""

from __future__ import annotations

import ctypes
import functools
import platform
from contextlib import AbstractContextManager, nullcontext

import torch

from brainssl_utils.compute.machine import cpu_features

# glibc's mallopt parameters (malloc.h).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
_MADV_HUGEPAGE = 14  # madvise's advice (mman.h)
_HUGE_PAGE, _HEAP = 2 << 20, 4 << 30  # bytes: x86-64's larger page, and the part of the heap that is to consist of them


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
def use_huge_pages() -> bool:
    """Ask Linux to back the heap's next 4 GiB with pages of 2 MiB: a step walks through maps of hundreds of megabytes.

    With pages of 4 KiB the processor looks up an address every few rows of an image. The addresses are reserved and
    given back to the allocator at once, so no memory is taken until a step needs it. Returns False, and changes nothing,
    where freed memory is not kept or the system refuses.
    """
    if not keep_freed_memory():
        return False
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    start = libc.malloc(_HEAP)
    if start is None:
        return False
    first = -(-start // _HUGE_PAGE) * _HUGE_PAGE
    refused = libc.madvise(first, _HEAP - _HUGE_PAGE, _MADV_HUGEPAGE)
    libc.free(start)
    return refused == 0


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
    kept, huge = keep_freed_memory(), use_huge_pages()
    return {
        "accelerator": accelerator(),
        "precision": precision(),
        "layout": "onednn" if has_onednn_layout() else "channels_last",
        "keeps_freed_memory": kept,
        "huge_pages": huge,
        "threads": torch.get_num_threads(),
    }
