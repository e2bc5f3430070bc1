"""How fast a side multiplies two matrices."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

PROBE = 1024


def gemm(product: Callable[[Any, Any], Callable[[], Any]]) -> float:
    """GFLOP/s of one large float32 matrix product, the best of a few."""
    rng = np.random.default_rng(0)
    a, b = (rng.random((PROBE, PROBE), dtype=np.float32) for _ in range(2))
    call, best = product(a, b), float("inf")
    for _ in range(15):
        begin = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - begin)
    return round(2.0 * PROBE**3 / best / 1e9, 1)
