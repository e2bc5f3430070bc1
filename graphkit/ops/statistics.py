"""What describes a row of numbers: weighted means, the middle, quantiles; numbers in place of those that are none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphkit.core.errors import ArgumentError, ShapeError
from graphkit.core.op import spec_of
from graphkit.core.spec import axis_of, show
from graphkit.ops.convert import as_float, as_value, promote_float
from graphkit.ops.elementwise import isnan, where
from graphkit.ops.index import take
from graphkit.ops.reduce import mean, sum
from graphkit.ops.shape import expand_dims, reshape
from graphkit.ops.sorting import sort


def average(x: Any, axis: int | None = None, weights: Any = None) -> Any:
    """sum(w x) / sum(w) along `axis`, over all without one; the mean where there are no weights.

    weights: of the shape of x, or a vector along `axis`. ShapeError for others.
    """
    if weights is None:
        return mean(as_float(x), axis)
    x, w = promote_float(x, weights)
    dims = spec_of(x).dims
    if spec_of(w).rank != len(dims):
        if axis is None or spec_of(w).rank != 1:
            raise ShapeError(f"weights of shape {show(spec_of(w).dims)} for values of {show(dims)}; give an axis")
        place = axis_of(axis, len(dims))
        w = reshape(w, [-1 if a == place else 1 for a in range(len(dims))])
    return sum(x * w, axis) / sum(w, axis)


def quantile(x: Any, q: float, axis: int | None = None, keepdims: bool = False) -> Any:
    """The number that a share q of all lies below along `axis`: between the two nearest, by how near each is.

    The size of the axis must be known (ShapeError). ArgumentError where q is outside [0, 1].
    """
    if not 0 <= q <= 1:
        raise ArgumentError(f"q must be within [0, 1], got {q}")
    x = as_float(x)
    rank = spec_of(x).rank
    if axis is None:
        found = quantile(reshape(x, [-1]), q, 0)
        return reshape(found, [1] * rank) if keepdims else found
    axis = axis_of(axis, rank)
    size = spec_of(x).dims[axis]
    if not isinstance(size, int) or size == 0:
        raise ShapeError(f"a quantile needs a known size above 0, axis {axis} of {show(spec_of(x).dims)} has not")
    ordered, place = sort(x, axis), q * (size - 1)
    below, share = math.floor(place), place - math.floor(place)
    found = take(ordered, below, axis)
    if share:
        found = found * (1.0 - share) + take(ordered, below + 1, axis) * share
    return expand_dims(found, axis) if keepdims else found


def median(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """The middle one along `axis`, the mean of the two in the middle where there are two; see `quantile`."""
    return quantile(x, 0.5, axis, keepdims)


def nan_to_num(x: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Any:
    """`nan` for what is no number, and the largest and smallest finite ones, or those given, for infinities."""
    x = as_value(x)
    if spec_of(x).dtype.kind != "f":
        return x
    limit = float(np.finfo(spec_of(x).dtype).max)
    x = where(isnan(x), nan, x)
    x = where(x == math.inf, limit if posinf is None else posinf, x)
    return where(x == -math.inf, -limit if neginf is None else neginf, x)
