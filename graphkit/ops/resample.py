"""Images brought to other sizes: each output value drawn from its nearest neighbours, axis by axis.

Where output i of n stands is computed in whole numbers, also where the size of the input is free, so that a value
halfway between two neighbours falls on the same side everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from graphkit.core.dimension import Dimension
from graphkit.core.op import Value, spec_of
from graphkit.ops.compare import equal
from graphkit.ops.convert import as_float, as_value, cast
from graphkit.ops.elementwise import clip, maximum, minimum, where
from graphkit.ops.index import take
from graphkit.ops.shape import reshape, shape

STEPS = 1024  # the cubic kernel is read from a table of so many steps, as TensorFlow does
REACH = {"nearest": 0, "bilinear": 1, "bicubic": 2}


def size_along(x: Any, axis: int) -> Any:
    """The size of an axis: a number, or a value of int64 where it is free."""
    size = spec_of(x).dims[axis]
    return cast(shape(x)[axis], "int64") if isinstance(size, Dimension) else size


def smaller(one: Any, other: Any) -> Any:
    """The smaller of two sizes, numbers or values."""
    return minimum(one, other) if isinstance(one, Value) or isinstance(other, Value) else min(one, other)


def larger(one: Any, other: Any) -> Any:
    """The larger of two sizes, numbers or values."""
    return maximum(one, other) if isinstance(one, Value) or isinstance(other, Value) else max(one, other)


@dataclass(frozen=True)
class View:
    """An axis of x of n values, of which the window of `length` from `start` on is seen; `fill` stands beyond x."""

    x: Any
    axis: int
    n: Any
    start: Any
    length: Any
    fill: Any

    def taken(self, places: Any) -> Any:
        """The values at places of the window; beyond its ends its last ones."""
        seen = _within(places, self.length) + self.start
        there = seen if self.fill is None else _within(seen, self.n)
        found = take(self.x, there, self.axis)
        if there is seen:
            return found
        return where(self.upright(equal(there, seen)), found, np.asarray(self.fill, spec_of(found).dtype))

    def numbers(self, places: Any) -> Any:
        """Whole numbers in the dtype of x."""
        return cast(as_value(places), spec_of(self.x).dtype)

    def upright(self, vector: Any) -> Any:
        """A vector that lies along the axis."""
        return reshape(vector, (-1, *[1] * (spec_of(self.x).rank - 1 - self.axis)))


def _within(places: Any, n: Any) -> Any:
    """Places, those outside [0, n) moved to its ends."""
    values = isinstance(places, Value) or isinstance(n, Value)
    return clip(places, 0, n - 1) if values else np.clip(places, 0, n - 1)


def resample(
    x: Any, axis: int, size: int, window: Any = None, interpolation: str = "bilinear", fill: Any = None
) -> Any:
    """`size` values along `axis`, those of the window (start, length) of it: the whole axis where none is given.

    Output i stands at start + (i + 1/2) length / size - 1/2. Beyond the ends of the window lies its last value, and
    where the window is larger than the axis, `fill`. "nearest" takes the value nearest to it, "bilinear" draws a line
    between two, "bicubic" a cubic through those there are of four (Keys, 1981, a = -1/2).
    """
    x = as_value(x) if interpolation == "nearest" else as_float(x)
    n = size_along(x, axis)
    start, length = (0, n) if window is None else window
    view = View(x, axis, n, start, length, fill)
    doubled = np.arange(size, dtype=np.int64) * 2 + 1
    if interpolation == "nearest":
        return view.taken(doubled * view.length // (2 * size))
    places = doubled * view.length - size
    below = places // (2 * size)
    rest = places - below * (2 * size)
    if interpolation == "bilinear":
        first = view.taken(below)
        return first + (view.taken(below + 1) - first) * view.upright(view.numbers(rest) / (2.0 * size))
    return _cubic(view, below, view.numbers((rest * (2 * STEPS) + 2 * size) // (4 * size)) / float(STEPS))


def _cubic(view: View, below: Any, along: Any) -> Any:
    """Four neighbours, weighted; those beyond the ends of the window weigh nothing."""
    total: Any = 0.0
    sums: Any = 0.0
    for step in (-1, 0, 1, 2):
        away = along - step if step <= 0 else step - along
        there = equal(_within(below + step, view.length), below + step)
        weight = where(there, _keys(away, step in (0, 1)), 0.0)
        total = total + view.taken(below + step) * view.upright(weight)
        sums = sums + weight
    return total / view.upright(sums)


def _keys(x: Any, near: bool) -> Any:
    """The weight of a value x away: 3/2 x^3 - 5/2 x^2 + 1 up to 1, -1/2 x^3 + 5/2 x^2 - 4 x + 2 up to 2."""
    return (1.5 * x - 2.5) * x * x + 1.0 if near else ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
