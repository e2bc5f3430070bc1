"""Reductions over axes: sums, means, norms, extremes and where they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from graphkit.core.dimension import count
from graphkit.core.dtypes import Array
from graphkit.core.errors import ArgumentError, ShapeError
from graphkit.core.op import Builder, Op, Value, apply, spec_of
from graphkit.core.spec import Spec, axis_of, show
from graphkit.ops.compare import equal, not_equal
from graphkit.ops.convert import as_float, as_value, cast
from graphkit.ops.elementwise import absolute, exp, log, power, sqrt, square, where
from graphkit.ops.shape import Reshape, SizeOf, Sum, fill, squeeze

Axis = int | Sequence[int] | None


class Reduction(Op):
    """One number for all elements over `axes`, which stay with size 1."""

    axes: tuple[int, ...]
    ufunc: ClassVar[Any]

    def infer(self, x: Spec) -> Spec:
        return x.with_dims([1 if i in self.axes else d for i, d in enumerate(x.dims)])

    def forward(self, x: Array, out: Any = None) -> Any:
        return type(self).ufunc.reduce(x, axis=self.axes, keepdims=True, dtype=x.dtype, out=out)

    def by_rows(self, out: Array, *ins: Array) -> tuple[bool, ...] | None:
        return None if 0 in self.axes else (True,)

    def mask(self, ins: tuple[Any, ...], out: Value) -> Value | None:
        return None if {0, 1} & set(self.axes) else super().mask(ins, out)

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        if b.opset >= 18:
            b.node(self.onnx_type, [ins[0], b.constant(list(self.axes))], outs, keepdims=1)
        else:
            b.node(self.onnx_type, ins, outs, axes=list(self.axes), keepdims=1)


class Extreme(Reduction):
    """The largest or smallest element.    The cotangent is split equally among equal elements."""

    def infer(self, x: Spec) -> Spec:
        if 0 in [x.dims[a] for a in self.axes]:
            raise ShapeError(f"{self.name.lower()} over no elements: axes {self.axes} of shape {show(x.dims)}")
        return super().infer(x)

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        hit = equal(ins[0], out)
        share = g / apply(Sum(self.axes), cast(hit, spec_of(g).dtype))
        return (where(hit, share, 0.0),)


class Max(Extreme):
    """The largest element over `axes`, which stay with size 1."""

    ufunc = np.maximum
    onnx_type = "ReduceMax"


class Min(Extreme):
    """The smallest element over `axes`, which stay with size 1."""

    ufunc = np.minimum
    onnx_type = "ReduceMin"


class ArgMax(Op):
    """The place of the first largest element along `axis`, as int64.    (b, n) -> (b,)"""

    axis: int
    onnx_type = "ArgMax"
    find: ClassVar[Callable[..., Any]] = np.argmax
    differentiable = False

    def infer(self, x: Spec) -> Spec:
        if x.dims[self.axis] == 0:
            raise ShapeError(f"{self.name.lower()} over no elements: axis {self.axis} of shape {show(x.dims)}")
        return Spec(x.dims[: self.axis] + x.dims[self.axis + 1 :], np.dtype("int64"))

    def forward(self, x: Array, out: Any = None) -> Any:
        return fill(out, type(self).find(x, axis=self.axis))

    def mask(self, ins: tuple[Any, ...], out: Value) -> Value | None:
        return super().mask(ins, out) if self.axis > 1 else None

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        b.node(self.onnx_type, ins, outs, axis=self.axis, keepdims=0)


class ArgMin(ArgMax):
    """The place of the first smallest element along `axis`, as int64.    (b, n) -> (b,)"""

    onnx_type = "ArgMin"
    find = np.argmin


# functions


def axes_of(x: Any, axis: Axis) -> tuple[int, ...]:
    """The axes in order, not negative; all where none is given."""
    rank = spec_of(x).rank
    if axis is None:
        return tuple(range(rank))
    listed = [axis] if isinstance(axis, int) else axis
    return tuple(sorted(axis_of(a, rank) for a in listed))


def reduced(op: Callable[[tuple[int, ...]], Op], x: Any, axis: Axis, keepdims: bool) -> Any:
    """`op` over the axes, which go away unless they are kept."""
    axes = axes_of(x, axis)
    if not axes:
        return x
    kept = apply(op(axes), x)
    return kept if keepdims else squeeze(kept, axes)


def sum(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The sum over axes; booleans are counted in int32."""
    x = as_value(x)
    if spec_of(x).dtype.kind == "b":
        x = cast(x, "int32")
    return reduced(Sum, x, axis, keepdims)


