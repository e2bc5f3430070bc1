"""Reductions over axes: sums, means, extremes and where they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from graphkit.core.dimension import count
from graphkit.core.dtypes import Array
from graphkit.core.errors import ShapeError
from graphkit.core.op import Builder, Op, Value, apply, spec_of
from graphkit.core.spec import Spec, axis_of, show
from graphkit.ops.compare import equal
from graphkit.ops.convert import as_float, as_value, cast
from graphkit.ops.elementwise import exp, log, where
from graphkit.ops.shape import Reshape, SizeOf, Sum, fill

Axis = int | Sequence[int] | None


class Extreme(Op):
    """The largest or smallest element over `axes`, which stay with size 1.

    The cotangent is split equally among equal elements.
    """

    axes: tuple[int, ...]
    ufunc: ClassVar[Any]

    def infer(self, x: Spec) -> Spec:
        if 0 in [x.dims[a] for a in self.axes]:
            raise ShapeError(f"{self.name.lower()} over no elements: axes {self.axes} of shape {show(x.dims)}")
        return x.with_dims([1 if i in self.axes else d for i, d in enumerate(x.dims)])

    def forward(self, x: Array, out: Any = None) -> Any:
        return type(self).ufunc.reduce(x, axis=self.axes, keepdims=True, out=out)

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        hit = equal(ins[0], out)
        share = g / apply(Sum(self.axes), cast(hit, spec_of(g).dtype))
        return (where(hit, share, 0.0),)

    def mask(self, ins: tuple[Any, ...], out: Value) -> Value | None:
        return None if {0, 1} & set(self.axes) else super().mask(ins, out)

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        if b.opset >= 18:
            b.node(self.onnx_type, [ins[0], b.constant(list(self.axes))], outs, keepdims=1)
        else:
            b.node(self.onnx_type, ins, outs, axes=list(self.axes), keepdims=1)


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
    differentiable = False

    def infer(self, x: Spec) -> Spec:
        if x.dims[self.axis] == 0:
            raise ShapeError(f"argmax over no elements: axis {self.axis} of shape {show(x.dims)}")
        return Spec(x.dims[: self.axis] + x.dims[self.axis + 1 :], np.dtype("int64"))

    def forward(self, x: Array, out: Any = None) -> Any:
        return fill(out, np.argmax(x, axis=self.axis))

    def mask(self, ins: tuple[Any, ...], out: Value) -> Value | None:
        return super().mask(ins, out) if self.axis > 1 else None

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        b.node("ArgMax", ins, outs, axis=self.axis, keepdims=0)


# functions


def _axes(x: Any, axis: Axis) -> tuple[int, ...]:
    rank = spec_of(x).rank
    if axis is None:
        return tuple(range(rank))
    listed = [axis] if isinstance(axis, int) else axis
    return tuple(sorted(axis_of(a, rank) for a in listed))


def _reduced(op: Callable[[tuple[int, ...]], Op], x: Any, axis: Axis, keepdims: bool) -> Any:
    axes = _axes(x, axis)
    if not axes:
        return x
    kept = apply(op(axes), x)
    if keepdims:
        return kept
    dims = tuple(d for i, d in enumerate(spec_of(x).dims) if i not in axes)
    return apply(Reshape(dims), kept)


def sum(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The sum over axes; booleans are counted in int32."""
    x = as_value(x)
    if spec_of(x).dtype.kind == "b":
        x = cast(x, "int32")
    return _reduced(Sum, x, axis, keepdims)


def max(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The largest element over axes."""
    return _reduced(Max, as_value(x), axis, keepdims)


def min(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The smallest element over axes."""
    return _reduced(Min, as_value(x), axis, keepdims)


def size_over(x: Any, axes: tuple[int, ...], dtype: Any) -> Any:
    """How many elements x has along `axes`: a number, or a value where it is free."""
    total = count([spec_of(x).dims[a] for a in axes])
    return total if isinstance(total, int) else apply(SizeOf(axes, np.dtype(dtype).name), x)


def mean(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """sum(x) / n"""
    x = as_float(x)
    return sum(x, axis, keepdims) / size_over(x, _axes(x, axis), spec_of(x).dtype)


def variance(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """mean((x - mean(x))^2)"""
    x = as_float(x)
    centred = x - mean(x, axis, keepdims=True)
    return mean(centred * centred, axis, keepdims)


def all(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Whether each element is true."""
    return cast(min(cast(cast(x, "bool"), "int32"), axis, keepdims), "bool")


def any(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Whether one element is true."""
    return cast(max(cast(cast(x, "bool"), "int32"), axis, keepdims), "bool")


def argmax(x: Any, axis: int = -1) -> Any:
    """The place of the first largest element along `axis`, as int64."""
    x = as_value(x)
    return apply(ArgMax(axis_of(axis, spec_of(x).rank)), x)


def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """log(sum(exp(x))), shifted by the largest element so that it does not overflow"""
    x = as_float(x)
    top = _reduced(Max, x, axis, True)
    finite = where(equal(top - top, 0.0), top, 0.0)
    total = log(sum(exp(x - finite), axis, True)) + finite
    if keepdims:
        return total
    axes = _axes(x, axis)
    return apply(Reshape(tuple(d for i, d in enumerate(spec_of(x).dims) if i not in axes)), total)


FAMILY: Sequence[type[Op]] = (Sum, Max, Min, ArgMax)
