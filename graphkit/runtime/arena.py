"""One block of memory for all buffers of a plan: each lives from its first write to its last read."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array

ALIGN = 64


@dataclass(eq=False)
class Buffer:
    """Bytes needed from step `first` to step `last`, and where in the arena they are."""

    nbytes: int
    first: int
    last: int
    offset: int = 0

    def array(self, memory: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """The buffer as an array."""
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        return memory[self.offset : self.offset + size].view(dtype).reshape(shape)


def rounded(nbytes: int) -> int:
    """The next multiple of the alignment."""
    return -(-nbytes // ALIGN) * ALIGN


def place(buffers: list[Buffer]) -> int:
    """Gives each buffer an offset, best fit in the order of the steps; returns the arena's size in bytes."""
    free: list[tuple[int, int]] = []
    top = 0
    alive: list[tuple[int, int, int]] = []
    for buffer in sorted(buffers, key=lambda b: b.first):
        while alive and alive[0][0] < buffer.first:
            _, offset, size = alive.pop(0)
            _give_back(free, offset, size)
        need = rounded(max(buffer.nbytes, 1))
        fits = [(size, offset) for offset, size in free if size >= need]
        if fits:
            size, offset = min(fits)
            free.remove((offset, size))
            if size > need:
                insort(free, (offset + need, size - need))
        else:
            offset, top = top, top + need
        buffer.offset = offset
        insort(alive, (buffer.last, offset, need))
    return top


def _give_back(free: list[tuple[int, int]], offset: int, size: int) -> None:
    insort(free, (offset, size))
    at = free.index((offset, size))
    if at + 1 < len(free) and offset + size == free[at + 1][0]:
        size += free.pop(at + 1)[1]
        free[at] = (offset, size)
    if at and free[at - 1][0] + free[at - 1][1] == offset:
        before = free.pop(at - 1)
        free[at - 1] = (before[0], before[1] + size)


def aligned(nbytes: int) -> Array:
    """Fresh memory that begins at a multiple of the alignment."""
    raw = np.empty(nbytes + ALIGN, np.uint8)
    start = -raw.ctypes.data % ALIGN
    return raw[start : start + nbytes]
