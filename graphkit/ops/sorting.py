"""Order and running totals along an axis: the k largest, sorting, products, cumulative sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphkit.core.dimension import Size, count
from graphkit.core.dtypes import Array, is_float
from graphkit.core.errors import ShapeError
from graphkit.core.op import Builder, Op, Value, apply, spec_of
from graphkit.core.spec import Spec, axis_of, show
from graphkit.ops.arrange import moveaxis
from graphkit.ops.control import scan
from graphkit.ops.convert import as_value, cast
from graphkit.ops.create import ones_like
from graphkit.ops.elements import AddElements
from graphkit.ops.reduce import Axis, Reduction, reduced, sum
from graphkit.ops.shape import Reshape, fill, reshape


class TopK(Op):
    """The k largest (or smallest) along `axis` in order, and their places, as int64; of equal ones the first is first.

    (b, n) -> (b, k), (b, k).    The cotangents go back to the places.
    """

    k: Size
    axis: int
    largest: bool = True

    @property
    def outputs(self) -> int:
        return 2

    def infer(self, x: Spec) -> tuple[Spec, Spec]:
        size = x.dims[self.axis]
        if isinstance(size, int) and isinstance(self.k, int) and not 0 <= self.k <= size:
            raise ShapeError(f"cannot take the first {self.k} along axis {self.axis} of {show(x.dims)}")
        found = x.with_dims((*x.dims[: self.axis], self.k, *x.dims[self.axis + 1 :]))
        return found, found.with_dtype("int64")

    def forward(self, x: Array, out: Any = None) -> Any:
        if self.largest:
            behind = np.flip(np.argsort(np.flip(x, self.axis), self.axis, kind="stable"), self.axis)
            order = x.shape[self.axis] - 1 - behind
        else:
            order = np.argsort(x, self.axis, kind="stable")
        places = np.moveaxis(np.moveaxis(order, self.axis, 0)[: self.k], 0, self.axis)
        values = np.take_along_axis(x, places, self.axis)
        return tuple(map(fill, (None, None) if out is None else out, (values, places)))

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        if not is_float(spec_of(ins[0]).dtype):
            return (None,)
        return (apply(AddElements(self.axis, spec_of(ins[0]).dims[self.axis]), g[0], out[1]),)

    def mask(self, ins: tuple[Any, ...], out: Value) -> Value | None:
        return super().mask(ins, out) if self.axis > 1 else None

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        b.node("TopK", [ins[0], b.sizes([self.k])], outs, axis=self.axis, largest=int(self.largest))


class CumSum(Op):
    """The sum of all up to each one along `axis`; `reverse`: from each one on.    The gradient runs the other way."""

    axis: int
    reverse: bool = False

    def infer(self, x: Spec) -> Spec:
        return x

    def forward(self, x: Array, out: Any = None) -> Any:
        if not self.reverse:
            return np.cumsum(x, self.axis, dtype=x.dtype, out=out)
        return fill(out, np.flip(np.cumsum(np.flip(x, self.axis), self.axis, dtype=x.dtype), self.axis))

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        return (apply(CumSum(self.axis, not self.reverse), g) if is_float(spec_of(ins[0]).dtype) else None,)

    def mask(self, ins: tuple[Any, ...], out: Value) -> Value | None:
        return super().mask(ins, out) if self.axis > 1 else None

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        b.node("CumSum", [ins[0], b.constant(self.axis)], outs, reverse=int(self.reverse))


class Prod(Reduction):
    """The product over `axes`, which stay with size 1.    d/dx = the product of the others, of zeros too"""

    ufunc = np.multiply
    onnx_type = "ReduceProd"

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        if not is_float(spec_of(ins[0]).dtype):
            return (None,)
        places = tuple(range(len(self.axes)))
        moved = moveaxis(ins[0], self.axes, places)
        dims = spec_of(moved).dims
        rows = apply(Reshape((count(dims[: len(places)]), *dims[len(places) :])), moved)
        ones = ones_like(sum(rows, 0))
        before, behind = (scan(_held, (), (ones,), (rows,), reverse)[1] for reverse in (False, True))
        return (g * moveaxis(apply(Reshape(dims), before * behind), places, self.axes),)


def _held(total: Any, x: Any) -> tuple[Any, Any]:
    return total * x, total


# functions


def prod(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The product over axes; booleans are counted in int32."""
    x = as_value(x)
    return reduced(Prod, cast(x, "int32") if spec_of(x).dtype.kind == "b" else x, axis, keepdims)


def _along(x: Any, axis: int | None) -> tuple[Any, int]:
    """x and the axis; its elements in row-major order where none is given. Booleans as int32."""
    x = as_value(x)
    x = cast(x, "int32") if spec_of(x).dtype.kind == "b" else x
    return (reshape(x, -1), 0) if axis is None else (x, axis_of(axis, spec_of(x).rank))


def top_k(x: Any, k: int, sorted: bool = True) -> tuple[Any, Any]:
    """The k largest of the last axis, the largest first, and their places."""
    x, axis = _along(x, -1)
    values, places = apply(TopK(k, axis), x)
    return values, places


def _ordered(x: Any, axis: int | None) -> tuple[Any, Any]:
    x, axis = _along(x, axis)
    values, places = apply(TopK(spec_of(x).dims[axis], axis, False), x)
    return values, places


def sort(x: Any, axis: int | None = -1) -> Any:
    """From the smallest to the largest along `axis`."""
    return cast(_ordered(x, axis)[0], spec_of(as_value(x)).dtype)


def argsort(x: Any, axis: int | None = -1) -> Any:
    """The places that sort x along `axis`, as int64; equal elements keep their order."""
    return _ordered(x, axis)[1]


def cumsum(x: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """The sum of all up to each one along `axis`."""
    x, axis = _along(x, axis)
    return apply(CumSum(axis), x if dtype is None else cast(x, dtype))


def cumprod(x: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """The product of all up to each one along `axis`."""
    x, axis = _along(x if dtype is None else cast(x, dtype), axis)
    rows = moveaxis(x, axis, 0)
    return moveaxis(scan(_grown, (), (ones_like(sum(rows, 0)),), (rows,))[1], 0, axis)


def _grown(total: Any, x: Any) -> tuple[Any, Any]:
    total = total * x
    return total, total


FAMILY: Sequence[type[Op]] = (TopK, CumSum, Prod)
