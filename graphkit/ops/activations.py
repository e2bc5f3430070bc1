"""Activations with no node and no kernel of their own: pieces of straight lines, gates, shrinking, sparse shares."""

from __future__ import annotations

from typing import Any

from graphkit.core.errors import ArgumentError, ShapeError
from graphkit.core.op import spec_of
from graphkit.core.spec import axis_of, show
from graphkit.ops.compare import equal, greater, greater_equal, less, less_equal, logical_and, logical_or
from graphkit.ops.convert import as_float, cast
from graphkit.ops.elementwise import absolute, exp, maximum, minimum, sqrt, where
from graphkit.ops.index import arange, getitem
from graphkit.ops.nn import hard_sigmoid, relu, sigmoid, softplus, tanh
from graphkit.ops.reduce import sum
from graphkit.ops.shape import expand_dims, reshape, shape


def clipped_relu(x: Any, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Any:
    """x where x > threshold, else negative_slope (x - threshold); not above max_value.

    ArgumentError for a negative setting.
    """
    if (max_value is not None and max_value < 0) or negative_slope < 0 or threshold < 0:
        raise ArgumentError(
            "relu: max_value, negative_slope and threshold are not negative, got "
            f"{max_value}, {negative_slope}, {threshold}"
        )
    x = as_float(x)
    positive = where(greater(x, threshold), x, 0.0) if threshold else relu(x)
    if max_value is not None:
        positive = minimum(float(max_value), positive)
    return positive - negative_slope * relu(threshold - x) if negative_slope else positive


def softsign(x: Any) -> Any:
    """x / (1 + |x|)."""
    x = as_float(x)
    return x / (1.0 + absolute(x))


def hard_tanh(x: Any) -> Any:
    """x, kept between -1 and 1."""
    x = as_float(x)
    return minimum(maximum(x, -1.0), 1.0)


def hard_silu(x: Any) -> Any:
    """x hard_sigmoid(x) (Howard et al., 2019)."""
    x = as_float(x)
    return x * hard_sigmoid(x)


def hard_shrink(x: Any, threshold: float = 0.5) -> Any:
    """x where |x| > threshold, else 0."""
    x = as_float(x)
    return where(greater(absolute(x), threshold), x, 0.0)


def soft_shrink(x: Any, threshold: float = 0.5) -> Any:
    """x - threshold where x > threshold, x + threshold where x < -threshold, else 0."""
    x = as_float(x)
    return where(greater(x, threshold), x - threshold, where(less(x, -threshold), x + threshold, 0.0))


def threshold(x: Any, threshold: float, default_value: float) -> Any:
    """x where x > threshold, else default_value."""
    x = as_float(x)
    return where(greater(x, threshold), x, default_value)


def sparse_plus(x: Any) -> Any:
    """0 where x <= -1, (x + 1)^2 / 4 between, x where x >= 1."""
    x = as_float(x)
    above = x + 1.0
    return where(less_equal(x, -1.0), 0.0, where(less(x, 1.0), 0.25 * (above * above), x))


def sparse_sigmoid(x: Any) -> Any:
    """0 where x <= -1, (x + 1) / 2 between, 1 where x >= 1."""
    x = as_float(x)
    return where(less_equal(x, -1.0), 0.0, where(less(x, 1.0), 0.5 * (x + 1.0), 1.0))


def mish(x: Any) -> Any:
    """x tanh(softplus(x)) (Misra, 2019)."""
    x = as_float(x)
    return x * tanh(softplus(x))


def squareplus(x: Any, b: float = 4) -> Any:
    """(x + sqrt(x^2 + b)) / 2 (Barron, 2021)."""
    x = as_float(x)
    return 0.5 * (x + sqrt(x * x + float(b)))


def celu(x: Any, alpha: float = 1.0) -> Any:
    """max(x, 0) + alpha (e^(min(x, 0) / alpha) - 1) (Barron, 2017)."""
    x = as_float(x)
    return maximum(x, 0.0) + alpha * (exp(minimum(x, 0.0) / alpha) - 1.0)


def glu(x: Any, axis: int = -1) -> Any:
    """a sigmoid(b), a and b the halves of x along `axis`, whose size is even (Dauphin et al., 2017).

    ShapeError for an odd size.
    """
    x = as_float(x)
    dims = spec_of(x).dims
    axis = axis_of(axis, len(dims))
    size = dims[axis]
    if isinstance(size, int) and size % 2:
        raise ShapeError(f"glu halves axis {axis} of {show(dims)}, whose size must be even")
    before, half = (slice(None),) * axis, size // 2
    return getitem(x, (*before, slice(0, half))) * sigmoid(getitem(x, (*before, slice(half, None))))


def sparsemax(x: Any, axis: int = -1) -> Any:
    """max(x - tau, 0), tau = (sum of s_k over the support - 1) / its size: shares of which many are 0.

    s_k is the sum of the k largest along `axis`, and the k-th largest is in the support where k times it is above
    s_k - 1. This is Keras's tau; that of Martins and Astudillo (2016) takes the last s_k alone, so shares of more than
    one place do not add up to 1 here.
    """
    x = as_float(x)
    axis = axis_of(axis, spec_of(x).rank)
    own, other = expand_dims(x, axis + 1), expand_dims(x, axis)
    places = arange(shape(x)[axis])
    earlier = greater_equal(expand_dims(places, 1), places)
    earlier = reshape(earlier, (*spec_of(earlier).dims, *[1] * (spec_of(x).rank - 1 - axis)))
    before = logical_or(greater(other, own), logical_and(equal(other, own), earlier))
    largest = sum(where(before, other, 0.0), axis + 1)
    rank = sum(cast(before, spec_of(x).dtype), axis + 1)
    support = greater(rank * x, largest - 1.0)
    size = sum(cast(support, spec_of(x).dtype), axis, keepdims=True)
    return relu(x - (sum(where(support, largest, 0.0), axis, keepdims=True) - 1.0) / size)
