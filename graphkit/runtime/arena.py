"""One block of memory for all buffers of a plan: each lives from its first write to its last read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array, is_text

ALIGN = 64


@dataclass(eq=False)
class Buffer:
    """Bytes needed from step `first` to step `last`, and where in the arena they are."""

    nbytes: int
    first: int
    last: int
    offset: int = 0

    def array(self, memory: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """The buffer as an array; text, which is objects, has memory of its own."""
        if is_text(dtype):
            return np.empty(shape, dtype)
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        return memory[self.offset : self.offset + size].view(dtype).reshape(shape)


class Kept:
    """Arrays that are made once and kept for all runs, and their bytes."""

    def __init__(self) -> None:
        self.nbytes = 0

    def empty(self, shape: int | tuple[int, ...], dtype: Any) -> Array:
        """A fresh array, its numbers not set."""
        array = np.empty(shape, dtype)
        self.nbytes += array.nbytes
        return array


@dataclass(frozen=True)
class Held:
    """Bytes that a plan keeps for its runs. values: what its steps make and need on the way, in one block.

    waiting: of the values, those that forward has made and the gradient reads. batch: the rows at hand. constants: what
    was computed once. updates: what new state needs on its way. objects: its calls, its views and its graph in Python.
    """

    values: int
    waiting: int
    batch: int
    constants: int
    updates: int
    objects: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.values + self.batch + self.constants + self.updates + self.objects


def rounded(nbytes: int) -> int:
    """The next multiple of the alignment."""
    return -(-nbytes // ALIGN) * ALIGN


def place(buffers: list[Buffer]) -> int:
    """Gives each buffer an offset, the largest first, in the tightest gap of its time; returns the size in bytes.

    Pisarchyk and Lee, Efficient Memory Management for Deep Neural Net Inference, 2020 (greedy by size).
    """
    placed = np.empty((4, len(buffers)), np.int64)
    top = 0
    for done, buffer in enumerate(sorted(buffers, key=lambda b: (-b.nbytes, b.first))):
        need = rounded(buffer.nbytes)
        firsts, lasts, starts, ends = placed[:, :done]
        beside = (firsts <= buffer.last) & (lasts >= buffer.first) & (ends > starts)
        order = np.argsort(starts[beside])
        used = np.maximum.accumulate(np.concatenate([[0], ends[beside][order]]))
        gaps = starts[beside][order] - used[:-1]
        fits = np.flatnonzero(gaps >= need)
        buffer.offset = int(used[fits[np.argmin(gaps[fits])]] if fits.size else used[-1])
        placed[:, done] = buffer.first, buffer.last, buffer.offset, buffer.offset + need
        top = max(top, buffer.offset + need)
    return top


def aligned(nbytes: int) -> Array:
    """Fresh memory that begins at a multiple of the alignment."""
    raw = np.empty(nbytes + ALIGN, np.uint8)
    start = -raw.ctypes.data % ALIGN
    return raw[start : start + nbytes]
