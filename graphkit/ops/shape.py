"""Shapes: reshape, transpose, broadcast, concat, size. Sizes are fields of the op, with names where they are free."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np

from graphkit.core.dimension import Dimension, Size, count, floor_divide
from graphkit.core.dtypes import Array
from graphkit.core.errors import ShapeError
from graphkit.core.op import Builder, Op, Value, apply, spec_of
from graphkit.core.pieces import WORTH, Stages, at_once, ranges
from graphkit.core.pieces import count as pieces
from graphkit.core.spec import Sizes, Spec, axis_of, show
from graphkit.ops.convert import as_value


def fill(out: Any, value: Array) -> Array:
    """`value`, copied into `out` where one is given."""
    if out is None:
        return value
    np.copyto(out, value)
    return np.asarray(out)


class Reshape(Op):
    """x with other sizes, elements in row-major order.    (b, 3, 4) -> (b, 12)"""

    dims: Sizes
    view = True
    takes_text = True

    def infer(self, x: Spec) -> Spec:
        have, want = x.size, count(self.dims)
        if have != want and isinstance(have, int) and isinstance(want, int):
            raise ShapeError(f"cannot reshape {show(x.dims)} ({have} values) into {show(self.dims)} ({want})")
        return x.with_dims(self.dims)

    def forward(self, x: Array, out: Any = None) -> Any:
        if out is None or not out.flags.c_contiguous:
            return fill(out, x.reshape(self.dims))  # type: ignore[arg-type] # bound to numbers
        np.copyto(out.reshape(x.shape), x)
        return out

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        return (apply(Reshape(spec_of(ins[0]).dims), g),)

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        b.node("Reshape", [ins[0], b.sizes(self.dims)], outs, allowzero=1)


class Transpose(Op):
    """Axes in another order.    Its gradient is the inverse order."""

    axes: tuple[int, ...]
    view = True
    takes_text = True

    def infer(self, x: Spec) -> Spec:
        if sorted(self.axes) != list(range(x.rank)):
            raise ShapeError(f"axes {self.axes} are no order of the axes of {show(x.dims)}")
        return x.with_dims([x.dims[a] for a in self.axes])

    def forward(self, x: Array, out: Any = None) -> Any:
        return fill(out, x.transpose(self.axes))

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        return (apply(Transpose(tuple(int(a) for a in np.argsort(self.axes))), g),)

    def mask(self, ins: tuple[Any, ...], out: Value) -> Value | None:
        return ins[0].mask if self.axes[:2] == (0, 1) else None

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        b.node("Transpose", ins, outs, perm=list(self.axes))


class BroadcastTo(Op):
    """x repeated to `dims` by NumPy's rule.    The gradient sums over what was repeated."""

    dims: Sizes
    view = True
    takes_text = True

    def infer(self, x: Spec) -> Spec:
        if x.rank > len(self.dims):
            raise ShapeError(f"cannot broadcast {show(x.dims)} to {show(self.dims)}")
        for have, want in zip(x.dims[::-1], self.dims[::-1], strict=False):
            if have not in (1, want) and isinstance(have, int) and isinstance(want, int):
                raise ShapeError(f"cannot broadcast {show(x.dims)} to {show(self.dims)}")
        return x.with_dims(self.dims)

    def forward(self, x: Array, out: Any = None) -> Any:
        return fill(out, np.broadcast_to(x, self.dims))  # type: ignore[arg-type] # bound to numbers

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        return (unbroadcast(g, spec_of(ins[0]).dims),)

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        b.node("Expand", [ins[0], b.sizes(self.dims)], outs)


class SizeOf(Op):
    """How many elements x has along `axes`, as a number.    x: any shape -> ()"""

    axes: tuple[int, ...]
    dtype: str
    sizes_only = True
    differentiable = False
    takes_text = True

    def infer(self, x: Spec) -> Spec:
        return Spec((), np.dtype(self.dtype))

    def forward(self, x: Array, out: Any = None) -> Any:
        number = np.asarray(count([x.shape[a] for a in self.axes]), self.dtype)
        return fill(out, number)

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        sizes = b.emit("Gather", b.emit("Shape", ins[0]), b.constant(list(self.axes)))
        b.node("Cast", [b.emit("ReduceProd", sizes, keepdims=0)], outs, to=self.dtype)


def is_free(spec: Spec) -> bool:
    return any(isinstance(d, Dimension) for d in spec.dims)


WIDE = 8


