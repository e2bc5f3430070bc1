"""Element-wise calls on large arrays as lanes: each a list of calls on pieces of them, which a thread runs in order.

A lane has buffers of its own for what is needed on the way, so lanes never meet. How many there are does not show in
the numbers.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.core.pieces import ELEMENTS, in_order

SHORT = ELEMENTS // 2


class Lanes:
    """`count` lanes; `take` gives the one with the least work so far."""

    def __init__(self, count: int) -> None:
        self.calls: list[list[Callable[[], Any]]] = [[] for _ in range(count)]
        self._work = [0] * count
        self._buffers: dict[tuple[int, str, int], Array] = {}

    def take(self, work: int) -> int:
        """The lane to put so much work into."""
        lane = self._work.index(min(self._work))
        self._work[lane] += work
        return lane

    def buffers(self, lane: int) -> Callable[[int, np.dtype[Any]], Array]:
        """A function that gives a lane's buffers for one piece, the same ones for the next piece."""
        used: dict[str, Iterator[int]] = defaultdict(itertools.count)

        def buffer(size: int, dtype: np.dtype[Any]) -> Array:
            key = (lane, dtype.str, next(used[dtype.str]))
            if key not in self._buffers:
                self._buffers[key] = np.empty(ELEMENTS, dtype)
            return self._buffers[key][:size]

        return buffer

    def pieces(self) -> list[Callable[[], Any]]:
        """A call for each lane that has work."""
        return [partial(in_order, calls) for calls in self.calls if calls]
