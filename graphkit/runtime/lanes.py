"""Element-wise calls on large arrays as lanes: each a list of calls on pieces of them, which a thread runs in order.

A lane has buffers of its own for what is needed on the way, so lanes never meet; a buffer is taken again as soon as
what lies in it has been read. How many lanes there are does not show in the numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Sequence
from functools import partial
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.core.pieces import ELEMENTS, in_order
from graphkit.runtime.arena import Kept
from graphkit.runtime.schedule import Step

SHORT = ELEMENTS // 2


class Lanes:
    """`count` lanes for pieces of up to `size` elements; `take` gives the one with the least work so far."""

    def __init__(self, count: int, size: int, kept: Kept) -> None:
        self.size, self._kept = min(size, ELEMENTS), kept
        self.calls: list[list[Callable[[], Any]]] = [[] for _ in range(count)]
        self._work = [0] * count
        self._buffers: dict[tuple[int, str, int], Array] = {}

    def take(self, work: int) -> int:
        """The lane to put so much work into."""
        lane = self._work.index(min(self._work))
        self._work[lane] += work
        return lane

    def buffer(self, lane: int, number: int, size: int, dtype: np.dtype[Any]) -> Array:
        """The first elements of a lane's buffer of that number."""
        key = (lane, dtype.str, number)
        if key not in self._buffers:
            self._buffers[key] = self._kept.empty(self.size, dtype)
        return self._buffers[key][:size]

    def pieces(self) -> list[Callable[[], Any]]:
        """A call for each lane that has work."""
        return [partial(in_order, calls) for calls in self.calls if calls]


def numbered(steps: Sequence[Step], elsewhere: Container[int]) -> dict[int, int]:
    """For what steps of one shape make, but what lies elsewhere, the number of its buffer: as few as go.

    A step writes over an input that no one reads after it, where its op may, else into a free buffer.
    """
    last = {id(x): at for at, step in enumerate(steps) for x in step.node.inputs}
    numbers: dict[int, int] = {}
    free: dict[Any, list[int]] = {}
    fresh = itertools.count()
    for at, step in enumerate(steps):
        made, spare = step.node.outputs[0], free.setdefault(step.specs[0].dtype, [])
        gone = {id(x): x for x in step.node.inputs if id(x) in numbers and last[id(x)] == at}
        if id(made) not in elsewhere:
            over = _written_over(step, gone)
            gone.pop(over, None)
            numbers[id(made)] = numbers[over] if over else spare.pop() if spare else next(fresh)
            if id(made) not in last:
                gone[id(made)] = made
        for value in gone.values():
            free.setdefault(value.spec.dtype, []).append(numbers[id(value)])
    return numbers


def _written_over(step: Step, gone: Container[int]) -> int:
    """The id of the input, of those that are gone then, that the step may be given as its output; else 0."""
    inputs = step.node.inputs
    for x in (inputs[i] for i in step.op.overwrites):
        if id(x) in gone and x.spec.dtype == step.specs[0].dtype and sum(y is x for y in inputs) == 1:
            return id(x)
    return 0
