"""How this machine trains fastest without touching the mathematics: every speed setting, with its reason, in one place.

| setting | what it does | where | gain | off |
|---|---|---|---|---|
| bfloat16 | networks compute in shorter numbers | AMX, AVX512-BF16, CUDA | 1.41 | - |
| channels last | a pixel's channels lie side by side | everywhere | 2.28 | - |
| kept memory | a step reuses what the last one freed | the whole process; Linux with glibc | 1.92 | `tune` |
| pooling before ReLU | the same from a quarter of the work | `networks.PaperEncoder` | 1.21 | - |
| oneDNN's layout | poolings, ReLUs inside oneDNN (`onednn.py`) | Intel and AMD, known layers | 1.32 | `mkldnn` |
| huge pages | an address is looked up per 2 MiB, not 4 KiB | the whole process; Linux with glibc | 1.10 | `tune` |
| passive waiting | a waiting thread sleeps (`environment.py`) | the whole process; OpenMP | if busy | `BRAINSSL_WAIT=active` |

Gains are factors in images a second of a bare encoder, each on top of those above it, on two cores with AMX
(`benchmarks/results/throughput.md`); that of waiting, on a machine that does something else too, is in
`benchmarks/results/waiting.md`. `tune`: `fit(tune_process=False)`, `prepare(tune=False)`, or the environment variable
BRAINSSL_TUNE=off. `mkldnn`: `torch.backends.mkldnn.flags(enabled=False)`. What is set for the whole process stays until
it ends: any other code in it keeps freed memory too, and the process looks to the system as large as it ever was.
"""

from __future__ import annotations

import ctypes
import functools
import platform
from contextlib import AbstractContextManager, nullcontext

import torch

from brainssl_utils.compute import environment
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


_in_effect = {"keeps_freed_memory": False, "huge_pages": False}  # for the process, until it ends


def prepare(tune: bool | None = None) -> dict[str, str | int | bool]:
    """Apply the settings above and return which are in effect, for printing and for the record.

    Args:
        tune: whether the memory settings of the whole process may change (kept memory, huge pages). None asks the
            environment variable BRAINSSL_TUNE: on unless it says "off" or "0". What an earlier call set stays.

    Returns:
        accelerator, precision, layout, keeps_freed_memory, huge_pages, threads, and waiting: "passive", "active" or
        "unknown".

    Raises:
        CourseError: BRAINSSL_TUNE or BRAINSSL_WAIT has a value that is none.
    """
    waiting = environment.waiting()
    if environment.tunes() if tune is None else tune:
        _in_effect.update(keeps_freed_memory=keep_freed_memory(), huge_pages=use_huge_pages())
    return {
        "accelerator": accelerator(),
        "precision": precision(),
        "layout": "onednn" if has_onednn_layout() else "channels_last",
        **_in_effect,
        "threads": torch.get_num_threads(),
        "waiting": waiting,
    }
