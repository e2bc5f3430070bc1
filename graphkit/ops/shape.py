"""Shapes: reshape, transpose, broadcast, concat, size. Sizes are fields of the op, with names where they are free."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphkit.core.dimension import Dimension, Size, count, floor_divide
from graphkit.core.dtypes import Array
from graphkit.core.errors import ShapeError
from graphkit.core.op import Builder, Op, Value, apply, spec_of
from graphkit.core.spec import Sizes, Spec, axis_of, show
from graphkit.ops.convert import as_value, promote


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


class Concat(Op):
    """Arrays joined along `axis`.    (3, 2), (3, 5) -> (3, 7).    The gradient is cut into the same pieces."""

    axis: int

    def infer(self, *xs: Spec) -> Spec:
        first = xs[0]
        axis = axis_of(self.axis, first.rank)
        for x in xs[1:]:
            same = x.rank == first.rank and all(
                a == b or i == axis or not (isinstance(a, int) and isinstance(b, int))
                for i, (a, b) in enumerate(zip(x.dims, first.dims, strict=True))
            )
            if not same:
                raise ShapeError(
                    f"cannot concatenate {show(first.dims)} with {show(x.dims)} along axis {self.axis}: "
                    "all other axes must be equal"
                )
        total: Size = 0
        for x in xs:
            total = total + x.dims[axis]
        return first.with_dims((*first.dims[:axis], total, *first.dims[axis + 1 :]))

    def forward(self, *xs: Array, out: Any = None) -> Any:
        return np.concatenate(xs, axis=self.axis, out=out)

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        axis = axis_of(self.axis, spec_of(g).rank)
        pieces: list[Any] = []
        start: Size = 0
        for x in ins:
            size = spec_of(x).dims[axis]
            pieces.append(apply(Slice(axis, start, start + size, 1), g))
            start = start + size
        return tuple(pieces)

    def mask(self, ins: tuple[Any, ...], out: Value) -> Value | None:
        axis = self.axis % out.ndim
        if axis > 1:
            return super().mask(ins, out)
        masks = [x.mask if getattr(x, "mask", None) is not None else _all_true(x) for x in ins]
        return apply(Concat(axis), *masks)  # type: ignore[no-any-return] # one value

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        b.node("Concat", ins, outs, axis=self.axis)


def _all_true(x: Any) -> Any:
    spec = spec_of(x)
    return apply(BroadcastTo(spec.dims[:2]), np.ones((1, 1), bool)) if _free(spec) else np.ones(spec.dims[:2], bool)


def _free(spec: Spec) -> bool:
    return any(isinstance(d, Dimension) for d in spec.dims)


class Slice(Op):
    """x[start:stop:step] along one axis; stop is a size, step is positive.    The gradient is zero outside."""

    axis: int
    start: Size
    stop: Size
    step: int
    view = True

    def infer(self, x: Spec) -> Spec:
        length = floor_divide(self.stop - self.start + (self.step - 1), self.step)
        size, ends = x.dims[self.axis], (self.start, self.stop)
        beyond = isinstance(size, int) and any(isinstance(e, int) and not 0 <= e <= size for e in ends)
        if beyond or (isinstance(length, int) and length < 0):
            raise ShapeError(f"cannot take [{self.start}:{self.stop}] of axis {self.axis} of {show(x.dims)}")
        return x.with_dims((*x.dims[: self.axis], length, *x.dims[self.axis + 1 :]))

    def _index(self) -> tuple[slice, ...]:
        return (*[slice(None)] * self.axis, slice(self.start, self.stop, self.step))

    def forward(self, x: Array, out: Any = None) -> Any:
        return fill(out, x[self._index()])

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        dims = spec_of(ins[0]).dims
        return (apply(Unslice(self.axis, self.start, self.stop, self.step, dims[self.axis]), g),)

    def mask(self, ins: tuple[Any, ...], out: Value) -> Value | None:
        return ins[0].mask if self.axis > 1 else apply(self, ins[0].mask)  # type: ignore[no-any-return] # a value

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        bounds = [b.sizes([self.start]), b.sizes([self.stop])]
        b.node("Slice", [ins[0], *bounds, b.constant([self.axis]), b.constant([self.step])], outs)


class Unslice(Op):
    """Zeros of size `size` along `axis` with x at [start:stop:step]: the gradient of a slice."""

    axis: int
    start: Size
    stop: Size
    step: int
    size: Size

    def infer(self, x: Spec) -> Spec:
        return x.with_dims((*x.dims[: self.axis], self.size, *x.dims[self.axis + 1 :]))

    def forward(self, x: Array, out: Any = None) -> Any:
        if out is None:
            out = np.empty((*x.shape[: self.axis], self.size, *x.shape[self.axis + 1 :]), x.dtype)
        out[...] = 0
        out[(*[slice(None)] * self.axis, slice(self.start, self.stop, self.step))] = x
        return np.asarray(out)

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        return (apply(Slice(self.axis, self.start, self.stop, self.step), g),)

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        spec = b.spec(ins[0])
        if self.step == 1:
            before = [0] * spec.rank
            after: list[Size] = [0] * spec.rank
            after[self.axis] = self.size - self.stop
            start: list[Size] = list(before)
            start[self.axis] = self.start
            b.node("Pad", [ins[0], b.sizes([*start, *after])], outs)
            return
        front = [self.axis, *(a for a in range(spec.rank) if a != self.axis)]
        moved = b.emit("Transpose", ins[0], perm=front)
        dims = self.infer(spec).dims
        zero = b.emit("Expand", b.constant(0, spec.dtype), b.sizes([dims[a] for a in front]))
        steps = [b.emit("Squeeze", b.sizes([s])) for s in (self.start, self.stop)]
        rows = b.emit("Range", *steps, b.constant(self.step))
        put = b.emit("ScatterND", zero, b.emit("Unsqueeze", rows, b.constant([1])), moved)
        b.node("Transpose", [put], outs, perm=[int(a) for a in np.argsort(front)])


class Flip(Op):
    """x with the order along `axis` reversed.    It is its own gradient."""

    axis: int
    view = True

    def infer(self, x: Spec) -> Spec:
        axis_of(self.axis, x.rank)
        return x

    def forward(self, x: Array, out: Any = None) -> Any:
        return fill(out, np.flip(x, self.axis))

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        return (apply(self, g),)

    def mask(self, ins: tuple[Any, ...], out: Value) -> Value | None:
        return ins[0].mask if self.axis > 1 else apply(self, ins[0].mask)  # type: ignore[no-any-return] # a value

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        lowest = np.iinfo(np.int64).min
        b.node("Slice", [ins[0], *map(b.constant, ([-1], [lowest], [self.axis], [-1]))], outs)


class SizeOf(Op):
    """How many elements x has along `axes`, as a number.    x: any shape -> ()"""

    axes: tuple[int, ...]
    dtype: str
    sizes_only = True
    differentiable = False

    def infer(self, x: Spec) -> Spec:
        return Spec((), np.dtype(self.dtype))

    def forward(self, x: Array, out: Any = None) -> Any:
        number = np.asarray(count([x.shape[a] for a in self.axes]), self.dtype)
        return fill(out, number)

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        sizes = b.emit("Gather", b.emit("Shape", ins[0]), b.constant(list(self.axes)))
        b.node("Cast", [b.emit("ReduceProd", sizes, keepdims=0)], outs, to=self.dtype)


def unbroadcast(g: Any, dims: Sizes) -> Any:
    """g summed over the axes along which an operand of sizes `dims` was repeated."""
    have = spec_of(g).dims
    extra = len(have) - len(dims)
    axes = [*range(extra), *(i + extra for i, d in enumerate(dims) if d == 1 and have[i + extra] != 1)]
    if axes:
        g = apply(Sum(tuple(axes)), g)
    return g if spec_of(g).dims == tuple(dims) else apply(Reshape(tuple(dims)), g)


class Sum(Op):
    """The sum over `axes`, which stay with size 1."""

    axes: tuple[int, ...]

    def infer(self, x: Spec) -> Spec:
        return x.with_dims([1 if i in self.axes else d for i, d in enumerate(x.dims)])

    def forward(self, x: Array, out: Any = None) -> Any:
        return np.add.reduce(x, axis=self.axes, keepdims=True, dtype=x.dtype, out=out)

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        return (apply(BroadcastTo(spec_of(ins[0]).dims), g),)

    def mask(self, ins: tuple[Any, ...], out: Value) -> Value | None:
        return None if {0, 1} & set(self.axes) else super().mask(ins, out)

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        b.node("ReduceSum", [ins[0], b.constant(list(self.axes))], outs, keepdims=1)


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


def concatenate(xs: Sequence[Any], axis: int = 0) -> Any:
    """Arrays joined along `axis`."""
    values = promote(*xs)
    return apply(Concat(axis_of(axis, spec_of(values[0]).rank)), *values)


def expand_dims(x: Any, axis: int) -> Any:
    """x with an axis of size 1 put at `axis`."""
    x = as_value(x)
    dims = list(spec_of(x).dims)
    dims.insert(axis_of(axis, len(dims) + 1), 1)
    return apply(Reshape(tuple(dims)), x)


def squeeze(x: Any, axis: int | Sequence[int] | None = None) -> Any:
    """x without its axes of size 1; all of them where none is given, for which no size may be free."""
    x = as_value(x)
    dims = spec_of(x).dims
    if axis is None and _free(spec_of(x)):
        raise ShapeError(f"squeeze of {show(dims)} needs the axes: a free size may be 1")
    asked = [i for i, d in enumerate(dims) if d == 1] if axis is None else [axis] if isinstance(axis, int) else axis
    axes = [axis_of(a, len(dims)) for a in asked]
    if any(dims[a] != 1 for a in axes):
        raise ShapeError(f"cannot squeeze axis {axis} of {show(dims)}: its size is not 1")
    return apply(Reshape(tuple(d for i, d in enumerate(dims) if i not in axes)), x)


def stack(xs: Sequence[Any], axis: int = 0) -> Any:
    """Arrays of one shape along a new axis."""
    return concatenate([expand_dims(x, axis) for x in xs], axis)


def flip(x: Any, axis: int | Sequence[int] | None = None) -> Any:
    """x with the order along `axis` reversed, along each axis where none is given."""
    x = as_value(x)
    rank = spec_of(x).rank
    for a in range(rank) if axis is None else [axis] if isinstance(axis, int) else axis:
        x = apply(Flip(axis_of(a, rank)), x)
    return x


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