def max(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The largest element over axes."""
    return reduced(Max, as_value(x), axis, keepdims)


def min(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The smallest element over axes."""
    return reduced(Min, as_value(x), axis, keepdims)


def size_over(x: Any, axes: tuple[int, ...], dtype: Any) -> Any:
    """How many elements x has along `axes`: a number, or a value where it is free."""
    total = count([spec_of(x).dims[a] for a in axes])
    return total if isinstance(total, int) else apply(SizeOf(axes, np.dtype(dtype).name), x)


def mean(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """sum(x) / n."""
    x = as_float(x)
    return sum(x, axis, keepdims) / size_over(x, axes_of(x, axis), spec_of(x).dtype)


def variance(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """mean((x - mean(x))^2)."""
    x = as_float(x)
    centred = x - mean(x, axis, keepdims=True)
    return mean(centred * centred, axis, keepdims)


def std(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """sqrt(variance(x)); the gradient of equal elements is 0."""
    return _root(variance(x, axis, keepdims), 2)


def moments(x: Any, axes: Axis, keepdims: bool = False) -> tuple[Any, Any]:
    """(mean(x), variance(x)) over `axes`."""
    return mean(x, axes, keepdims), variance(x, axes, keepdims)


def _root(x: Any, order: float) -> Any:
    """x^(1 / order), with the gradient 0 where x is 0"""
    zero = equal(x, 0.0)
    filled = where(zero, 1.0, x)
    return where(zero, 0.0, sqrt(filled) if order == 2 else power(filled, 1.0 / order))


def norm(x: Any, ord: float | str | None = None, axis: Axis = None, keepdims: bool = False) -> Any:
    """sum(|x|^ord)^(1 / ord), its gradient 0 where it is 0; ord 0 counts, inf and -inf take the extreme |x|.

    Without ord, and with "fro" over two axes, the root of the sum of squares; of two axes 1 and inf are the largest
    sum of a column and of a row, -1 and -inf the smallest. ArgumentError for what needs singular values.
    """
    x = as_float(x)
    axes = axes_of(x, axis)
    if ord is None or (ord == "fro" and len(axes) == 2) or (ord == 2 and len(axes) == 1):
        return _root(sum(square(x), axis, keepdims), 2)
    if isinstance(ord, str) or len(axes) > 2 or (len(axes) == 2 and ord not in (1, -1, math.inf, -math.inf)):
        raise ArgumentError(f"norm: ord {ord!r} over {len(axes)} axes is not one of those computed without eigenvalues")
    size = absolute(x)
    extreme = max if ord > 0 else min
    if len(axes) == 2:
        rows, columns = axes if axis is None or isinstance(axis, int) else (axis_of(a, spec_of(x).rank) for a in axis)
        over, along = (rows, columns) if abs(ord) == 1 else (columns, rows)
        found = extreme(sum(size, over, True), along, True)
        return found if keepdims else squeeze(found, axes)
    if math.isinf(ord):
        return extreme(size, axis, keepdims)
    if ord in (0, 1):
        return sum(size if ord else cast(not_equal(x, 0.0), spec_of(x).dtype), axis, keepdims)
    return _root(sum(power(size, ord), axis, keepdims), ord)


def all(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Whether each element is true."""
    return cast(min(cast(cast(x, "bool"), "int32"), axis, keepdims), "bool")


def any(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Whether one element is true."""
    return cast(max(cast(cast(x, "bool"), "int32"), axis, keepdims), "bool")


def count_nonzero(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """How many elements are not zero, as int32."""
    return sum(not_equal(x, 0), axis, keepdims)


def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """The place of the first largest element along `axis`, in row-major order where none is given, as int64."""
    return _place(ArgMax, x, axis, keepdims)


def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """The place of the first smallest element along `axis`, in row-major order where none is given, as int64."""
    return _place(ArgMin, x, axis, keepdims)


def _place(op: Callable[[int], Op], x: Any, axis: int | None, keepdims: bool) -> Any:
    x = as_value(x)
    dims = spec_of(x).dims
    if axis is None:
        found = apply(op(0), apply(Reshape((count(dims),)), x))
        return apply(Reshape((1,) * len(dims)), found) if keepdims else found
    axis = axis_of(axis, len(dims))
    found = apply(op(axis), x)
    return apply(Reshape((*dims[:axis], 1, *dims[axis + 1 :])), found) if keepdims else found


def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """log(sum(exp(x))), shifted by the largest element so that it does not overflow; -inf has the gradient 0."""
    x = as_float(x)
    top = reduced(Max, x, axis, True)
    finite = where(equal(top - top, 0.0), top, 0.0)
    total = sum(exp(x - finite), axis, True)
    none = equal(total, 0.0)
    total = where(none, -math.inf, log(where(none, 1.0, total)) + finite)
    return total if keepdims else squeeze(total, axes_of(x, axis))


FAMILY: Sequence[type[Op]] = (Sum, Max, Min, ArgMax, ArgMin)
