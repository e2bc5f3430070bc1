"""What the machine can do at most, measured: products and sums on as many threads as plans use."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.core.pieces import Call
from graphkit.runtime.blas import one_thread
from graphkit.runtime.threads import get_num_threads, together

SIDE = 768
LENGTH = 16 * 2**20
TIMES = 10


@dataclass(frozen=True)
class Peak:
    """The best of some runs with so many threads: float32 matrix products, and a + b over 64 MB arrays."""

    threads: int
    gflops: float
    gbytes: float

    def seconds(self, flops: float, nbytes: float) -> float:
        """The least time that so much takes."""
        return max(flops / self.gflops, nbytes / self.gbytes) / 1e9


def peak() -> Peak:
    """The peak with the threads in use, measured once in a process."""
    return _measured(get_num_threads())


@cache
def _measured(threads: int) -> Peak:
    product = _fastest(threads, (SIDE, SIDE), np.matmul)
    length = LENGTH // threads
    return Peak(
        threads, threads * 2e-9 * SIDE**3 / product, threads * 12e-9 * length / _fastest(threads, (length,), np.add)
    )


def _fastest(threads: int, shape: Sequence[int], function: Callable[..., Array]) -> float:
    """Seconds until each thread has run the function on arrays of its own."""
    pieces: list[Call] = []
    for _ in range(threads):
        a, b, out = (np.full(shape, 0.5, np.float32) for _ in range(3))
        pieces.append(partial(function, a, b, out=out))
    best = float("inf")
    with one_thread():
        for _ in range(TIMES):
            begin = time.perf_counter()
            together(pieces)
            best = min(best, time.perf_counter() - begin)
    return best


def processor() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
