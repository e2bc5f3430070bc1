"""Arrays joined, and parts of them: concatenation, slices, flips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphkit.core.dimension import Size, floor_divide
from graphkit.core.dtypes import Array
from graphkit.core.errors import ShapeError
from graphkit.core.op import Builder, Op, Value, apply, spec_of
from graphkit.core.spec import Spec, axis_of, show
from graphkit.ops.convert import as_value, promote
from graphkit.ops.shape import BroadcastTo, expand_dims, fill, is_free


class Concat(Op):
    """Arrays joined along `axis`.    (3, 2), (3, 5) -> (3, 7).    The gradient is cut into the same pieces."""

    axis: int
    takes_text = True

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
                    "all other axes must be equal; layers.Concatenate(axis=...) takes another"
                )
        total: Size = 0
        for x in xs:
            total = total + x.dims[axis]
        return first.with_dims((*first.dims[:axis], total, *first.dims[axis + 1 :]))

    def forward(self, *xs: Array, out: Any = None) -> Any:
        return np.concatenate(xs, axis=self.axis, out=out)

    def by_rows(self, out: Array, *ins: Array) -> tuple[bool, ...] | None:
        return None if axis_of(self.axis, out.ndim) == 0 else (True,) * len(ins)

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
    return apply(BroadcastTo(spec.dims[:2]), np.ones((1, 1), bool)) if is_free(spec) else np.ones(spec.dims[:2], bool)


class Slice(Op):
    """x[start:stop:step] along one axis; stop is a size, step is positive.    The gradient is zero outside."""

    axis: int
    start: Size
    stop: Size
    step: int
    view = True
    takes_text = True

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
    takes_text = True

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


# functions


def concatenate(xs: Sequence[Any], axis: int = 0) -> Any:
    """Arrays joined along `axis`."""
    values = promote(*xs)
    return apply(Concat(axis_of(axis, spec_of(values[0]).rank)), *values)


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
