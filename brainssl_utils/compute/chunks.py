"""Work over rows of an array in chunks, several side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from brainssl_utils.compute.machine import available_cores

_CHUNK = 128
_T = TypeVar("_T")


def over_chunks(work: Callable[[slice], _T], n: int) -> Iterator[_T]:
    """Apply `work` to slices of at most 128 rows of n, one a core at a time; yield the results in order."""
    from threadpoolctl import threadpool_limits

    slices = [slice(start, min(start + _CHUNK, n)) for start in range(0, n, _CHUNK)]
    # The chunks are what runs side by side: matrix products that each ask for all cores would only wait for one another.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(available_cores()) as pool:
        yield from pool.map(work, slices)