class Sum(Op):
    """The sum over `axes`, which stay with size 1."""

    axes: tuple[int, ...]

    def infer(self, x: Spec) -> Spec:
        return x.with_dims([1 if i in self.axes else d for i, d in enumerate(x.dims)])

    def by_rows(self, out: Array, *ins: Array) -> tuple[bool, ...] | None:
        return None if 0 in self.axes else (True,)

    def scratch(self, x: Spec) -> tuple[Spec, ...]:
        """For a long sum of rows: ones, which rows are multiplied with, and the sums of some rows each."""
        lead = len(self.axes)
        rows, width = prod(x.numbers[:lead]), prod(x.numbers[lead:])
        if x.dtype.kind != "f" or self.axes != tuple(range(lead)) or width < WIDE or rows * width < WORTH:
            return ()
        parts = pieces(rows * width, rows * width)
        return x.with_dims((1, -(-rows // parts))), x.with_dims((parts, width))

    def stages(self, ins: Sequence[Array], out: Any, scratch: tuple[Array, ...]) -> Stages:
        (x,) = ins
        if not scratch or not x.flags.c_contiguous:
            return super().stages(ins, out, scratch)
        ones, sums = scratch
        rows = x.reshape(-1, sums.shape[1])
        cuts = ranges(len(rows), len(sums))
        stages: Stages = [[partial(_add_rows, ones, rows[cut], sums[i : i + 1]) for i, cut in enumerate(cuts)]]
        return [*stages, [partial(np.add.reduce, sums[: len(cuts)], axis=0, out=out.reshape(-1))]]

    def forward(self, x: Array, out: Any = None, scratch: Any = None) -> Any:
        if scratch and x.flags.c_contiguous:
            out = np.empty(self.infer(spec_of(x)).numbers, x.dtype) if out is None else out
            at_once(self.stages((x,), out, scratch))()
            return out
        return np.add.reduce(x, axis=self.axes, keepdims=True, dtype=x.dtype, out=out)

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        return (apply(BroadcastTo(spec_of(ins[0]).dims), g),)

    def mask(self, ins: tuple[Any, ...], out: Value) -> Value | None:
        return None if {0, 1} & set(self.axes) else super().mask(ins, out)

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        b.node("ReduceSum", [ins[0], b.constant(list(self.axes))], outs, keepdims=1)


def _add_rows(ones: Array, rows: Array, out: Array) -> None:
    ones[...] = 1
    np.matmul(ones[:, : len(rows)], rows, out=out)


def unbroadcast(g: Any, dims: Sizes) -> Any:
    """g summed over the axes along which an operand of sizes `dims` was repeated."""
    have = spec_of(g).dims
    extra = len(have) - len(dims)
    axes = [*range(extra), *(i + extra for i, d in enumerate(dims) if d == 1 and have[i + extra] != 1)]
    if axes:
        g = apply(Sum(tuple(axes)), g)
    return g if spec_of(g).dims == tuple(dims) else apply(Reshape(tuple(dims)), g)


# functions


def _wanted(x: Any, shape: Sequence[Any]) -> Sizes:
    """The sizes of `shape`, its one -1 worked out, symbolic sizes taken as they are."""
    dims = [getattr(d, "size_of", d) for d in shape]
    if sum(isinstance(d, int) and d == -1 for d in dims) > 1:
        raise ShapeError(f"cannot reshape into {tuple(shape)}: only one size may be -1")
    if -1 in dims:
        known = count([d for d in dims if not (isinstance(d, int) and d == -1)])
        total = spec_of(x).size
        if known == 0 or (isinstance(total, int) and isinstance(known, int) and total % known):
            raise ShapeError(f"cannot reshape {show(spec_of(x).dims)} into {tuple(shape)}")
        dims[dims.index(-1)] = floor_divide(total, known)
    return tuple(dims)


def reshape(x: Any, newshape: Any) -> Any:
    """x with other sizes; one of them may be -1."""
    x = as_value(x)
    return apply(Reshape(_wanted(x, [newshape] if isinstance(newshape, int) else newshape)), x)


def transpose(x: Any, axes: Sequence[int] | None = None) -> Any:
    """Axes in another order; reversed where none is given."""
    x = as_value(x)
    rank = spec_of(x).rank
    order = range(rank)[::-1] if axes is None else [axis_of(a, rank) for a in axes]
    return apply(Transpose(tuple(order)), x)


def broadcast_to(x: Any, shape: Sequence[Any]) -> Any:
    """x repeated to `shape` by NumPy's rule."""
    return apply(BroadcastTo(tuple(getattr(d, "size_of", d) for d in shape)), as_value(x))


def expand_dims(x: Any, axis: int) -> Any:
    """x with an axis of size 1 put at `axis`."""
    x = as_value(x)
    dims = list(spec_of(x).dims)
    dims.insert(axis_of(axis, len(dims) + 1), 1)
    return apply(Reshape(tuple(dims)), x)


def squeeze(x: Any, axis: int | Sequence[int] | None = None) -> Any:
    """x without its axes of size 1, all where none is given; ShapeError where one is free or another size."""
    x = as_value(x)
    dims = spec_of(x).dims
    if axis is None and is_free(spec_of(x)):
        raise ShapeError(f"squeeze of {show(dims)} needs the axes: a free size may be 1")
    asked = [i for i, d in enumerate(dims) if d == 1] if axis is None else [axis] if isinstance(axis, int) else axis
    axes = [axis_of(a, len(dims)) for a in asked]
    if any(dims[a] != 1 for a in axes):
        raise ShapeError(f"cannot squeeze axis {axis} of {show(dims)}: its size is not 1")
    return apply(Reshape(tuple(d for i, d in enumerate(dims) if i not in axes)), x)


def shape(x: Any) -> tuple[Any, ...]:
    """The sizes of x: integers, and for each free one an integer value usable in `reshape` and arithmetic."""
    x = as_value(x)
    return tuple(_size_value(x, i, d) for i, d in enumerate(spec_of(x).dims))


def _size_value(x: Any, axis: int, size: Size) -> Any:
    if isinstance(size, int):
        return size
    value = apply(SizeOf((axis,), "int64"), x)
    value.size_of = size
    return value
