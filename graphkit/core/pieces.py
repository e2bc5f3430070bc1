"""Work cut into pieces that threads may run in any order, by the shapes alone: any number of threads, equal bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array

ELEMENTS = 65536
WORTH = 4 * ELEMENTS
MOST = 16

Call = Callable[[], Any]
Stages = list[list[Call]]


def count(work: int, elements: int) -> int:
    """How many pieces so much work is worth, in additions of two floats, where a step of it makes so many elements.

    Calls on few elements take turns rather than run side by side, since Python runs between them: a power of two, 2 at
    least where there is anything to gain.
    """
    if work < WORTH:
        return 1
    return 1 << max(1, min(MOST, elements // (8 * ELEMENTS)).bit_length() - 1)


def products(flops: int) -> int:
    """How many pieces matrix products are cut into: few, since each piece reads the other side whole."""
    return 1 if flops < 24_000_000 else 2 if flops < 300_000_000 else 4


def ranges(size: int, parts: int) -> list[slice]:
    """At most `parts` ranges of about equal length."""
    length = max(1, -(-size // max(1, parts)))
    return [slice(start, min(start + length, size)) for start in range(0, size, length)]


def lined_up(out: Array, ins: Sequence[Array]) -> tuple[bool, ...]:
    """Which inputs have the rows of the output; the others are the same for each row."""
    return tuple(a.ndim == out.ndim > 0 and a.shape[0] == out.shape[0] for a in ins)


def whole(arrays: Sequence[Array]) -> tuple[Stages, list[Array]]:
    """The arrays, copies in place of those that do not lie in one piece, and the stage that makes these."""
    copies: list[Call] = []
    found = []
    for array in arrays:
        found.append(array if array.flags.c_contiguous else np.empty(array.shape, array.dtype))
        if found[-1] is not array:
            copies.append(partial(np.copyto, found[-1], array))
    return [copies] if copies else [], found


def at_once(stages: Stages) -> Call:
    """All pieces of all stages one after the other."""
    return partial(in_order, [call for stage in stages for call in stage])


def in_order(calls: Sequence[Call]) -> None:
    """One call after the other."""
    for call in calls:
        call()
